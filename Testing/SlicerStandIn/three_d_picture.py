"""A picture of the 3D view, rendered off-screen by Slicer's own displayable managers."""

from __future__ import annotations

import math

import numpy as np
import slicer
import vtk

from . import view_nodes
from .offscreen_view import OffscreenView

_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
)
_FROM = (-0.4, 0.8, 0.45)


class ThreeDView(OffscreenView):
    """The 3D view: models, slices shown in 3D, and segmentations that have a closed surface."""

    def __init__(self, name: str = view_nodes.THREE_D_VIEW, size: tuple[int, int] = (480, 480)):
        super().__init__(size)
        self.set_fine(False)
        self.name = name
        view_nodes.add_slice_views()
        self.add_managers(slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance(), _MANAGERS)
        self.follow(view_nodes.view_node(name, "vtkMRMLViewNode"))

    @property
    def camera_node(self):
        return self.managers.GetDisplayableManagerByClassName("vtkMRMLCameraDisplayableManager").GetCameraNode()

    def set_fine(self, fine: bool) -> None:
        """Smoother edges, which take three times as long where software renders."""
        self.window.SetMultiSamples(8 if fine else 0)
        self.renderer.SetUseFXAA(not fine)

    def picture(self) -> np.ndarray:
        self.follow(view_nodes.view_node(self.name, "vtkMRMLViewNode"))
        return super().picture()

    def shows_something(self) -> bool:
        return vtk.vtkMath.AreBoundsInitialized(self._content_bounds())

    def fit(self) -> None:
        """Look from the front, a little from the side and above, at everything that is shown."""
        bounds = self._content_bounds()
        if vtk.vtkMath.AreBoundsInitialized(bounds):
            box = vtk.vtkBoundingBox(bounds)
            centre = [0.0] * 3
            box.GetCenter(centre)
            camera = self.camera_node
            distance = box.GetDiagonalLength() / 2 / math.sin(math.radians(camera.GetViewAngle() / 2))
            scale = distance / math.hypot(*_FROM)
            camera.SetFocalPoint(centre)
            camera.SetPosition([c + scale * d for c, d in zip(centre, _FROM, strict=True)])
            camera.SetViewUp(0, 0, 1)
            camera.ResetClippingRange()
        self.node.InvokeEvent(slicer.vtkMRMLViewNode.ResetFocalPointRequestedEvent)

    def _content_bounds(self) -> tuple[float, ...]:
        # The bounding box and its letters are hidden only while the extent of the content is computed.
        self._unnoticed = True
        try:
            self._show_box(False)
            bounds = self.renderer.ComputeVisiblePropBounds()
            self._show_box(True)
        finally:
            self._unnoticed = False
        return bounds

    def _show_box(self, shown: bool) -> None:
        self.node.SetBoxVisible(shown)
        self.node.SetAxisLabelsVisible(shown)
