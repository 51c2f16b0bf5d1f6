"""Pictures of slice views, rendered off-screen by Slicer's own slice logic and displayable managers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

GL_PACKAGES = "libegl1 and libgl1-mesa-dri (Debian, Ubuntu), or mesa-libEGL and mesa-dri-drivers (Fedora)"
_MANAGERS = ("vtkMRMLSegmentationsDisplayableManager2D", "vtkMRMLModelSliceDisplayableManager")


def can_render() -> bool:
    """True when an off-screen window can be rendered; tried in another process, because a failing driver may abort."""
    script = (
        "import vtk; w = vtk.vtkRenderWindow(); w.SetOffScreenRendering(1); w.SetSize(8, 8);"
        "w.AddRenderer(vtk.vtkRenderer()); w.Render(); print(w.SupportsOpenGL())"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, env=os.environ)
    return result.returncode == 0 and result.stdout.strip().endswith("1")


class SliceView:
    """One slice view with a volume in the background and all visible segmentations over it."""

    def __init__(self, name: str, size: tuple[int, int] = (480, 480)):
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.window.SetSize(*size)
        self.renderer = vtk.vtkRenderer()
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.logic = slicer.vtkMRMLSliceLogic()
        application_logic = slicer._embedded.application_logic
        self.logic.SetMRMLApplicationLogic(application_logic)
        application_logic.GetSliceLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(slicer.mrmlScene)
        self.node = self.logic.AddSliceNode(name)
        self.mapper = vtk.vtkImageMapper()
        self.mapper.SetColorWindow(255)
        self.mapper.SetColorLevel(127.5)
        actor = vtk.vtkActor2D()
        actor.SetMapper(self.mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(actor)
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        for manager in _MANAGERS:
            if not factory.IsDisplayableManagerRegistered(manager):
                factory.RegisterDisplayableManager(manager)
        self.managers = slicer.vtkMRMLDisplayableManagerGroup()
        self.managers.SetRenderer(self.renderer)
        self.managers.Initialize(factory, self.renderer)
        self.managers.SetMRMLDisplayableNode(self.node)
        self.logic.ResizeSliceNode(*size)

    def show(self, volume_node) -> None:
        """Put a volume into the background and fit the view to it."""
        self.logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume_node.GetID())
        self.logic.FitSliceToBackground()

    def picture(self) -> np.ndarray:
        """The rendered view as a (rows, columns, 3) uint8 array."""
        self.logic.ResizeSliceNode(*self.window.GetSize())
        self.mapper.SetInputConnection(self.logic.GetImageDataConnection())
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
        self.managers.SetMRMLDisplayableNode(None)
        slicer._embedded.application_logic.GetSliceLogics().RemoveItem(self.logic)
        self.window.Finalize()


def save_png(path: str | Path, pictures: Sequence[Sequence[np.ndarray]]) -> None:
    """Save rows of pictures of equal size as one PNG."""
    from PIL import Image

    rows = [np.concatenate(list(row), axis=1) for row in pictures]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows, axis=0)).save(path)
