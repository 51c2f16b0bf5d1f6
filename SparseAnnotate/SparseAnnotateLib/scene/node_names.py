"""Names of nodes: those that can be saved, and notification when nodes are renamed."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def savable(name: str) -> str:
    """A name for a new node without '&': Slicer names its file after it, and then cannot open the saved scene again."""
    return name.replace("&", "+")


def watch_names(nodes: Sequence, on_renamed: Callable[[], None]) -> Callable[[], None]:
    """Call `on_renamed` whenever one of the nodes is renamed; returns a function that stops watching."""
    names = {node: node.GetName() for node in nodes}

    def on_modified(node, _event) -> None:
        # Nodes are modified for many other reasons.
        if names.get(node) != node.GetName():
            names[node] = node.GetName()
            on_renamed()

    tags = [(node, node.AddObserver("ModifiedEvent", on_modified)) for node in nodes]

    def stop() -> None:
        for node, tag in tags:
            node.RemoveObserver(tag)

    return stop
