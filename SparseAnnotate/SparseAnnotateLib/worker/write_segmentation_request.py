"""The request that writes a segmentation from Slicer as a DICOM SEG file, for the series that its volume came from."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import __version__
from ..core import BadInputError, Watch
from ..core.atomic_files import require_writable
from ..core.dicom_headers import read_headers
from ..core.dicom_packages import require_dicom_packages
from ..core.dicom_series import DicomSeries, series_of
from ..core.dicom_writing import DicomSegment, stacked, write_segmentation
from ..core.exchanged import Exchanged
from ..core.geometry import VolumeGeometry
from ..core.images import read_image
from ..core.messages import _


@dataclass(frozen=True)
class WriteSegmentationRequest:
    """Write the segments of a volume as one DICOM SEG file.

    Attributes:
        out: the file. volume: name of the volume, for messages.
        files: the DICOM files that the volume was loaded from.
        folder: with the label files 0.nrrd, 1.nrrd, ... (`layers` of them) on the volume's grid: the number of a
            segment, from 1, or 0; segments that overlap are in different ones. It is removed.
        segments: what they are, in order.
    """

    out: str
    volume: str
    files: tuple[str, ...]
    folder: str
    layers: int
    segments: tuple[DicomSegment, ...]


def write_dicom_segmentation(request: WriteSegmentationRequest, watch: Watch) -> Exchanged:
    """Write the file; an existing one is replaced. Returns its path, and notes on it.

    Raises BadInputError when the volume is no longer on the grid of its series, or a DICOM SEG cannot refer to it.
    """
    try:
        require_dicom_packages(writes_segmentations=True)
        require_writable(request.out)
        series = _series(request, watch.part(0, 3))
        voxels: dict[int, np.ndarray] = {}
        for number in range(request.layers):
            watch.step(1 / 3, _("reading the segments of '{volume}'").format(volume=request.volume))
            labels, geometry = read_image(Path(request.folder) / f"{number}.nrrd")
            turned = _on_series(labels, geometry, request.volume, series)
            for value in np.unique(turned).tolist():
                if value:
                    voxels[value] = turned == value
        ordered = {number: voxels[number] for number in sorted(voxels)}
        notes = write_segmentation(
            Path(request.out), series, request.segments, _together(ordered), __version__, watch.part(2, 3)
        )
        return Exchanged(request.out, (), tuple(notes))
    finally:
        shutil.rmtree(request.folder, ignore_errors=True)


def _series(request: WriteSegmentationRequest, watch: Watch) -> DicomSeries:
    found = series_of(read_headers(request.files, watch))
    if len(found) != 1:
        raise BadInputError(
            _("The DICOM files of '{volume}' belong to {count} series; a DICOM segmentation refers to one.").format(
                volume=request.volume, count=len(found)
            )
        )
    found[0].required_geometry()
    return found[0]


def _on_series(labels: np.ndarray, own: VolumeGeometry, volume: str, series: DicomSeries) -> np.ndarray:
    turned = series.required_geometry().with_same_voxels(labels, own)
    if turned is None:
        raise BadInputError(
            _(
                "'{volume}' is no longer on the grid of its DICOM series: it was resampled, cropped or moved. Export "
                "the segmentation of the volume as it was loaded."
            ).format(volume=volume)
        )
    return turned


def _together(masks: dict[int, np.ndarray]) -> np.ndarray:
    """The voxels of all segments as `write_segmentation` takes them."""
    first = next(iter(masks.values()))
    voxels = np.zeros(first.shape, dtype=np.uint8 if len(masks) < 256 else np.uint16)
    for number, mask in masks.items():
        if voxels[mask].any():
            return stacked(masks)
        voxels[mask] = number
    return voxels
