"""The voxels of a DICOM series."""

from __future__ import annotations

import numpy as np

from .dicom_files import opened
from .dicom_headers import DicomSlice
from .dicom_rescaling import rescaled
from .dicom_series import DicomSeries
from .errors import BadInputError
from .geometry import VolumeGeometry
from .messages import _
from .modalities import CT
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

_BETWEEN_WRAPPED = (20_000, 45_000)  # Hounsfield units; 16 bits without their sign reach 65,535
_WRAPPED_SHARE, _BETWEEN_SHARE = 0.02, 0.001  # of all voxels: the air in a scan, and metal


def read_series(
    series: DicomSeries, watch: Watch, modality: str = "", channel: str = ""
) -> tuple[np.ndarray, VolumeGeometry]:
    """The volume of a series: (K, J, I) array, sorted along the normal of its slices, and its geometry.

    Values are rescaled as the headers say (to Hounsfield units in CT). Fractions are float32.

    Args:
        modality: what the images are, where that is known better than by their headers.
        channel: that they become, for messages; '' without a name.

    Raises BadInputError when the series has no volume, a file is damaged, or is compressed in a way that no installed
    package decodes.
    """
    geometry = series.required_geometry()
    files: dict[str, np.ndarray] = {}
    frames = {header.path: len(header.slices) for header in series.headers}
    volume: np.ndarray | None = None
    for number, one in enumerate(series.slices):
        watch.step(number / len(series.slices), _("reading slices"))
        shown = series.shown(one.path)
        if one.frame:
            if one.path not in files:
                files[one.path] = _by_pydicom(one.path, shown)
            count, stored = frames[one.path], files[one.path]
            if len(stored) != count:
                raise BadInputError(
                    _(
                        "The voxels of {file} do not fit its header: {found} frames, of which the header describes "
                        "{count}. Copy it again."
                    ).format(file=shown, found=len(stored), count=count)
                )
            layer = rescaled(stored[one.frame - 1], *one.rescaling)
        else:
            layer = _single(one, shown)
        if layer.shape != one.size:
            raise BadInputError(
                _("The voxels of {file} do not fit its header: it is damaged. Copy it again.").format(file=shown)
            )
        if volume is None:
            volume = np.empty(geometry.shape, layer.dtype)
        elif np.result_type(volume, layer) != volume.dtype:
            volume = volume.astype(np.result_type(volume, layer))
        volume[number] = layer
    assert volume is not None
    if volume.dtype == np.float64:
        volume = volume.astype(np.float32)
    elif volume.dtype.kind == "i" and volume.min() >= -(1 << 15) and volume.max() < 1 << 15:
        # Rescaled values are stored as if they could exceed 16 bits.
        volume = volume.astype(np.int16)
    if (modality or series.headers[0].modality) == CT and _is_wrapped(volume):
        raise BadInputError(_wrapped_sentence(series, int(volume.max()), channel))
    require_finite(volume, _("The DICOM {series}").format(series=series.title))
    return volume, geometry


def _is_wrapped(values: np.ndarray) -> bool:
    """Whether CT values look like signed ones that were read as unsigned.

    Then air, fat and lung are a large share of the voxels, with very high values, and hardly any lies between. Of both
    kinds the most frequent value does not count, because it may be padding, and single voxels may be metal.
    """
    high = _BETWEEN_WRAPPED[1]
    if values.max() < high:
        return False
    shares = [_without_most_frequent(values[part]) / values.size for part in (values >= high, _between(values))]
    return shares[0] >= _WRAPPED_SHARE and shares[1] < _BETWEEN_SHARE


def _between(values: np.ndarray) -> np.ndarray:
    low, high = _BETWEEN_WRAPPED
    return (values > low) & (values < high)


def _without_most_frequent(values: np.ndarray) -> int:
    """How many values there are beside the most frequent one."""
    _values, counts = np.unique(values, return_counts=True)
    return int(counts.sum() - counts.max()) if len(counts) else 0


def _wrapped_sentence(series: DicomSeries, highest: int, channel: str) -> str:
    return _(
        "The DICOM {series} has CT values up to {highest}, and hardly any between {low} and {high}: its header "
        "probably calls values unsigned that have a sign (pixel representation). Export the series again, correct the "
        "volume in 3D Slicer and save it as NRRD, or, if the values are right and no Hounsfield units, give "
        "'--modality {kind}'."
    ).format(
        series=series.title,
        highest=highest,
        low=_BETWEEN_WRAPPED[0],
        high=_BETWEEN_WRAPPED[1],
        kind=f"{channel}=OT" if channel else "OT",
    )


def _single(one: DicomSlice, shown: str) -> np.ndarray:
    """The voxels of a file with one image, by GDCM: it decodes most compressed files by itself."""
    import SimpleITK as sitk

    if one.is_inverted:
        # GDCM would turn the values upside down.
        return rescaled(_by_pydicom(one.path, shown)[0], *one.rescaling)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(one.path)
    try:
        layer: np.ndarray = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError:
        layer = rescaled(_by_pydicom(one.path, shown)[0], *one.rescaling)
    return layer[0] if layer.ndim == 3 and len(layer) == 1 else layer


def _by_pydicom(path: str, shown: str) -> np.ndarray:
    """The stored values, (frames, rows, columns)."""
    with opened(path, with_voxels=True, shown=shown) as dataset:
        syntax = getattr(dataset.file_meta, "TransferSyntaxUID", None)
        try:
            values = np.asarray(dataset.pixel_array)
        except Exception as error:  # decoders raise whatever they like
            raise BadInputError(_undecoded(shown, syntax)) from error
    return values.reshape(-1, *values.shape[-2:])


def _undecoded(shown: str, syntax: str | None) -> str:
    name = str(getattr(syntax, "name", syntax) or "?")
    packages = next((p for start, p in _DECODERS.items() if syntax and syntax.startswith(start)), "")
    if not getattr(syntax, "is_compressed", False):
        return _("The voxels of {file} cannot be read: it is damaged. Copy it again.").format(file=shown)
    if packages:
        return _(
            "The voxels of {file} are compressed ({syntax}) and cannot be decoded. Install a decoder "
            "with 'pip install {packages}'; if it is installed, the file is damaged."
        ).format(file=shown, syntax=name, packages=packages)
    return _(
        "The voxels of {file} are compressed in a way that is not for volumes ({syntax}). Export the "
        "series without compression."
    ).format(file=shown, syntax=name)
