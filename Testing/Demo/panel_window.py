"""The real panel in a window like Slicer's, over an embedded scene: `python -m Demo.panel_window`."""

from __future__ import annotations

import argparse
import sys

from PySide6 import QtWidgets

from SlicerStandIn import embedded_slicer


def open_panel():
    """Start the embedded Slicer with Qt and make the module's widget, as Slicer does when the module is entered."""
    embedded_slicer.start()
    from SlicerStandIn import qt_facade, view_nodes

    application = qt_facade.install()
    import SparseAnnotate

    view_nodes.add_slice_views()
    widget = SparseAnnotate.SparseAnnotateWidget()
    widget.setup()
    widget.enter()
    return application, widget


def main() -> int:
    options = _options()
    embedded_slicer.start()
    from SlicerStandIn import painting, qt_facade, slicer_style, slicer_window, view_nodes

    from . import demo_data

    slicer_style.apply(qt_facade.install(), options.dark)
    application, widget = open_panel()
    window = slicer_window.SlicerWindow(widget.parent)
    window.set_brush(painting.EditorBrush(before_stroke=lambda node: _save_state_for_undo(widget.parent, node)))
    window.resize(options.width, options.height)
    window.show()
    application.processEvents()
    if options.data:
        cases = demo_data.decathlon_cases(options.data, options.cases)
    else:
        cases = demo_data.mni152_case(options.resolution)
    view_nodes.show_volume(cases[0].volume)
    code = 0
    if options.picture:
        window.save_picture(options.picture)
    else:
        code = application.exec()
    window.close()
    widget.cleanup()
    return code


def _save_state_for_undo(panel, segmentation_node) -> None:
    """Save a state, so that the panel's segment editor can undo the stroke."""
    for editor in panel.findChildren(QtWidgets.QWidget):
        if type(editor).__name__ == "qMRMLSegmentEditorWidget" and editor.segmentationNode() is segmentation_node:
            editor.saveStateForUndo()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="Testing/run panel", description=__doc__)
    parser.add_argument("--data", help="cohort in the Decathlon format; by default the MNI152 template")
    parser.add_argument("--cases", type=int, default=3, help="volumes to take from --data (default 3)")
    parser.add_argument("--resolution", type=int, default=2, help="of the MNI152 template, in mm (default 2)")
    parser.add_argument("--dark", action="store_true", help="Slicer's dark style")
    parser.add_argument("--width", type=int, default=1440, help="of the window (default 1440)")
    parser.add_argument("--height", type=int, default=900, help="of the window (default 900)")
    parser.add_argument("--picture", help="save a picture of the window to this file, and quit")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
