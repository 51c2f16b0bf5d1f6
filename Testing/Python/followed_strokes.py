"""Strokes that answers follow from in the background; the fixtures `loop`, `follower` and `followed` go with it."""

from __future__ import annotations

from corrected_scene import confidence, painted, shown


class EventLoop:
    """Actions that wait for their turn."""

    def __init__(self):
        self.waiting: list = []

    def turn(self, count: int = 1) -> None:
        """Let so many of them happen."""
        for _ in range(count):
            self.waiting.pop(0)()

    def run(self) -> None:
        while self.waiting:
            self.turn()


class Followed:
    """Takes strokes of a result, and is told what followed."""

    def __init__(self, logic, loop, volume, node):
        self.logic, self.loop, self.volume, self.node = logic, loop, volume, node
        self.ends: list = []
        logic.panel.begin_correcting(volume, node, lambda *end: self.ends.append(end))
        loop.run()

    def stroke(self, mrml, mask, segment="ball", erase=False):
        painted(mrml, self.node, self.volume, mask, segment, erase)
        return self.logic.panel.take_strokes(self.volume, self.node, 1.0)


def at_once(mrml, logic, drawn, *masks):
    """Labels, confidence and corrections when each stroke is waited for; afterwards, all is as it was."""
    volume, _, node = drawn
    logic.panel.begin_correcting(volume, node)
    for mask in masks:
        painted(mrml, node, volume, mask, "ball")
        logic.panel.take_strokes(volume, node, 1.0)
    found = shown(mrml, node, volume), confidence(mrml, logic, node), logic.corrections(volume)
    assert logic.clearCorrections(volume)
    logic.panel.end_correcting()
    return found
