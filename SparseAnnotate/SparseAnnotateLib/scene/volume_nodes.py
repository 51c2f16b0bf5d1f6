"""Volume nodes as arrays and geometry."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import slicer
import vtk

from ..core import BadInputError, VolumeGeometry
from ..core.images import require_3d_scalar
from ..core.messages import _
from ..core.voxel_values import require_finite
from .kept_results import KeptResults

_GEOMETRIES: KeptResults[VolumeGeometry] = KeptResults()


def matrix_array(matrix: vtk.vtkMatrix4x4) -> np.ndarray:
    """A VTK matrix as a (4, 4) float64 array."""
    return np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])


def vtk_matrix(array: np.ndarray) -> vtk.vtkMatrix4x4:
    """A (4, 4) array as a VTK matrix."""
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy([float(x) for x in np.asarray(array).ravel()])
    return matrix


def volumes_of_scene() -> list:
    """Visible volumes with image data and one value per voxel: no vector, tensor or label volumes."""
    return [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if is_offered(node)]


def is_offered(node) -> bool:
    """Whether a scalar volume is one of `volumes_of_scene`."""
    if node.GetHideFromEditors() or node.GetClassName() != "vtkMRMLScalarVolumeNode":
        return False
    return node.GetImageData() is not None


def require_scalar_volume(node) -> None:
    """Raise BadInputError, naming the node, when it is not a 3D volume with one value per voxel."""
    if node is None:
        raise BadInputError(_("No volume is selected. Load one, or choose one in the list of volumes."))
    name, image = node.GetName(), node.GetImageData() if node.IsA("vtkMRMLScalarVolumeNode") else None
    if image is None:
        raise BadInputError(_("'{name}' is not a volume with image data. Choose a scalar volume.").format(name=name))
    components = image.GetNumberOfScalarComponents()
    if components != 1:
        raise BadInputError(
            _(
                "'{name}' has {components} values per voxel (a color, vector or 4D image). Extract one "
                "component first, in Slicer with the module 'Vector to Scalar Volume'."
            ).format(name=name, components=components)
        )
    require_3d_scalar(3, image.GetDimensions(), name)


def world_from_node(node) -> np.ndarray:
    """(4, 4) matrix from a node's own coordinates to the world, through its parent transforms.

    Raises BadInputError when a parent transform is non-linear.
    """
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        raise BadInputError(
            _(
                "'{name}' is under the non-linear transform '{transform}', which deforms its slices. Harden the "
                "transform (right-click '{name}' in the Data module), or take '{name}' out of the transform."
            ).format(name=node.GetName(), transform=parent.GetName())
        )
    matrix = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    return matrix_array(matrix)


def local_ijk_to_ras(node) -> np.ndarray:
    """(4, 4) matrix from voxel index of the volume's array to RAS, without parent transforms.

    Indices of the array start at 0, but the IJK indices of a cropped image may start at 10, for example.
    """
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    array = matrix_array(matrix)
    image = node.GetImageData()
    if image is not None:
        array[:3, 3] = (array @ [*image.GetExtent()[::2], 1.0])[:3]
    return array


def geometry_of(node) -> VolumeGeometry:
    """A volume's geometry in its own coordinates, without parent transforms. Raises BadInputError, naming the node.

    Planes and slices are the volume's own: moving it by a transform must not change which slices are axial.
    """
    if node is None or node.GetDisableModifiedEvent():
        return _geometry(node, np.eye(4))
    # With hundreds of volumes the panel needs it a thousand times for every click.
    image = node.GetImageData() if node.IsA("vtkMRMLScalarVolumeNode") else None
    stamp = (node.GetMTime(), image.GetMTime()) if image is not None else None
    return _GEOMETRIES.of(node.GetID(), stamp, lambda: _geometry(node, np.eye(4)))


def world_geometry_of(node) -> VolumeGeometry:
    """A volume's geometry in the world, through its parent transforms. Raises BadInputError, naming the node."""
    return _geometry(node, world_from_node(node))


def _geometry(node, moved: np.ndarray) -> VolumeGeometry:
    require_scalar_volume(node)
    shape = tuple(reversed(node.GetImageData().GetDimensions()))
    matrix = moved @ local_ijk_to_ras(node)
    try:
        return _geometry_from(shape, matrix.tobytes())
    except BadInputError as error:
        raise BadInputError(
            _("The volume '{volume}' cannot be used. {problem}").format(volume=node.GetName(), problem=error.message)
        ) from error


@lru_cache(maxsize=4096)
def _geometry_from(shape: tuple[int, int, int], matrix: bytes) -> VolumeGeometry:
    """Cached, because with hundreds of volumes the panel needs it a thousand times for every click."""
    return VolumeGeometry.from_matrix(shape, np.frombuffer(matrix).reshape(4, 4))


def image_of(node) -> np.ndarray:
    """A volume's voxels, a (K, J, I) view into the node (do not modify). Raises BadInputError for NaN or Inf."""
    require_scalar_volume(node)
    array = slicer.util.arrayFromVolume(node)
    require_finite(array, _("The volume '{volume}'").format(volume=node.GetName()))
    return array
