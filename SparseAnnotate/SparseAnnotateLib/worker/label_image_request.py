"""The request that labels one image with a finished run: what a host is asked for scans that are in no cohort."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..core import DEFAULT_DEVICE, Watch
from ..core.channels import on_grid_of_channels, stacked
from ..core.images import read_image, write_image
from ..runs.run_folder import RunFolder
from .prediction_options import PredictionOptions
from .scan_predictor import PredictorHere

KINDS = ("labels", "entropy", "disagreement")


@dataclass(frozen=True)
class LabelImageRequest(PredictionOptions):
    """Label one image with a finished run.

    Attributes:
        run: folder of the run. output: folder for the results, `labels.nrrd` and others named after their kind.
        images: the files of the channels that the run has learned, in its order, on one grid; none: only see whether
            the run can be used.
        device: such as 'auto', 'cpu', 'cuda:1'.
    """

    run: str
    output: str
    images: tuple[str, ...] = ()
    device: str = DEFAULT_DEVICE


@dataclass(frozen=True)
class LabeledImage:
    """The files that were written, by kind (see KINDS), and what the user should know."""

    files: dict[str, str]
    notes: tuple[str, ...] = ()


def label_image(request: LabelImageRequest, watch: Watch) -> LabeledImage:
    """Label an image. Raises BadInputError, RunError, FileWriteError, CancelledError."""
    predictor = PredictorHere(RunFolder(Path(request.run)), request, request.device, (), watch)
    if not request.images:
        return LabeledImage({})
    watch.step(0.0, "")
    image, geometry = read_image(request.images[0])
    if len(request.images) > 1:
        further = [(path, *read_image(path)) for path in request.images[1:]]
        image = stacked([image, *(on_grid_of_channels(array, own, geometry, path) for path, array, own in further)])
    found = predictor.predict(image, geometry, watch)
    files = {}
    for kind, voxels in zip(KINDS, (found.labels, found.entropy, found.disagreement), strict=True):
        if voxels is not None:
            path = Path(request.output) / f"{kind}.nrrd"
            write_image(path, voxels, geometry)
            files[kind] = str(path)
    return LabeledImage(files, found.notes)
