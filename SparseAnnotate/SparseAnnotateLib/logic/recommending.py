"""Which slices to draw: plans, recommendations, pictures of the selection, and when to stop."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import scene
from ..client import Steps
from ..core import BadInputError, Ledger, LedgerEntry, Plane, Progress, SliceState, SparseAnnotateError
from ..core.failed_cases import not_counted, recommended_sentences, report_failed, slices_kept
from ..core.messages import _, joined
from ..core.pieces import Piece
from ..core.slow_imports import importing
from ..core.strict_json import from_plain
from ..selection import (
    STRATEGIES,
    AnnotationPlan,
    PlanSettings,
    SelectionSettings,
    Volume,
    check_seed,
    recommend_slices,
)
from .cohort_export import CohortExport
from .session import Session, Waiting


class Recommending:
    """Recommends slices of volumes in the scene, and adds them to their ledgers."""

    def __init__(self, session: Session, export: CohortExport):
        self._session, self._export = session, export

    def recommend(self, volume_nodes: Sequence, settings: SelectionSettings, waiting: Waiting):
        """Add recommended slices to the ledgers; returns the slices to do: see `ConsoleLogic.recommendSlices`.

        Strategies that need neither features nor models run in this process, all others in the worker. Raises
        PartlyDoneError when some cases are no longer the images that were drawn on; the others have their slices then.
        """

        frames = {node: scene.frame_of(node) for node in volume_nodes}
        failed: dict[str, SparseAnnotateError] = {}

        def enter(recommended, failed_there: Collection[str] = ()):
            _require_same_frames(frames)
            # As on the command line, cases that are left out keep the slices that are to do there.
            left_out = {*failed, *failed_there}
            cases = scene.cases_of(volume_nodes)
            usable = [node for node, case in zip(volume_nodes, cases, strict=True) if case not in left_out]
            items = yield from scene.storing_recommended(usable, recommended)
            yield Piece.NEXT_IS_LONG  # where there are hundreds of volumes, to show them
            found = [item for item in items if item.state is SliceState.TODO]
            if failed:
                planes, total = settings.planes, settings.budget.total
                more = [not_counted(self._session.cohort(), failed, planes, total)] if self._session.has_cohort else []
                more.append(slices_kept(_with_slices_to_do(volume_nodes, failed)))
                more_text = joined(" ", filter(None, more))
                sentences, done = recommended_sentences(found), len(volume_nodes) - len(failed)
                report_failed(failed, done, sentences, shown=found, more=more_text)
            return found

        check_seed(settings.seed)
        if not STRATEGIES.named(settings.strategy).needs:
            return self._session.do(None, _choosing(volume_nodes, settings, failed), enter, waiting, "recommend")
        prepare = self._export.request(volume_nodes, **vars(settings))

        def finish(rows):
            # Read before the first step: meanwhile another request may be answered.
            return enter(_by_case(rows), self._session.jobs.failed_cases)

        return self._session.do("recommend", prepare, finish, waiting)

    def plan(self, volume_nodes: Sequence, settings: PlanSettings, waiting: Waiting):
        """A plan for a number of slices or minutes, an AnnotationPlan: see `ConsoleLogic.planAnnotation`."""
        names = dict(zip(scene.cases_of(volume_nodes), (node.GetName() for node in volume_nodes), strict=True))
        prepare = self._export.request(volume_nodes, **vars(settings))

        def finish(answer) -> AnnotationPlan:
            plan = from_plain(answer, AnnotationPlan, _("the worker's plan"))
            return replace(plan, cases=tuple(names[case] for case in plan.cases))

        return self._session.do("plan", prepare, finish, waiting)

    def agreement(self, run_names: Sequence[str], waiting: Waiting):
        """How well the predictions of runs agree: see `ConsoleLogic.agreement`."""
        params = {"cohort": str(self._session.cohort_folder), "runs": list(run_names)}
        return self._session.do("agreement", params, lambda answer: answer, waiting)

    def write_picture(self, volume_nodes: Sequence, path: str | Path, features: str, waiting: Waiting, device: str):
        """Write a map of all slices as PNG: see `ConsoleLogic.writeSlicePicture`."""

        def prepare():
            params = yield from self._export.request(volume_nodes, path=str(Path(path).expanduser().absolute()))
            to_do = {
                case: scene.ledger_of(node).todo
                for case, node in zip(scene.cases_of(volume_nodes), volume_nodes, strict=True)
            }
            self._session.cohort().save_recommended(to_do)
            return {**params, "features": features, "device": device}

        return self._session.do("picture", prepare(), lambda answer: answer, waiting)


def _choosing(volume_nodes: Sequence, settings: SelectionSettings, failed: dict[str, SparseAnnotateError]) -> Steps:
    """Choose slices in this process; returns the recommended ones by case.

    `failed`: the errors of cases that are left out are entered here. Raises BadInputError when that are all.
    """
    volumes = []
    # Takes about a second, once in a session.
    yield from importing("SimpleITK", "scipy.ndimage")
    for number, node in enumerate(volume_nodes):
        if node.GetScene() is None:
            continue
        # The slices that have been drawn say which others are worth drawing.
        error = scene.image_not_drawn_on(node)
        if error is not None:
            failed[scene.case_of(node)] = error
            continue
        volumes.append((yield from _reading_volume(node, settings.whole)))
        yield Progress(number / len(volume_nodes), _("reading '{volume}'").format(volume=node.GetName()))
    if failed and not volumes:
        scene.require_images_drawn_on(node for node in volume_nodes if node.GetScene() is not None)
    timed = _ledgers_of_scene()
    return recommend_slices(volumes, settings.planes, settings.budget, settings.strategy, settings.seed, timed=timed)


def _with_slices_to_do(volume_nodes: Sequence, cases: Collection[str]) -> list[str]:
    """Those of the cases that have slices to do."""
    nodes = [node for node in volume_nodes if node.GetScene() is not None]
    named = zip(scene.cases_of(nodes), nodes, strict=True)
    return [case for case, node in named if case in cases and scene.ledger_of(node).todo]


def _require_same_frames(frames: Mapping[Any, scene.Frame | None]) -> None:
    """Raise BadInputError when a volume shows another frame of a sequence than it did: its slices are others."""
    for node, frame in frames.items():
        if node.GetScene() is not None and scene.frame_of(node) != frame:
            raise BadInputError(
                _(
                    "'{volume}' shows another frame than when slices began to be chosen, so no slices were "
                    "recommended. Each frame is a case of its own. Recommend slices again."
                ).format(volume=node.GetName())
            )


def _ledgers_of_scene() -> Iterator[Ledger]:
    return (scene.ledger_of(node) for node in scene.volumes_of_scene())


def _reading_volume(node, whole: bool) -> Generator[None, None, Volume]:
    geometry, name = scene.geometry_of(node), scene.case_of(node)
    image, position = scene.image_of(node), scene.position_in_scene(node)
    return (yield from Volume.reading_image(name, image, geometry, scene.ledger_of(node), whole, position))


def _by_case(rows: Sequence[dict[str, Any]]) -> dict[str, list[LedgerEntry]]:
    """The worker's list of recommended slices as ledger entries by case."""
    recommended: dict[str, list[LedgerEntry]] = {}
    for r in rows:
        entry = LedgerEntry(Plane.named(r["plane"]), r["index"], SliceState.TODO, r["order"], r["score"], r["reason"])
        recommended.setdefault(r["case"], []).append(entry)
    return recommended
