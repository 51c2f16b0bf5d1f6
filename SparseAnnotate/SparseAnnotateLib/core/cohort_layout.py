"""Paths of the files of a cohort's cases and runs; see `cohort` for the folders."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from .case_names import LONGEST_STEM, check_name, file_stem, normal_name
from .errors import BadInputError
from .messages import _

PLAN_FILE, OLD_PLAN_FILE = "plan.json", "settings.json"  # of a run; the old one until version 0.1
CARD_FILE = "card.json"  # of a finished run
CACHE_VARIABLE = "SPARSE_ANNOTATE_CACHE"
"""The environment variable for a cache outside the cohort, such as on the disk of a cluster's node."""

_LONGEST_PLAIN = 230


class CohortLayout:
    """Paths of the files in a state folder; whether they exist is not checked."""

    def __init__(self, state_folder: Path):
        self.state_folder = state_folder

    def fill_path(self, name: str) -> Path:
        return self.state_folder / "fills" / f"{self._stem(name)}.nrrd"

    def fill_confidence_path(self, name: str) -> Path:
        """Confidence of a case's fill in percent, 100 on drawn slices."""
        return self.state_folder / "fills" / "confidence" / f"{self._stem(name)}.nrrd"

    def prediction_path(self, run: str, name: str) -> Path:
        return self.state_folder / "predictions" / _run_name(run) / f"{self._stem(name)}.nrrd"

    def uncertainty_path(self, run: str, name: str, kind: str) -> Path:
        """A run's uncertainty in percent; `kind`: 'entropy', 'disagreement', or 'confidence' of an answer."""
        return self.state_folder / "predictions" / _run_name(run) / kind / f"{self._stem(name)}.nrrd"

    def slice_path(self, run: str, name: str, plane: str, index: int) -> Path:
        """What a run finds on one slice of a case: an image of this slice alone."""
        folder = self.state_folder / "predictions" / _run_name(run) / "slices" / plane
        return folder / str(index) / f"{self._stem(name)}.nrrd"

    def applied_path(self, name: str) -> Path:
        """All of a case's segmentation after a result was applied to it in Slicer; see `AppliedSegmentation`."""
        return self.state_folder / "applied" / f"{self._stem(name)}.nrrd"

    def applied_sources_path(self, name: str, writing: str) -> Path:
        """Where the voxels of `applied_path` come from; see `Provenance`. `writing`: which writing of it."""
        return self.state_folder / "applied" / "sources" / self._stem(name) / f"{writing}.nrrd"

    def corrections_path(self, name: str) -> Path:
        """Every correction of a case as JSON; beside it, as .nrrd, a label map of the voxels known by them."""
        return self.state_folder / "corrections" / f"{self._stem(name)}.json"

    def drawn_on_path(self, name: str) -> Path:
        """Which image was drawn on; see `DrawnOn`. Not one of the `annotation_files`: it says nothing of voxels."""
        return self.state_folder / "annotations" / "drawn_on" / f"{self._stem(name)}.json"

    def marks_path(self, name: str, channel: str = "") -> Path:
        """Where the fingerprint of a case's image is kept, or of that of a further channel; in the cache."""
        folder = self.cache_folder / "marks"
        return (folder / f"channel {channel}" if channel else folder) / f"{self._stem(name)}.json"

    def run_folder(self, run: str) -> Path:
        """Folder of a run. Raises BadInputError when a file cannot have this name."""
        return self.state_folder / "runs" / _run_name(run)

    def runs(self) -> list[str]:
        """Names of the runs, oldest first."""
        folder = self.state_folder / "runs"
        files = [(_run_file(p), p.name) for p in folder.iterdir()] if folder.is_dir() else []
        found = [(file.stat().st_mtime, name) for file, name in files if file.is_file()]
        return [name for _changed, name in sorted(found)]

    def names_of_predictions(self) -> list[str]:
        """Names of the runs, and of imported predictions, that some case has a prediction of."""
        return sorted({path.parent.name for path in (self.state_folder / "predictions").glob("*/*.nrrd")})

    @property
    def cache_folder(self) -> Path:
        """What can be computed again; in a folder of the cohort's own in CACHE_VARIABLE's, where that is set."""
        elsewhere = os.environ.get(CACHE_VARIABLE)
        if not elsewhere:
            return self.state_folder / "cache"
        mark = hashlib.sha256(os.fsencode(self.state_folder)).hexdigest()[:16]
        return Path(elsewhere).absolute() / f"{self.state_folder.name}-{mark}"

    def annotation_files(self, name: str) -> tuple[Path, ...]:
        """The files that say what is known of a case; not all of them exist."""
        labels, corrections = self._annotation_path(name), self.corrections_path(name)
        return self._ledger_path(name), labels, self._undecided_path(name), corrections

    def _undecided_path(self, name: str) -> Path:
        return self._annotation_path(name).parent / "undecided" / self._annotation_path(name).name

    def _annotation_path(self, name: str) -> Path:
        return self.state_folder / "annotations" / f"{self._stem(name)}.nrrd"

    def _ledger_path(self, name: str) -> Path:
        return self.state_folder / "ledgers" / f"{self._stem(name)}.json"

    def _stem(self, name: str) -> str:
        """The name of a case's files; a long name that an older cohort used unshortened is kept."""
        stem, plain = file_stem(name), normal_name(name)
        if stem == plain or len(plain.encode()) > _LONGEST_PLAIN:
            return stem
        return plain if (self.state_folder / "ledgers" / f"{plain}.json").is_file() else stem


def _run_name(run: str) -> str:
    name = normal_name(run)
    if Path(name).parent.name == "runs":
        raise BadInputError(
            _("'{path}' is the path of a run. Give only its name: '{name}'.").format(path=name, name=Path(name).name)
        )
    check_name(name, _("A run"))
    if len(name.encode()) > LONGEST_STEM:
        raise BadInputError(
            _("The name of a run may have {longest} bytes; '{name}' has more. Choose a shorter one.").format(
                longest=LONGEST_STEM, name=name
            )
        )
    return name


def _run_file(run_folder: Path) -> Path:
    """The file by which a folder is a run: its plan, or the card of a run that was imported."""
    plan, card = run_plan_path(run_folder), run_folder / CARD_FILE
    return card if card.is_file() and not plan.is_file() else plan


def run_plan_path(run_folder: Path) -> Path:
    """Path of the plan in a run's folder: plan.json, or the existing settings.json of an older version."""
    path, old = run_folder / PLAN_FILE, run_folder / OLD_PLAN_FILE
    return old if old.is_file() and not path.is_file() else path
