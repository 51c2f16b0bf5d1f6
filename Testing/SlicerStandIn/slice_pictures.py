"""Pictures of slice views, rendered off-screen by Slicer's own slice logic and displayable managers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import slicer
import vtk

from . import view_nodes
from .offscreen_view import OffscreenView

GL_PACKAGES = "libegl1 and libgl1-mesa-dri (Debian, Ubuntu), or mesa-libEGL and mesa-dri-drivers (Fedora)"
_MANAGERS = ("vtkMRMLSegmentationsDisplayableManager2D", "vtkMRMLModelSliceDisplayableManager")


@cache
def can_render() -> bool:
    """True when an off-screen window can be rendered; tried in another process, because a failing driver may abort."""
    script = (
        "import vtk; w = vtk.vtkRenderWindow(); w.SetOffScreenRendering(1); w.SetSize(8, 8);"
        "w.AddRenderer(vtk.vtkRenderer()); w.Render(); print(w.SupportsOpenGL())"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, env=os.environ)
    return result.returncode == 0 and result.stdout.strip().endswith("1")


class SliceView(OffscreenView):
    """One slice view: its background and foreground volumes, all visible segmentations, and models it cuts."""

    def __init__(self, name: str, size: tuple[int, int] = (480, 480)):
        super().__init__(size)
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        self._owns_logic = slicer._embedded.application_logic.GetSliceLogicByLayoutName(name) is None
        self.logic = view_nodes.slice_logic(name)
        self.mapper = vtk.vtkImageMapper()
        self.mapper.SetColorWindow(255)
        self.mapper.SetColorLevel(127.5)
        actor = vtk.vtkActor2D()
        actor.SetMapper(self.mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(actor)
        self.add_managers(slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance(), _MANAGERS)
        self.follow(self.logic.GetSliceNode())
        self.logic.ResizeSliceNode(*size)

    def show(self, volume_node) -> None:
        """Put a volume into the background and fit the view to it."""
        self.logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume_node.GetID())
        self.logic.FitSliceToBackground()

    def on_change(self, call: Callable[[], None]) -> None:
        super().on_change(call)
        self._observe(self.logic, vtk.vtkCommand.ModifiedEvent, call)

    def picture(self) -> np.ndarray:
        self.follow(self.logic.GetSliceNode())
        self.logic.ResizeSliceNode(*self.window.GetSize())
        self.mapper.SetInputConnection(self.logic.GetImageDataConnection())
        return super().picture()

    def close(self) -> None:
        super().close()
        if self._owns_logic:
            slicer._embedded.application_logic.GetSliceLogics().RemoveItem(self.logic)


def save_png(path: str | Path, pictures: Sequence[Sequence[np.ndarray]]) -> None:
    """Save rows of pictures of equal size as one PNG."""
    from PIL import Image

    rows = [np.concatenate(list(row), axis=1) for row in pictures]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows, axis=0)).save(path)
