"""Slicer's scene and module logics without its application: `start()` once, then use `slicer` as in Slicer."""

from __future__ import annotations

import sys
import tempfile
import types
from contextlib import contextmanager
from pathlib import Path

import slicer
import slicer.util
import vtk

from . import parameter_node, scripted_module

PROJECT = Path(__file__).resolve().parents[2]
_LOGICS = {
    "Volumes": "vtkSlicerVolumesLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
}


class EmbeddedApplication:
    """Stands in for `slicer.app`: only what the project uses of it."""

    def __init__(self, folder: Path):
        self.temporaryPath = str(folder / "temporary")
        self.defaultScenePath = str(folder / "documents")
        self.process_events = lambda: None

    def testingEnabled(self) -> bool:
        return True

    def applicationLogic(self):
        return slicer._embedded.application_logic

    def processEvents(self) -> None:
        self.process_events()

    def layoutManager(self):
        """None, as in Slicer without its main window."""


def start(folder: str | Path | None = None) -> None:
    """Put a scene, module logics and the scripted-module classes in place; does nothing the second time.

    Args:
        folder: stands in for the user's temporary and documents folders; a new temporary folder by default.
    """
    if hasattr(slicer, "_embedded"):
        return
    _add_to_path(PROJECT / "SparseAnnotate")
    folder = Path(folder or tempfile.mkdtemp(prefix="embedded-slicer-"))
    slicer.app = EmbeddedApplication(folder)
    scene = slicer.vtkMRMLScene()
    slicer.mrmlScene = scene
    application_logic = slicer.vtkSlicerApplicationLogic()
    application_logic.SetMRMLScene(scene)
    application_logic.SetSliceLogics(vtk.vtkCollection())
    application_logic.SetViewLogics(vtk.vtkCollection())
    slicer.modules = types.SimpleNamespace()
    colors = application_logic.GetColorLogic()
    colors.SetMRMLScene(scene)
    colors.AddDefaultColorNodes()
    application_logic.SetModuleLogic("Colors", colors)
    logics = [colors]
    for name, class_name in _LOGICS.items():
        logic = getattr(slicer, class_name)()
        with _quiet():  # the package brings no terminology files, and says so at length
            logic.SetMRMLScene(scene)
        logic.SetMRMLApplicationLogic(application_logic)
        application_logic.SetModuleLogic(name, logic)
        setattr(slicer.modules, name.lower(), types.SimpleNamespace(logic=lambda logic=logic: logic))
        logics.append(logic)
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance().SetMRMLApplicationLogic(application_logic)
    # Everything that must live as long as the scene.
    slicer._embedded = types.SimpleNamespace(
        application_logic=application_logic, logics=logics, io=_scene_io(scene, application_logic, folder)
    )
    scripted_module.install()
    parameter_node.install()


def clear_scene() -> None:
    """An empty scene, as Slicer's File > Close Scene leaves it."""
    slicer.mrmlScene.Clear(0)
    slicer._embedded.io[0].AddDataIOToScene()


def save_scene(path: str | Path) -> None:
    """Save the scene as .mrb."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).unlink(missing_ok=True)
    if not slicer.mrmlScene.WriteToMRB(str(path)):
        raise RuntimeError(f"The scene could not be saved to '{path}'.")


def load_scene(path: str | Path) -> None:
    """Load a scene saved as .mrb into the emptied scene."""
    clear_scene()
    if not slicer.mrmlScene.ReadFromMRB(str(path), False):
        raise RuntimeError(f"The scene '{path}' could not be loaded.")


def _scene_io(scene, application_logic, folder: Path):
    cache = folder / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    remote = slicer.vtkMRMLRemoteIOLogic()
    remote.SetMRMLScene(scene)
    remote.SetMRMLApplicationLogic(application_logic)
    remote.GetCacheManager().SetRemoteCacheDirectory(str(cache))
    data_io = slicer.vtkDataIOManagerLogic()
    data_io.SetMRMLScene(scene)
    data_io.SetAndObserveDataIOManager(remote.GetDataIOManager())
    remote.AddDataIOToScene()
    return remote, data_io


@contextmanager
def _quiet():
    old = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.SetGlobalWarningDisplay(0)
    try:
        yield
    finally:
        vtk.vtkObject.SetGlobalWarningDisplay(old)


def _add_to_path(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
