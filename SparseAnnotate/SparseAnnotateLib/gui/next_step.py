"""The next step to suggest to the user."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import slicer
from slicer.i18n import tr as _

from ..core import SliceState
from .step import Step
from .words import translated


@dataclass(frozen=True)
class NextStep:
    """What to do next.

    Attributes:
        sentence: for the user. button: label of the button beside it; '' for no button.
        step: the section of the panel it belongs to; None: elsewhere. action: performs it.
    """

    sentence: str
    button: str = ""
    step: Step | None = None
    action: Callable[[], None] | None = None


def next_step(panel) -> NextStep:
    """The next step, from the state of the scene."""
    session, logic = panel.session, panel.logic
    volume = session.volume
    if logic.isBusy:
        return NextStep(_("Working in the background. You can keep drawing."), "", panel.train)
    if volume is None:
        if session.all_volumes:
            return NextStep(_("Check the volumes to work on."), _("Show"), panel.data)
        if panel.data.cases.unopened:
            return NextStep(_("Open a case of the cohort to begin."), _("Show"), panel.data)
        return NextStep(_("Load a volume to begin."), _("Add data ..."), None, slicer.util.openAddDataDialog)
    if panel.data.problem:
        return NextStep(_("The segmentation does not match the volume grid."), _("Show"), panel.data)
    items = [item for item in panel.draw.table.items if not item.case]
    runs = [run for run in logic.panel.run_summaries() if run.is_finished and not run.problem]
    result, of_run = panel.result.node, session.latest_result(of_run=True)
    if not any(item.volumeNode is volume for item in items):
        if of_run is None:
            return _beginning(panel, volume, bool(items), bool(runs))
    elif not logic.panel.has_segments(volume):
        others = (node for node in session.volumes if node is not volume and logic.panel.has_segments(node))
        other = next(others, None)
        if other is not None:
            return _same_segments(panel, volume, other)
        return NextStep(_("Add a segment for each structure in the Segment Editor."), _("Show"), panel.draw)
    left = [item for item in items if item.state is SliceState.TODO]
    if left:
        return _drawing(panel, left)
    held = panel.data.cases.held_elsewhere()
    waiting = next((case.name for case in panel.data.cases.unopened if case.toDo and case.name not in held), None)
    if waiting is not None:
        text = _("Continue with the next case, '{case}'.").format(case=waiting)
        return NextStep(text, _("Open"), panel.data, lambda: panel.data.cases.open_case(waiting))
    if result is None:
        return NextStep(_("Fill between the drawn slices."), _("Fill"), panel.fill, panel.fill.fill)
    if of_run is None and not runs:
        return NextStep(_("Review the fill. Apply or discard it, or train a model."), _("Show"), panel.result)
    if of_run is None:
        return NextStep(
            _("Run the model on this volume."), _("Run"), panel.train, lambda: panel.train.run([session.volume])
        )
    return NextStep(
        _("Review the result. Apply it, or draw more slices where the model is uncertain."), _("Show"), panel.result
    )


def _beginning(panel, volume, is_another_recommended: bool, is_trained: bool) -> NextStep:
    """The next step for a volume without recommended or drawn slices."""
    name = {"name": volume.GetName()}
    if is_trained:
        text = _("Run the model on '{name}', or recommend slices for it.").format(**name)
        return NextStep(text, _("Run"), panel.train, lambda: panel.train.run([volume]))
    if not panel.session.planes:
        return NextStep(_("Select a plane to draw in."), _("Show"), panel.data)
    if not is_another_recommended:
        return NextStep(_("Choose the slices to draw."), _("Recommend"), panel.recommend, panel.recommend.recommend)
    text = _("Recommend slices for '{name}', or select a slice in the worklist.").format(**name)
    return NextStep(text, _("Recommend"), panel.recommend, lambda: panel.recommend.recommend(volumes=[volume]))


def _same_segments(panel, volume, other) -> NextStep:
    def add() -> None:
        added = panel.logic.panel.add_segments_like(volume, other)
        panel.session.refresh()
        panel.session.say(_("Added to '{name}': {names}.").format(name=volume.GetName(), names=", ".join(added)))

    text = _("'{name}' has no segments yet. Add the segments of '{other}'.")
    return NextStep(text.format(name=volume.GetName(), other=other.GetName()), _("Add segments"), panel.draw, add)


def _drawing(panel, left: list) -> NextStep:
    chosen = panel.draw.table.chosen()
    item = chosen if chosen in left else left[0]
    where = {"plane": translated(item.plane), "index": item.index, "name": item.volumeNode.GetName()}
    if panel.draw.is_here(item):
        text = _("Draw {plane} slice {index} of '{name}', then click Drawn (D) or Empty (E).")
        return NextStep(text.format(**where), _("Drawn"), panel.draw, panel.draw.mark_drawn)
    text = _("Draw {plane} slice {index} of '{name}'.")
    return NextStep(text.format(**where), _("Go to slice"), panel.draw, panel.draw.go_to_next)
