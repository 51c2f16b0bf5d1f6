"""Prediction with a trained run: label maps on the volumes' own grids, and their uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...core import DEFAULT_DEVICE, BadInputError, Cohort, SparseAnnotation, Watch
from ...core.array_files import limit_size
from ...core.images import write_image
from ...core.messages import _, listed
from ...core.origin import run_fingerprint
from ...core.structure_values import class_values, matched_values, names_as_facts
from ...interpolation.likeliest_labels import LikeliestLabels
from ...runs.learned_images import ImageFacts
from ...runs.run_folder import RunFolder
from ..data.image_facts import case_facts
from ..data.training_cases import normalised_image
from .clean_up import CleanUp, cleaned, drawn_voxels
from .run_models import CasePrediction, Predicted, RunModels
from .uncertainty_maps import UncertaintyMaps

_MOST_KEPT_BYTES = 20 << 30
"""Of predictions in a cohort's cache; the oldest are removed beyond that."""


class Predictor(RunModels):
    """A finished run, loaded once, for any number of volumes.

    Args:
        cohort, run_name: the run. device: 'auto', 'cpu', 'cuda', ...
        flips: also average over the volume mirrored along the axes used in training; up to eight times slower,
            slightly better.
        roles: which of the run's models to use ('2d', '3d', 'final'); all by default. The final one needs the others.

    Raises:
        RunError: when the run is not finished, damaged, or of another version or network.
        BadInputError: when the requested device does not work.

    Example::

        predictor = Predictor(cohort, "first", device="auto")
        labels = predictor.labels("case_07")
    """

    def __init__(
        self,
        cohort: Cohort,
        run_name: str,
        device: str = DEFAULT_DEVICE,
        flips: bool = False,
        roles: Sequence[str] = (),
    ):
        super().__init__(RunFolder(cohort.run_folder(run_name)), device, flips, roles)
        self._cohort = cohort
        self._value_of = matched_values(self.card.label_names, cohort.labels)

    @property
    def label_names(self) -> dict[int, str]:
        """Label value, in the cohort's numbering, to name: the structures that the run knows."""
        return {ours: self.card.label_names[value] for value, ours in self._value_of.items() if ours is not None}

    @property
    def clashing(self) -> list[str]:
        """Names of the run's structures whose label values belong to other structures in the cohort."""
        return [self.card.label_names[value] for value, ours in self._value_of.items() if ours is None]

    @property
    def further_names(self) -> dict[int, str]:
        """Label value to name of the run's structures that the cohort does not know."""
        return {value: name for value, name in self.label_names.items() if value not in self._cohort.labels}

    def has_learned_from(self, case: str) -> bool:
        """See `RunCard.has_learned_from`."""
        cohort = self._cohort
        return self.card.has_learned_from(
            case, lambda: list(cohort.image_marks(case).values()), lambda: list(cohort.voxel_marks(case).values())
        )

    def image_facts(self, case: str, watch: Watch | None = None) -> ImageFacts:
        """What a case's image is like, to compare it with those that the run has learned from."""
        # The prediction needs it, too; while it is made, the facts are kept.
        self._image(case, watch or Watch())
        return case_facts(self._cohort, case, next(iter(self.card.channels), ""))

    def _values(self) -> list[int]:
        """The cohort's value of each class, from the first after the background; beyond all others where it has none.

        In a case that says something about such a structure it must not stand for another one.
        """
        highest = max([0, *self._cohort.labels, *self.label_names])
        own = class_values(self.card.classes, self.card.label_names, self._cohort.labels)
        return [highest + place if value is None else value for place, value in enumerate(own, start=1)]

    def _table(self) -> np.ndarray:
        """(classes + 1,) uint8 or uint16: the cohort's label value of each class index; 0 where it has none."""
        own = [value or 0 for value in class_values(self.card.classes, self.card.label_names, self._cohort.labels)]
        return np.array([0, *own], dtype=np.uint8 if max(own, default=0) < 256 else np.uint16)

    def labels(self, case: str, watch: Watch | None = None, clean_up: CleanUp | None = None) -> np.ndarray:
        """Predicted labels of a case, (K, J, I) uint8 or uint16 on its image's grid; its drawn slices as drawn."""
        return self.predict(case, watch, clean_up).labels

    def predict(
        self,
        case: str,
        watch: Watch | None = None,
        clean_up: CleanUp | None = None,
        uncertainty: bool = False,
    ) -> CasePrediction:
        """Labels of a case and, on request, their uncertainty.

        When a GPU's memory runs out less is computed at once, for later cases, too, and finally this case on the CPU.
        """
        return self._predict(case, watch or Watch(), clean_up or CleanUp(), uncertainty, None)

    def write(
        self,
        case: str,
        watch: Watch | None = None,
        clean_up: CleanUp | None = None,
        uncertainty: bool = False,
        annotation: SparseAnnotation | None = None,
    ) -> tuple[str, tuple[str, ...]]:
        """Predict a case and write it to the cohort's predictions; returns the file's path, and `CasePrediction.notes`.

        With `uncertainty`, <case>.nrrd in the folders 'entropy' and 'disagreement' beside it. `annotation`: what is to
        count as drawn on the case, if it is not what the cohort has.
        """
        path, geometry = self._cohort.prediction_path(self._run.name, case), self._cohort.geometry(case)
        self._image(case, watch or Watch())  # keeps the fingerprint of the voxels, too, so that they are read once
        self._cohort.voxel_fingerprint(case)  # for comparing the result when the image has been saved again
        # Recorded first, so that later changes, also during the prediction, are noticed.
        facts = self._cohort.origin(case, annotation, run=self._run.name).facts()
        found = self._predict(case, watch or Watch(), clean_up or CleanUp(), uncertainty, annotation)
        self._write_uncertainty(case, found, facts)
        names = {**self._cohort.labels, **self.label_names}
        write_image(path, found.labels, geometry, facts={**facts, **names_as_facts(names)})
        return str(path), found.notes

    def _write_uncertainty(self, case: str, found: CasePrediction | UncertaintyMaps, facts: Mapping[str, str]) -> None:
        geometry = self._cohort.geometry(case)
        for name in ("entropy", "disagreement"):
            percent = getattr(found, name)
            if percent is not None:
                write_image(self._cohort.uncertainty_path(self._run.name, case, name), percent, geometry, facts=facts)

    def keep_likeliest(
        self, case: str, watch: Watch | None = None, uncertainty: bool = False
    ) -> tuple[LikeliestLabels, np.ndarray, tuple[str, ...]]:
        """The two most likely classes of each voxel, (2, S, A, R), the image, and notes on the prediction.

        They are kept in the cohort's cache, so that a case is predicted once for each run. With `uncertainty` that is
        kept, too, and written as `write` does.
        """
        watch = watch or Watch()
        image = self._image(case, watch)
        path = self._likeliest_path(case)
        known, maps = LikeliestLabels.load(path), UncertaintyMaps.load(path) if uncertainty else None
        notes: tuple[str, ...] = ()
        if known is None or (uncertainty and maps is None):
            found = self._predicted(image, watch, uncertainty, likeliest=True)
            if found.likeliest is None:
                raise AssertionError("the likeliest labels were asked for")
            known, notes = found.likeliest, found.notes
            maps = UncertaintyMaps(found.entropy, found.disagreement)
            known.save(path)
            maps.save(path)
            limit_size(path.parent, _MOST_KEPT_BYTES, path.stem)
        if uncertainty and maps is not None:
            facts = self._cohort.origin(case, run=self._run.name).facts()
            own = maps.on_own_grid(self._annotation(case), list(self.label_names))
            self._write_uncertainty(case, own, facts)
        return known, image, (*self._notes_on_device, *notes)

    def _annotation(self, case: str, given: SparseAnnotation | None = None) -> SparseAnnotation:
        """What is drawn on a case; structures that the cohort does not know are unknown on all slices."""
        return (self._cohort.annotation(case) if given is None else given).with_more_names(self.further_names)

    def _likeliest_path(self, case: str) -> Path:
        marks = (run_fingerprint(self._run.path), self._cohort.image_fingerprint(case))
        return self._cohort.cache_folder / "likeliest" / f"{'-'.join([*marks, self.ways])}.npy"

    def likeliest(
        self, case: str, watch: Watch | None = None, clean_up: CleanUp | None = None
    ) -> tuple[LikeliestLabels, tuple[str, ...]]:
        """The two most likely labels of each voxel, drawn ones too, after clean-up; and `CasePrediction.notes`."""
        watch = watch or Watch()
        known, image, notes = self.keep_likeliest(case, watch)
        annotation = self._annotation(case)
        left, more = self._cleaned(np.array(known.labels[0]), image, annotation, clean_up or CleanUp(), watch)
        # Clean-up enters what is drawn. Here the run must not know it: its own labels there tell how good it is.
        own_values = list(self.label_names)
        drawn = annotation.geometry.to_standard_order(annotation.decided_mask(own_values))
        kept = (left > 0) | (known.labels[0] == 0) | drawn
        own, table = annotation.geometry.from_standard_order, self._table()
        # Structures that have no value here count as background.
        kept &= (table[known.labels[0]] > 0) | (known.labels[0] == 0)
        labels = np.empty((2, *annotation.geometry.shape), dtype=table.dtype)
        chances = np.empty_like(labels)
        # One after the other, because of their memory.
        for place in range(2):
            labels[place] = table[own(known.labels[place] * kept if place == 0 else known.labels[place])]
            chances[place] = own(known.chances[place] * kept)
        return LikeliestLabels(labels, chances), (*notes, *more)

    def _image(self, case: str, watch: Watch) -> np.ndarray:
        """A case's normalised image, ([C,] S, A, R) float16."""
        card = self.card
        return normalised_image(self._cohort, case, card.normalisation, card.channels, card.ct, watch)

    def _cleaned(
        self, classes: np.ndarray, image: np.ndarray, annotation: SparseAnnotation, clean_up: CleanUp, watch: Watch
    ) -> tuple[np.ndarray, tuple[str, ...]]:
        """Class indices, (S, A, R), after clean-up, and sentences on what it left out."""
        drawn = drawn_voxels(annotation, self._values(), classes.dtype)
        surrounded = image if self.card.clear_surroundings else None
        spacing = annotation.geometry.standard_spacing
        found = cleaned(classes, self.card.class_count, spacing, clean_up, drawn, surrounded, watch)
        return found.classes, found.sentences([self.card.label_names[value] for value in self.card.classes])

    def _predict(
        self, case: str, watch: Watch, clean_up: CleanUp, uncertainty: bool, given: SparseAnnotation | None
    ) -> CasePrediction:
        annotation = self._annotation(case, given)
        geometry = annotation.geometry
        image = self._image(case, watch)
        known = None if uncertainty else LikeliestLabels.load(self._likeliest_path(case))
        if known is not None:
            found = Predicted(np.array(known.labels[0]), known)
        else:
            found = self._predicted(image, watch, uncertainty)
        classes, notes = self._cleaned(found.classes, image, annotation, clean_up, watch)
        if self.clashing:
            raise BadInputError(
                _(
                    "The run '{run}' knows {structures}, which the cohort does not have, and their label values belong "
                    "to other structures here. Give the structures the same names in both."
                ).format(run=self._run.name, structures=listed([f"'{name}'" for name in self.clashing], 5))
            )
        labels = geometry.from_standard_order(self._table()[classes])
        labels = np.ascontiguousarray(labels, dtype=np.promote_types(labels.dtype, annotation.labels.dtype))
        annotation.restore_drawn(labels)
        own = UncertaintyMaps(found.entropy, found.disagreement).on_own_grid(annotation, list(self.label_names))
        return CasePrediction(labels, own.entropy, own.disagreement, (*self._notes_on_device, *found.notes, *notes))
