"""Stand-ins for `slicer.ScriptedLoadableModule`, `slicer.i18n`; a panel's parent is a plain Qt widget."""

from __future__ import annotations

import sys
import types
import unittest
from pathlib import Path

import slicer


class ScriptedLoadableModule:
    def __init__(self, parent):
        self.parent = parent


class ScriptedLoadableModuleLogic:
    def __init__(self, parent=None):
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self):
        """The module's one parameter node, a singleton in the scene, as in Slicer."""
        for node in slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode"):
            if node.GetSingletonTag() == self.moduleName:
                return node
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        node.SetSingletonTag(self.moduleName)
        node.SetModuleName(self.moduleName)
        return slicer.mrmlScene.AddNode(node)


class ScriptedLoadableModuleWidget:
    """`layout` is a vertical layout in `parent`, which the stand-in makes."""

    def __init__(self, parent=None):
        from PySide6 import QtWidgets

        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent = parent or QtWidgets.QWidget()
        self.parent.isEntered = True
        self.layout = QtWidgets.QVBoxLayout(self.parent)

    def setup(self):
        pass

    def cleanup(self):
        pass

    def resourcePath(self, name: str) -> str:
        return str(Path(sys.modules[type(self).__module__].__file__).parent / "Resources" / name)

    def onReload(self):
        raise NotImplementedError("Reloading needs Slicer itself.")


class ScriptedLoadableModuleTest(unittest.TestCase):
    def __init__(self, *arguments):
        super().__init__(*arguments or ("runTest",))

    def delayDisplay(self, message: str, milliseconds: int = 300) -> None:
        print(message)


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
