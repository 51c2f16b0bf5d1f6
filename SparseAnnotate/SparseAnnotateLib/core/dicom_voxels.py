"""The voxels of a DICOM series."""

from __future__ import annotations

import numpy as np

from .dicom_files import group_of, numbers_of, opened
from .dicom_headers import DicomSlice
from .dicom_series import DicomSeries
from .errors import BadInputError
from .geometry import VolumeGeometry
from .messages import _
from .progress import Watch
from .voxel_values import require_finite

# What pydicom needs to decode voxels that GDCM, within SimpleITK, cannot.
_DECODERS = {
    "1.2.840.10008.1.2.4.5": "pylibjpeg pylibjpeg-libjpeg",
    "1.2.840.10008.1.2.4.6": "pylibjpeg pylibjpeg-libjpeg",
    "1.2.840.10008.1.2.4.7": "pylibjpeg pylibjpeg-libjpeg",
    "1.2.840.10008.1.2.4.8": "pyjpegls",
    "1.2.840.10008.1.2.4.9": "pylibjpeg pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.20": "pylibjpeg pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.5": "pylibjpeg pylibjpeg-rle",
}


def read_series(series: DicomSeries, watch: Watch) -> tuple[np.ndarray, VolumeGeometry]:
    """The volume of a series: (K, J, I) array, sorted along the normal of its slices, and its geometry.

    Values are rescaled as the headers say (to Hounsfield units in CT). Fractions are float32.

    Raises BadInputError when the series has no volume, a file is damaged, or is compressed in a way that no installed
    package decodes.
    """
    geometry = series.required_geometry()
    files: dict[str, np.ndarray] = {}
    volume: np.ndarray | None = None
    for number, one in enumerate(series.slices):
        watch.step(number / len(series.slices), _("reading slices"))
        if one.frame:
            if one.path not in files:
                files[one.path] = _frames(one.path, len([s for s in series.slices if s.path == one.path]))
            layer = files[one.path][one.frame - 1]
        else:
            layer = _single(one)
        if layer.shape != one.size:
            raise BadInputError(
                _("The DICOM file '{path}' is damaged: its voxels do not fit its header.").format(path=one.path)
            )
        if volume is None:
            volume = np.empty(geometry.shape, layer.dtype)
        elif np.result_type(volume, layer) != volume.dtype:
            volume = volume.astype(np.result_type(volume, layer))
        volume[number] = layer
    assert volume is not None
    if volume.dtype == np.float64:
        volume = volume.astype(np.float32)
    elif volume.dtype == np.int32 and volume.min() >= -(1 << 15) and volume.max() < 1 << 15:
        # Rescaled values are stored as if they could exceed 16 bits.
        volume = volume.astype(np.int16)
    require_finite(volume, _("The DICOM series in '{folder}'").format(folder=series.folder))
    return volume, geometry


def _single(one: DicomSlice) -> np.ndarray:
    """The voxels of a file with one image, by GDCM: it decodes most compressed files by itself."""
    import SimpleITK as sitk

    if one.is_inverted:
        # GDCM would turn the values upside down.
        values: np.ndarray = _by_pydicom(one.path)[0]
        return values
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(one.path)
    try:
        layer = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError:
        layer = _by_pydicom(one.path)[0]
    flat: np.ndarray = layer.reshape(layer.shape[-2:])
    return flat


def _frames(path: str, count: int) -> np.ndarray:
    frames = _by_pydicom(path)
    if len(frames) < count:
        raise BadInputError(
            _("The DICOM file '{path}' is damaged: it has fewer frames than its header says.").format(path=path)
        )
    return frames


def _by_pydicom(path: str) -> np.ndarray:
    """(frames, rows, columns), rescaled as the header says of each frame."""
    with opened(path, with_voxels=True) as dataset:
        syntax = getattr(dataset.file_meta, "TransferSyntaxUID", None)
        try:
            values = np.asarray(dataset.pixel_array)
        except Exception as error:  # decoders raise whatever they like
            raise BadInputError(_undecoded(path, syntax)) from error
        values = values.reshape(-1, *values.shape[-2:])
        frames = dataset.get("PerFrameFunctionalGroupsSequence") or [None] * len(values)
        shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
        factors = []
        for frame in frames:
            group = group_of(frame, shared, "PixelValueTransformationSequence")
            source = dataset if group is None else group
            slope, intercept = (numbers_of(source, k) for k in ("RescaleSlope", "RescaleIntercept"))
            factors.append((slope[0] if slope else 1.0, intercept[0] if intercept else 0.0))
    if all(pair == (1.0, 0.0) for pair in factors) or len(factors) != len(values):
        return values
    pairs = np.array(factors)[:, :, None, None]
    rescaled: np.ndarray = values * pairs[:, 0] + pairs[:, 1]
    is_whole = bool((np.array(factors) == np.rint(factors)).all())
    return rescaled.astype(np.int32 if is_whole else np.float32)


def _undecoded(path: str, syntax: str | None) -> str:
    name = str(getattr(syntax, "name", syntax) or "?")
    packages = next((p for start, p in _DECODERS.items() if syntax and syntax.startswith(start)), "")
    if not getattr(syntax, "is_compressed", False):
        return _("The voxels of the DICOM file '{path}' cannot be read: it is damaged. Copy it again.").format(
            path=path
        )
    if packages:
        return _(
            "The voxels of the DICOM file '{path}' are compressed ({syntax}) and cannot be decoded. Install a decoder "
            "with 'pip install {packages}'; if it is installed, the file is damaged."
        ).format(path=path, syntax=name, packages=packages)
    return _(
        "The voxels of the DICOM file '{path}' are compressed in a way that is not for volumes ({syntax}). Export the "
        "series without compression."
    ).format(path=path, syntax=name)
