"""Stand-ins for `slicer.ScriptedLoadableModule` and `slicer.i18n`; a panel's parent knows the scene."""

from __future__ import annotations

import sys
import types
import unittest
from pathlib import Path

import slicer

from . import sample_data_module


class ScriptedLoadableModule:
    """What Slicer knows of a module before it is opened."""

    def __init__(self, parent):
        self.parent = parent
        self.moduleName = type(self).__name__

    def resourcePath(self, filename: str) -> str:
        return _resource(self, filename)

    def runTest(self, msec: int = 100, **kwargs) -> None:
        """Run the module's self-test, the class of the same name with 'Test' at its end."""
        vars(sys.modules[type(self).__module__])[f"{self.moduleName}Test"]().runTest(**kwargs)

    def getDefaultModuleDocumentationLink(self, docPage=None) -> str:
        return ""  # Slicer names a page of its own


class ScriptedLoadableModuleLogic:
    """Keeps the module's parameter node, a singleton in the scene."""

    def __init__(self, parent=None):
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self):
        nodes = self.getAllParameterNodes()
        return nodes[0] if nodes else slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self) -> list:
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if self.moduleName in (node.GetSingletonTag(), node.GetAttribute("ModuleName"))]

    def createParameterNode(self):
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleWidget:
    """`layout` is a vertical layout in `parent`, which the stand-in makes."""

    def __init__(self, parent=None):
        from PySide6 import QtWidgets

        from .mrml_widgets import qSlicerScriptedLoadableModuleWidget
        from .pythonqt_rules import as_pythonqt

        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent = parent or as_pythonqt(qSlicerScriptedLoadableModuleWidget)()
        self.layout = as_pythonqt(QtWidgets.QVBoxLayout)(self.parent)

    def setup(self) -> None:
        self.setupDeveloperSection()

    def setupDeveloperSection(self) -> None:
        """Slicer shows buttons for reloading here, in developer mode only."""

    def cleanup(self) -> None:
        pass

    def resourcePath(self, filename: str) -> str:
        return _resource(self, filename)

    def onReload(self):
        raise NotImplementedError("Reloading needs Slicer itself.")

    onReloadAndTest = onTest = onEditSource = onReload


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The base of a module's self-test."""

    def __init__(self, *arguments):
        super().__init__(*arguments or ("runTest",))

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        print(message)

    def runTest(self) -> None:
        for name in dir(self):
            if name.startswith("test"):
                self.setUp()
                getattr(self, name)()
                self.tearDown()


def _resource(of, filename: str) -> str:
    return str(Path(sys.modules[type(of).__module__].__file__).parent / "Resources" / filename)


def install() -> None:
    """Make `slicer.ScriptedLoadableModule` and `slicer.i18n` importable."""
    module = types.ModuleType("slicer.ScriptedLoadableModule")
    for cls in (
        ScriptedLoadableModule,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleTest,
    ):
        setattr(module, cls.__name__, cls)
    translation = types.ModuleType("slicer.i18n")
    translation.tr = lambda text: text
    translation.translate = lambda context, text: text
    for name, content in (("ScriptedLoadableModule", module), ("i18n", translation)):
        sys.modules[f"slicer.{name}"] = content
        setattr(slicer, name, content)
    sample_data_module.install()
