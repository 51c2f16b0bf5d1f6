"""Prediction of images that belong to no cohort: label maps on their own grids, in the run's numbering."""

from __future__ import annotations

import numpy as np

from ...core import VolumeGeometry, Watch
from ...runs.ct_scale import CtScale
from ..data.training_cases import normalise
from .clean_up import CleanUp, cleaned
from .run_models import CasePrediction, RunModels


class ImagePredictor(RunModels):
    """A finished run, loaded once, for any number of images of which nothing is drawn.

    Example::

        predictor = ImagePredictor(RunFolder(Path("cohort/runs/first")))
        labels = predictor.predict(*read_image("scan.nii.gz")).labels
    """

    @property
    def label_names(self) -> dict[int, str]:
        """Label value to name of the structures that the run knows."""
        return dict(self.card.label_names)

    def _ct(self, number: int) -> CtScale | None:
        """The scale of a channel that is CT; None for others."""
        return self.card.ct.get((self.card.channels or ("",))[number])

    def predict(
        self,
        image: np.ndarray,
        geometry: VolumeGeometry,
        watch: Watch | None = None,
        clean_up: CleanUp | None = None,
        uncertainty: bool = False,
    ) -> CasePrediction:
        """Labels of a (K, J, I) image of any real dtype and, on request, their uncertainty.

        Of a run that has learned from several channels, (C, K, J, I) in the order of its card.
        When a GPU's memory runs out less is computed at once, for later images, too, and finally this one on the CPU.
        Raises BadInputError for a uniform image.
        """
        watch = watch or Watch()
        if image.ndim == 3:
            normalised = geometry.to_standard_order(normalise(image, self.card.normalisation, self._ct(0), watch))
        else:
            normalised = np.empty((len(image), *geometry.standard_shape), dtype=np.float16)
            for number, (place, channel) in enumerate(zip(normalised, image, strict=True)):
                one = normalise(channel, self.card.normalisation, self._ct(number), watch)
                place[:] = geometry.to_standard_order(one)
        found = self._predicted(normalised, watch, uncertainty)
        surrounded = normalised if self.card.clear_surroundings else None
        left = cleaned(
            found.classes,
            self.card.class_count,
            geometry.standard_spacing,
            clean_up or CleanUp(),
            None,
            surrounded,
            watch,
        )
        notes = left.sentences([self.card.label_names[value] for value in self.card.classes])
        entropy, disagreement = (
            None if percent is None else np.ascontiguousarray(geometry.from_standard_order(percent))
            for percent in (found.entropy, found.disagreement)
        )
        return CasePrediction(
            np.ascontiguousarray(geometry.from_standard_order(self.card.label_table[left.classes])),
            entropy,
            disagreement,
            (*self._notes_on_device, *found.notes, *notes),
        )
