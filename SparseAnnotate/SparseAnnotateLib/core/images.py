"""Images and label maps read from and written to NRRD and NIfTI through SimpleITK, with bad files named in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .atomic_files import written_atomically
from .errors import BadInputError
from .geometry import VolumeGeometry
from .nifti_length import is_cut_off

IMAGE_ENDINGS = (".nrrd", ".nii.gz", ".nii", ".nhdr", ".mha", ".mhd")
FACT_PREFIX = "SparseAnnotate "


def read_geometry(path: str | Path) -> VolumeGeometry:
    """Geometry from a file's header alone. Raises BadInputError as `read_image` does."""
    reader = _reader(Path(path))
    size, spacing, origin = reader.GetSize(), reader.GetSpacing(), reader.GetOrigin()
    direction = np.asarray(reader.GetDirection()).reshape(len(size), len(size))[:3, :3]
    return VolumeGeometry.from_itk(size[:3], spacing[:3], origin[:3], direction)


def read_image(path: str | Path) -> tuple[np.ndarray, VolumeGeometry]:
    """A 3D scalar image: (K, J, I) array in the file's own dtype, and its geometry.

    Raises:
        BadInputError: when the file is missing, cut off, not an image, not 3D, a colour image, or holds NaN or Inf.
    """
    import SimpleITK as sitk

    path = Path(path)
    reader = _reader(path)
    if path.name.lower().endswith((".nii", ".nii.gz")) and is_cut_off(path):
        raise BadInputError(_unreadable(path, "the file is shorter than its header says"))
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise BadInputError(_unreadable(path, error)) from error
    array = sitk.GetArrayFromImage(image)
    array = array.reshape(array.shape[-3:])
    geometry = read_geometry(path)
    require_finite(array, f"The image '{path}'")
    return array, geometry


def read_labels(path: str | Path, geometry: VolumeGeometry) -> np.ndarray:
    """A label map on the grid `geometry`: (K, J, I) uint8, or uint16 when a label exceeds 255.

    Label maps stored as floating point are accepted when every value is a whole number.

    Raises:
        BadInputError: as `read_image`; when the grid is another one; when a value is not a label.
    """
    array, own = read_image(path)
    difference = own.difference_from(geometry)
    if difference:
        raise BadInputError(
            f"The label file '{path}' does not lie on its image's grid: {difference}. "
            "Resample it to the image first, with nearest-neighbour interpolation."
        )
    return labels_from_values(array, f"The label file '{path}'")


def labels_from_values(array: np.ndarray, what: str) -> np.ndarray:
    """Any numeric array of whole numbers 0-65535 as uint8 or uint16; BadInputError starting with `what` otherwise."""
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "f":
        rounded = np.rint(array)
        if not np.array_equal(rounded, array):
            raise BadInputError(f"{what} holds values that are not whole numbers, so it is not a label map.")
        array = rounded
    low, high = array.min(initial=0), array.max(initial=0)
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise BadInputError(f"{what} holds values from {low:g} to {high:g}; labels must be between 0 and 65535.")
    return array.astype(np.uint8 if high <= 255 else np.uint16)


def require_finite(array: np.ndarray, what: str, first: int = 0) -> None:
    """Raise BadInputError, starting with `what`, when a floating-point array holds NaN or Inf.

    `first` is the index of the array's first slice, when it is part of a larger one.
    """
    if array.dtype.kind != "f":
        return
    # The sum of a slice shows NaN and Inf without a mask the size of the volume.
    for index, layer in enumerate(array, start=first):
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(layer.sum(dtype=np.float64)) or np.isfinite(layer).all():
                continue
        bad = int((~np.isfinite(layer)).sum())
        raise BadInputError(
            f"{what} holds voxels that are not numbers (NaN or Inf): {bad} in slice {index} along the first array axis."
            " Replace them, for example with 'numpy.nan_to_num' or Slicer's 'Simple Filters', and load it again."
        )


def read_facts(path: str | Path) -> dict[str, str]:
    """What `write_image` noted in a NRRD file beside the voxels; empty for files of other programs and formats."""
    reader = _reader(Path(path))
    keys = [key for key in reader.GetMetaDataKeys() if key.startswith(FACT_PREFIX)]
    return {key.removeprefix(FACT_PREFIX): reader.GetMetaData(key) for key in keys}


def write_image(
    path: str | Path,
    array: np.ndarray,
    geometry: VolumeGeometry,
    compress: bool = True,
    facts: Mapping[str, str] | None = None,
) -> None:
    """Write a (K, J, I) array on its grid, atomically; the ending chooses the format (NRRD keeps geometry exact).

    `facts` are kept in the header of a NRRD file, for `read_facts`: for example what a result was made from.

    Raises:
        BadInputError: when array and geometry do not fit. FileWriteError: when the file cannot be written.
    """
    import SimpleITK as sitk

    if array.shape != geometry.shape:
        raise BadInputError(f"An array of shape {array.shape} does not fit a volume of shape {geometry.shape}.")
    if array.dtype == bool:
        array = array.astype(np.uint8)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    spacing, origin, direction = geometry.to_itk()
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    for name, text in (facts or {}).items():
        image.SetMetaData(FACT_PREFIX + name, text)
    with written_atomically(path) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=compress)


def _reader(path: Path):
    import SimpleITK as sitk  # here, because Slicer reads this file at every start

    if not path.is_file():
        raise BadInputError(f"The file '{path}' does not exist.")
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise BadInputError(_unreadable(path, error)) from error
    size = reader.GetSize()
    require_3d_scalar(len([n for n in size[3:] if n > 1]) + 3 if len(size) >= 3 else len(size), size, path)
    if reader.GetNumberOfComponents() != 1:
        raise BadInputError(
            f"'{path}' has {reader.GetNumberOfComponents()} values per voxel (a colour or vector image). "
            "SparseAnnotate works on images with one value per voxel: extract one component first."
        )
    return reader


def require_3d_scalar(dimension: int, size, what) -> None:
    """Raise BadInputError when an image named `what` is 2D, one slice thin, or 4D."""
    if dimension > 3:
        raise BadInputError(
            f"'{what}' is a 4D image ({' x '.join(map(str, size))}). "
            "SparseAnnotate works on one 3D volume at a time: save the time point or channel you want by itself."
        )
    if dimension < 3 or min(size[:3]) < 2:
        raise BadInputError(f"'{what}' is a 2D image; SparseAnnotate needs a 3D volume of at least two slices.")


def _unreadable(path: Path, error: Exception | str) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return (
        f"The file '{path}' cannot be read as an image; it may be damaged or cut off. "
        f"Copy it again from its source. (Reader: {lines[-1].strip()})"
    )
