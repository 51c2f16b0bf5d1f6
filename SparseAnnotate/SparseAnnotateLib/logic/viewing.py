"""What the slice views show, and hearing of it when that changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .. import scene
from .session import SessionLogic


class ViewingLogic(SessionLogic):
    """Volumes and markers in the slice views."""

    def showVolume(self, volumeNode) -> None:
        """Show a volume in all slice views; those that showed another one are turned and fitted to it."""
        scene.show_volume(volumeNode)

    def volumesShown(self) -> list:
        """The volumes in the background of the slice views, each once."""
        return scene.volumes_shown()

    def hideOrphanedOverlays(self) -> None:
        """Take away from the slice views what `showConfidence` laid over them for results that are gone."""
        scene.hide_orphaned_overlays()

    def placeMarkers(self, volumeNode) -> None:
        """Let the markers of `showMarkers` be seen only in the slice views that show the volume."""
        scene.place_markers(volumeNode)

    def watchLayers(self, onChanged: Callable[[], None]) -> Callable[[], None]:
        """Call `onChanged` whenever a slice view shows another volume; returns a function that ends it."""
        return scene.watch_layers(onChanged)

    def watchNames(self, nodes: Sequence, onRenamed: Callable[[], None]) -> Callable[[], None]:
        """Call `onRenamed` whenever one of the nodes is given another name; returns a function that ends it."""
        return scene.watch_names(nodes, onRenamed)
