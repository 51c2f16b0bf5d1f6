"""A view rendered off-screen by Slicer's displayable managers."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support


class OffscreenView:
    """A window that is never shown, and the displayable managers that fill it with what the scene has."""

    def __init__(self, size: tuple[int, int]):
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.window.SetSize(*size)
        self.renderer = vtk.vtkRenderer()
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.managers = slicer.vtkMRMLDisplayableManagerGroup()
        self.node = None
        self._behind_scene = False
        self._unnoticed = False
        self._observed: list[tuple[vtk.vtkObject, int]] = []
        self._observe(slicer.mrmlScene, slicer.mrmlScene.EndBatchProcessEvent, self._fall_behind)

    def add_managers(self, factory, names: Iterable[str]) -> None:
        """Let displayable managers of these classes draw."""
        factory.SetMRMLApplicationLogic(slicer._embedded.application_logic)
        for name in names:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self.managers.SetRenderer(self.renderer)
        self.managers.Initialize(factory, self.renderer)

    def follow(self, view_node) -> None:
        """Show what the scene shows in the view of this node."""
        if view_node is not self.node:
            self.node = view_node
            self.managers.SetMRMLDisplayableNode(view_node)

    def on_change(self, call: Callable[[], None]) -> None:
        """Call a function whenever the picture is out of date."""
        self._observe(self.managers, vtk.vtkCommand.UpdateEvent, call)
        self._observe(slicer.mrmlScene, slicer.mrmlScene.EndBatchProcessEvent, call)

    def resize(self, width: int, height: int) -> None:
        if self.window.GetSize() != (width, height):
            self.window.SetSize(width, height)

    def picture(self) -> np.ndarray:
        """The rendered view as a (rows, columns, 3) uint8 array."""
        if self._behind_scene:
            # After a scene was closed or loaded, the managers wait for a change of the view node to catch up.
            self._behind_scene = False
            self.node.Modified()
        self.window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.ReadFrontBufferOff()
        grab.Update()
        image = grab.GetOutput()
        width, height, _ = image.GetDimensions()
        pixels = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
        return pixels.reshape(height, width, -1)[::-1, :, :3].copy()

    def close(self) -> None:
        for observed, tag in self._observed:
            observed.RemoveObserver(tag)
        self._observed.clear()
        self.managers.SetMRMLDisplayableNode(None)
        self.window.Finalize()

    def _fall_behind(self) -> None:
        self._behind_scene = True

    def _observe(self, observed: vtk.vtkObject, event: int, call: Callable[[], None]) -> None:
        self._observed.append((observed, observed.AddObserver(event, lambda *_: self._unnoticed or call())))
