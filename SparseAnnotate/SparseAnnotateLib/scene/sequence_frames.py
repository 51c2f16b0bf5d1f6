"""Frames of a sequence (4D): one volume node shows them one after the other, and each has its own drawn slices."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import slicer

from ..core.messages import _
from .kept_results import KeptResults

_BROWSER = "vtkMRMLSequenceBrowserNode"
_HAS_BROWSERS: KeptResults[bool] = KeptResults()  # the time of a scene changes when a node is added or removed


def _scene_stamp() -> tuple:
    # The time changes only after observers of an added or a removed node have been called.
    return slicer.mrmlScene.GetMTime(), slicer.mrmlScene.GetNumberOfNodes()


def _has_browsers() -> bool:
    return bool(slicer.mrmlScene.GetNumberOfNodesByClass(_BROWSER))


@dataclass(frozen=True)
class Frame:
    """The frame of a sequence that a volume node shows now.

    Attributes:
        sequence: the sequence node. Data of a frame is stored there, as the volume node is overwritten by other frames.
        value: index value in the sequence, as text, for example '12.5'. index_name, unit: of that value.
    """

    sequence: Any
    value: str
    index_name: str
    unit: str

    @property
    def key(self) -> str:
        """Short text that may be part of an attribute's name or a reference role."""
        return hashlib.sha1(self.value.encode()).hexdigest()[:8]

    def __str__(self) -> str:
        value = f"{self.index_name} = {self.value}{f' {self.unit}' if self.unit else ''}"
        return _("frame '{value}' of the sequence '{sequence}'").format(value=value, sequence=self.sequence.GetName())


def frame_of(volume_node) -> Frame | None:
    """The frame that a volume shows; None for a volume that does not belong to a sequence."""
    # This is called for every volume very often, and most scenes have no sequence.
    if not _HAS_BROWSERS.of(None, _scene_stamp(), _has_browsers):
        return None
    for browser in slicer.util.getNodesByClass(_BROWSER):
        if not browser.IsProxyNodeID(volume_node.GetID()):
            continue
        sequence, master = browser.GetSequenceNode(volume_node), browser.GetMasterSequenceNode()
        if sequence is None or master is None or master.GetNumberOfDataNodes() == 0:
            continue
        # Nothing is selected in a new browser, which shows the first frame.
        number = max(0, browser.GetSelectedItemNumber())
        return Frame(sequence, master.GetNthIndexValue(number), master.GetIndexName() or "index", master.GetIndexUnit())
    return None


def watch_frames(volume_nodes: Sequence, on_changed: Callable[[], None]) -> Callable[[], None]:
    """Call `on_changed` whenever one of the volumes shows another frame; returns a function that stops watching.

    A sequence browser that is added later is not watched: call this again then.
    """
    browsers = slicer.util.getNodesByClass(_BROWSER)
    frames = {node: frame_of(node) for node in volume_nodes} if browsers else {}

    def on_modified(browser, _event) -> None:
        # A browser is modified for many other reasons, and often.
        near = [node for node, frame in frames.items() if frame is not None or browser.IsProxyNodeID(node.GetID())]
        now = {node: frame_of(node) for node in near if node.GetScene() is not None}
        if any(frames[node] != frame for node, frame in now.items()):
            frames.update(now)
            on_changed()

    tags = [(browser, browser.AddObserver("ModifiedEvent", on_modified)) for browser in browsers]

    def stop() -> None:
        for browser, tag in tags:
            browser.RemoveObserver(tag)

    return stop
