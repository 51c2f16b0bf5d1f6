"""A trained run on volumes: label maps on their own grids."""

from __future__ import annotations

import numpy as np

from ..core import Cohort, Watch
from ..core.images import write_image
from .devices import chosen_device, prediction_precision
from .inference import predicted_classes
from .networks import build_network
from .run_folder import RunCard, RunFolder
from .training_data import normalised_image
from .weights import load_weights


class Predictor:
    """A finished run, loaded once, for any number of volumes.

    Raises:
        RunError: when the run is not finished, damaged, or of another version or network.
        BadInputError: when the device asked for does not work.

    Example::

        predictor = Predictor(cohort, "first", device="auto")
        labels = predictor.labels("case_07")
    """

    def __init__(self, cohort: Cohort, run_name: str, device: str = "auto"):
        self._cohort = cohort
        self._run = RunFolder(cohort.run_folder(run_name))
        self.card: RunCard = self._run.card()
        self.device = chosen_device(device).device
        self._model = build_network(self.card.network, len(self.card.classes) + 1)
        load_weights(self._run.weights_path, self._model)
        self._model.to(self.device).eval()

    def labels(self, case: str, watch: Watch | None = None) -> np.ndarray:
        """Predicted labels of a case, (K, J, I) uint8 or uint16 on its image's grid; its drawn slices as drawn."""
        annotation = self._cohort.annotation(case)
        image = normalised_image(self._cohort, case, self.card.normalisation)
        precision = prediction_precision(self.device)
        classes = predicted_classes(self._model, image, self.card.patch, self.device, precision, watch)
        labels = annotation.geometry.from_standard_order(self.card.label_table[classes])
        labels = np.ascontiguousarray(labels, dtype=np.promote_types(labels.dtype, annotation.labels.dtype))
        annotation.restore_drawn(labels)
        return labels

    def write(self, case: str, watch: Watch | None = None) -> str:
        """Predict a case and write it to the cohort's predictions; returns the file's path."""
        path = self._cohort.prediction_path(self._run.name, case)
        write_image(path, self.labels(case, watch), self._cohort.geometry(case))
        return str(path)
