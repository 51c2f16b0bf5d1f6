"""What labels scans that are in no cohort: a finished run on this computer, or on a host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ..core import VolumeGeometry, Watch
from ..core.messages import _
from ..runs.run_folder import RunFolder
from .packages import require_packages
from .prediction_options import PredictionOptions, clean_up_of

NO_MEMORY = _("There is not enough memory for this scan.")


@dataclass(frozen=True, eq=False)
class LabeledScan:
    """What a run predicts for a scan; see `learning.prediction.run_models.CasePrediction`."""

    labels: np.ndarray
    entropy: np.ndarray | None
    disagreement: np.ndarray | None
    notes: tuple[str, ...]


class ScanPredictor(Protocol):
    """Labels scans with one run and one choice of options."""

    def predict(self, image: np.ndarray, geometry: VolumeGeometry, watch: Watch) -> LabeledScan:
        """Labels of a (K, J, I) or (C, K, J, I) image; see `ImagePredictor.predict`."""

    def close(self) -> None:
        """No scan follows."""


MakePredictor = Callable[[RunFolder, PredictionOptions, str, Sequence[Path], Watch], ScanPredictor]
"""Makes one from a run, options, a device and the files of all scans. Raises BadInputError, RunError."""


class PredictorHere:
    """A run on this computer, loaded once; see MakePredictor for the arguments."""

    def __init__(self, run: RunFolder, options: PredictionOptions, device: str, _scans: Sequence[Path], _watch: Watch):
        require_packages()
        from ..learning.prediction.image_predictor import ImagePredictor

        self._clean_up, self._uncertainty = clean_up_of(options), options.uncertainty
        self._predictor = ImagePredictor(run, device, options.flips, options.models)

    def predict(self, image: np.ndarray, geometry: VolumeGeometry, watch: Watch) -> LabeledScan:
        """See ScanPredictor."""
        found = self._predictor.predict(image, geometry, watch, self._clean_up, self._uncertainty)
        return LabeledScan(found.labels, found.entropy, found.disagreement, found.notes)

    def close(self) -> None:
        """See ScanPredictor."""
