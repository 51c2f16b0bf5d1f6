"""The real panel in a plain window, over an embedded scene: `python -m SlicerStandIn.panel_window`."""

from __future__ import annotations

import slicer

from . import embedded_slicer


def open_panel():
    """Start the embedded Slicer with Qt and make the module's widget, as Slicer does when the module is entered."""
    embedded_slicer.start()
    from . import qt_facade

    application = qt_facade.install()
    import SparseAnnotate

    if slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed") is None:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSliceNode")  # with the orientation presets
        node.UnRegister(None)
        node.SetSingletonTag("Red")
        node.SetLayoutName("Red")
        slicer.mrmlScene.AddNode(node)
    widget = SparseAnnotate.SparseAnnotateWidget()
    widget.setup()
    return application, widget
