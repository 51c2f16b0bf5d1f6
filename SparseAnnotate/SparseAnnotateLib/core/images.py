"""Reading and writing images and label maps with SimpleITK (NRRD, NIfTI, MetaImage), with clear errors on bad files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .atomic_files import written_atomically
from .errors import BadInputError
from .file_damage import missing_sentence, require_whole, require_whole_header, unreadable
from .geometry import VolumeGeometry
from .messages import _, counted
from .nifti_for_itk import named_for_itk, orthogonal_for_itk
from .nifti_header import NIFTI_ENDINGS, nifti_contradiction
from .nifti_numbers import require_numbers_in_nifti
from .planes import slice_layer
from .slab_writing import FACT_PREFIX, written_in_slabs
from .voxel_values import labels_from_values, require_finite

if TYPE_CHECKING:
    from SimpleITK import ImageFileReader

IMAGE_ENDINGS = (".nrrd", ".nii.gz", ".nii", ".nhdr", ".mha", ".mhd")
WRITTEN_ENDINGS = (".nrrd", ".nii.gz", ".nii", ".mha")
"""Formats that keep the voxels, and where they are, in one file."""


def read_geometry(path: str | Path, channel: int | None = None) -> VolumeGeometry:
    """Geometry from a file's header alone. Raises BadInputError as `read_image` does, except about the voxels."""
    with _opened(Path(path), header_only=True, channel=channel) as reader:
        return _geometry(reader, path)


def channel_count(path: str | Path) -> int:
    """How many 3D images a 3D or 4D file has along its fourth dimension; from its header alone.

    Raises BadInputError as `read_image` does, except about the voxels.
    """
    with _opened(Path(path), header_only=True, channel=0) as reader:
        return _fourth(reader.GetSize())


def read_image(path: str | Path, channel: int | None = None) -> tuple[np.ndarray, VolumeGeometry]:
    """A 3D scalar image: (K, J, I) array in the file's own dtype, and its geometry.

    Args:
        channel: which of the 3D images of a 4D file, from 0; None: the file must be 3D.

    Raises:
        BadInputError: when the file is missing, damaged, cut off, not an image, not 3D, a colour image, has axes that
            are not at right angles, or holds NaN or Inf.
    """
    import SimpleITK as sitk

    path = Path(path)
    with _opened(path, channel=channel) as reader:
        require_whole(path)
        size = reader.GetSize()
        if channel is not None and _fourth(size) > 1:
            reader.SetExtractIndex([0, 0, 0, channel, *[0] * (len(size) - 4)])
            reader.SetExtractSize([*size[:3], *[0] * (len(size) - 3)])
        try:
            image = reader.Execute()
        except RuntimeError as error:
            raise BadInputError(unreadable(path, error)) from error
        array = sitk.GetArrayFromImage(image)
        array = array.reshape(array.shape[-3:])
        geometry = _geometry(reader, path)
    what = _("The image '{path}'").format(path=path)
    require_finite(array, what)
    if path.name.lower().endswith(NIFTI_ENDINGS):
        require_numbers_in_nifti(path, array, channel or 0, what)
    return array, geometry


def read_labels(path: str | Path, geometry: VolumeGeometry) -> np.ndarray:
    """A label map on the grid `geometry`: (K, J, I) uint8, or uint16 when a label exceeds 255.

    Label maps of the same voxels that are stored with flipped or swapped axes are turned to the grid. Those stored as
    floating point are accepted when every value is a whole number, apart from rounding.

    Raises:
        BadInputError: as `read_image`; when the file has another grid; when a value is not a label.
    """
    return _whole_numbers_on_grid(path, geometry, _("The label file '{path}'").format(path=path))


def read_slice(path: str | Path, axis: int) -> np.ndarray:
    """An image of a single slice that `write_image` wrote: (rows, columns) without the array axis it is thin along.

    Raises BadInputError when the file is missing, damaged, or has several slices.
    """
    import SimpleITK as sitk

    require_whole(Path(path))
    try:
        array: np.ndarray = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    except RuntimeError as error:
        raise BadInputError(unreadable(Path(path), error)) from error
    if array.ndim != 3 or array.shape[axis] != 1:
        raise BadInputError(_("'{path}' is not an image of a single slice.").format(path=path))
    layer: np.ndarray = array[slice_layer(axis, 0)]
    return layer


def read_percent(path: str | Path, geometry: VolumeGeometry) -> np.ndarray:
    """A map of percentages on the grid `geometry`, turned to it as by `read_labels`: (K, J, I) uint8.

    Raises:
        BadInputError: as `read_image`; when the file has another grid; when a value is not a whole percentage.
    """
    what = _("The file of percentages '{path}'").format(path=path)
    percent = _whole_numbers_on_grid(path, geometry, what)
    if percent.max(initial=0) > 100:
        raise BadInputError(_("{what} contains values above 100.").format(what=what))
    return percent


def _whole_numbers_on_grid(path: str | Path, geometry: VolumeGeometry, what: str) -> np.ndarray:
    array, own = read_image(path)
    difference = own.difference_from(geometry)
    if difference:
        turned = geometry.with_same_voxels(array, own)
        if turned is None:
            raise BadInputError(
                _(
                    "{what} does not lie on its image's grid: {difference}. Resample it to the image first, with "
                    "nearest-neighbor interpolation."
                ).format(what=what, difference=difference)
            )
        array = np.ascontiguousarray(turned)
    return labels_from_values(array, what)


def read_facts(path: str | Path) -> dict[str, str]:
    """The facts that `write_image` stored in a NRRD header; empty for files of other programs and formats."""
    with _opened(Path(path), header_only=True) as reader:
        keys = [key for key in reader.GetMetaDataKeys() if key.startswith(FACT_PREFIX)]
        return {key.removeprefix(FACT_PREFIX): reader.GetMetaData(key) for key in keys}


def require_facts(path: str | Path, facts: Mapping[str, str]) -> None:
    """Raise BadInputError when a file has other facts than before its voxels were read: they are of another writing."""
    if read_facts(path) != dict(facts):
        raise BadInputError(
            _("The file '{path}' is being replaced. Try again when it has been written.").format(path=path)
        )


def require_written_ending(path: str | Path) -> None:
    """Raise BadInputError when images cannot be written as such a file: pictures lose the grid or most slices."""
    if not str(path).lower().endswith(WRITTEN_ENDINGS):
        raise BadInputError(
            _(
                "'{path}' cannot be written: images are written as files that end in {endings}. Choose one of them."
            ).format(path=path, endings=", ".join(WRITTEN_ENDINGS))
        )


def write_image(
    path: str | Path,
    array: np.ndarray,
    geometry: VolumeGeometry,
    compress: bool = True,
    facts: Mapping[str, str] | None = None,
) -> None:
    """Write a (K, J, I) array on its grid, atomically; the extension selects the format (NRRD keeps geometry exact).

    `facts` are stored in the header of a NRRD file, for `read_facts`: for example what a result was made from.

    Raises:
        BadInputError: when array and geometry do not fit, or the extension is none of WRITTEN_ENDINGS.
        FileWriteError: when the file cannot be written.
    """
    require_written_ending(path)
    if str(path).lower().endswith(".nrrd"):
        for _step in written_in_slabs(path, array, geometry, compress, facts, require_numbers=False):
            pass
        return
    import SimpleITK as sitk

    if array.shape != geometry.shape:
        raise BadInputError(
            _("An array of shape {shape} does not fit a volume of shape {volume_shape}.").format(
                shape=array.shape, volume_shape=geometry.shape
            )
        )
    if array.dtype == bool:
        array = array.astype(np.uint8)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    spacing, origin, direction = geometry.to_itk()
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    with written_atomically(path) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=compress)


@contextmanager
def _opened(path: Path, header_only: bool = False, channel: int | None = None) -> Iterator[ImageFileReader]:
    """SimpleITK's reader of an image file, after its header has been read and checked.

    It must be a 3D scalar image, or with a `channel` have that many in its fourth dimension.
    """
    import SimpleITK as sitk  # here, because Slicer imports this file at every start

    if not path.is_file():
        raise BadInputError(missing_sentence(path))
    require_whole_header(path)
    with ExitStack() as stack:
        try:
            reader = sitk.ImageFileReader()
            reader.SetFileName(str(stack.enter_context(named_for_itk(path))))
            reader.ReadImageInformation()
        except (OSError, RuntimeError) as error:
            copy = stack.enter_context(orthogonal_for_itk(path, header_only))
            if copy is None:
                require_whole(path)  # whose message may be more precise
                raise BadInputError(unreadable(path, error)) from error
            reader.SetFileName(str(copy))
            try:
                reader.ReadImageInformation()
            except RuntimeError:
                raise BadInputError(unreadable(path, error)) from error
        _require_scalar_volume(reader, path, channel)
        contradiction = nifti_contradiction(path) if path.name.lower().endswith(NIFTI_ENDINGS) else ""
        if contradiction:
            raise BadInputError(contradiction)
        yield reader


def _geometry(reader: ImageFileReader, path: str | Path) -> VolumeGeometry:
    size, spacing, origin = reader.GetSize(), reader.GetSpacing(), reader.GetOrigin()
    direction = np.asarray(reader.GetDirection()).reshape(len(size), len(size))[:3, :3]
    try:
        return VolumeGeometry.from_itk(size[:3], spacing[:3], origin[:3], direction)
    except BadInputError as error:
        raise BadInputError(
            _("The file '{path}' cannot be used. {problem}").format(path=path, problem=error.message)
        ) from error


def _fourth(size: Sequence[int]) -> int:
    return int(size[3]) if len(size) > 3 else 1


def _require_scalar_volume(reader: ImageFileReader, path: Path, channel: int | None) -> None:
    size = reader.GetSize()
    rest = size[3:] if channel is None else size[4:]
    require_3d_scalar(len([n for n in rest if n > 1]) + 3 if len(size) >= 3 else len(size), size, path)
    if channel is not None and channel >= _fourth(size):
        raise BadInputError(
            counted(
                _fourth(size),
                _("'{path}' holds {count} image, so it has no channel number {number}."),
                _("'{path}' holds {count} images, so it has no channel number {number}."),
                path=path,
                number=channel + 1,
            )
        )
    if reader.GetNumberOfComponents() != 1:
        raise BadInputError(
            _(
                "'{path}' has {count} values per voxel (a color or vector image). SparseAnnotate works on images "
                "with one value per voxel: extract one component first."
            ).format(path=path, count=reader.GetNumberOfComponents())
        )


def require_3d_scalar(dimension: int, size: Sequence[int], what: str | Path) -> None:
    """Raise BadInputError when an image named `what` is 2D, one slice thin, or 4D."""
    if dimension > 3:
        raise BadInputError(
            _(
                "'{what}' is a 4D image ({size}). If its fourth dimension holds channels, name them when you make the "
                "cohort ('--channels'). Of a time series, save the time point that you need as a separate file."
            ).format(what=what, size=" x ".join(map(str, size)))
        )
    if dimension < 3 or min(size[:3]) < 2:
        raise BadInputError(
            _("'{what}' is a 2D image; SparseAnnotate needs a 3D volume of at least two slices.").format(what=what)
        )
