"""The request that labels one image with a finished run: what a host is asked for scans that are in no cohort."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..core import DEFAULT_DEVICE, CancelledError, SparseAnnotateError, Watch
from ..core.channels import on_grid_of_channels, stacked
from ..core.images import read_image, write_image
from ..core.messages import _
from ..core.origin import run_fingerprint
from ..runs.run_folder import RunFolder
from .prediction_options import PredictionOptions
from .scan_predictor import NO_MEMORY, PredictorHere

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
    """The files that were written, by kind (see KINDS), and what the user should know.

    `problem`: why this image could not be labeled, while others may be; '' if it was.
    """

    files: dict[str, str]
    notes: tuple[str, ...] = ()
    problem: str = ""


_Kept = tuple[tuple[Any, ...], PredictorHere]
_kept: _Kept | None = None  # the run that was used last, so that many images do not load it again and again


def label_image(request: LabelImageRequest, watch: Watch) -> LabeledImage:
    """Label an image. Raises what would concern other images, too: BadInputError, RunError, FileWriteError; and
    CancelledError.
    """
    predictor = _predictor(request, watch)
    if not request.images:
        return LabeledImage({})
    watch.step(0.0, _("reading"))
    try:
        image, geometry = read_image(request.images[0])
        if len(request.images) > 1:
            further = [(path, *read_image(path)) for path in request.images[1:]]
            image = stacked([image, *(on_grid_of_channels(array, own, geometry, path) for path, array, own in further)])
        found = predictor.predict(image, geometry, watch)
    except CancelledError:
        raise
    except SparseAnnotateError as error:
        return LabeledImage({}, problem=error.message)
    except MemoryError:
        return LabeledImage({}, problem=NO_MEMORY)
    files = {}
    for kind, voxels in zip(KINDS, (found.labels, found.entropy, found.disagreement), strict=True):
        if voxels is not None:
            path = Path(request.output) / f"{kind}.nrrd"
            write_image(path, voxels, geometry)
            files[kind] = str(path)
    return LabeledImage(files, found.notes)


def _predictor(request: LabelImageRequest, watch: Watch) -> PredictorHere:
    """The run, loaded; that of the request before if it is the same with the same options."""
    global _kept
    run = RunFolder(Path(request.run))
    options = tuple(getattr(request, one.name) for one in fields(PredictionOptions))
    key = (request.run, run_fingerprint(run.path), request.device, *options)
    if _kept is None or _kept[0] != key:
        _kept = None
        _kept = key, PredictorHere(run, request, request.device, (), watch)
    return _kept[1]
