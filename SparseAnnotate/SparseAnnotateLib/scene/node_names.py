"""Hearing of it when nodes are given other names."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def watch_names(nodes: Sequence, on_renamed: Callable[[], None]) -> Callable[[], None]:
    """Call `on_renamed` whenever one of the nodes is given another name; returns a function that ends it."""
    names = {node: node.GetName() for node in nodes}

    def look(node, _event) -> None:
        # Nodes are modified for many other reasons.
        if names.get(node) != node.GetName():
            names[node] = node.GetName()
            on_renamed()

    tags = [(node, node.AddObserver("ModifiedEvent", look)) for node in nodes]

    def stop() -> None:
        for node, tag in tags:
            node.RemoveObserver(tag)

    return stop
