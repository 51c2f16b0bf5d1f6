"""Fills between drawn slices, as segmentation nodes with their reports and confidences."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

from .. import scene
from ..core import Progress, SparseAnnotation
from ..core.channels import fill_without_channels
from ..core.images import read_facts
from ..core.messages import _
from ..core.pieces import result_of
from ..core.slab_reading import reading_labels, reading_percent
from ..core.slow_imports import importing
from ..core.strict_json import parse_json, to_text
from ..interpolation import INTERPOLATORS, FinishedFill, finished_fill, interpolator_named
from .cohort_export import CohortExport
from .result_nodes import showing_result
from .session import Session, Waiting

FILL_METHODS = INTERPOLATORS
"""The fill methods, for the panel, which does not import the interpolation package."""


def runs_in_worker(method: str) -> bool:
    """True for a fill method that always runs in the worker. Raises BadInputError for an unknown method."""
    return INTERPOLATORS.named(method).runs_in_worker


@dataclass(frozen=True)
class FillReport:
    """The quality of a fill as a sentence for the user ('' if it was not measured), and warnings."""

    summary: str = ""
    warnings: tuple[str, ...] = ()


class Fills:
    """Creates fills in this process or in the worker; keeps the last one, to fill only the gaps beside a new slice."""

    def __init__(self, session: Session, export: CohortExport):
        self._session, self._export = session, export
        self._last: dict[tuple, FinishedFill] = {}

    def fill(
        self,
        volume_node,
        method: str,
        beyond: int | None,
        device: str,
        waiting: Waiting,
        run: str = "",
        earlier: tuple[str, ...] = (),
    ):
        """Fill between the drawn slices, as a new segmentation node: see `ConsoleLogic.fillBetweenSlices`."""
        drawing = _Drawing(volume_node)
        if waiting.for_completion and not run and not earlier and not runs_in_worker(method):
            annotation = result_of(drawing.reading())
            values = {name: value for name, value in drawing.own.items() if value in drawing.drawn}
            names = {value: name for name, value in values.items()}
            # The fill depends on the image: when its voxels have changed, the last fill cannot be reused.
            key = (volume_node.GetID(), method, beyond, scene.image_stamp(volume_node))
            done = finished_fill(
                interpolator_named(method),
                annotation,
                lambda: scene.channel_images_of(volume_node),
                names,
                previous=self._last.pop(key, None),
                beyond=beyond,
            )
            self._last = {key: done}  # only one, because of its memory
            missing = fill_without_channels(volume_node.GetName(), scene.missing_channels_of(volume_node))
            report = FillReport(done.summary, (*missing, *done.warnings))
            made = done.fill.labels, done.fill.confidence, values, report, drawing.origin_of({})
            return result_of(_showing_fill(volume_node, drawing.node, *made, method))
        case, label_of = scene.case_of(volume_node), {}

        def prepare():
            yield from drawing.reading()
            stored = yield from self._export.labels([volume_node])
            # Segments that are on none of the drawn slices do not belong to the fill.
            label_of.update({name: value for name, value in stored.items() if drawing.own.get(name) in drawing.drawn})
            return {
                "cohort": str(self._session.cohort_folder),
                "cases": [case],
                "method": method,
                "beyond": beyond,
                "device": device,
                "run": run,
                "earlier": list(earlier),
            }

        def finish(results):
            cohort, geometry = self._session.cohort(), scene.geometry_of(volume_node)
            yield from importing("SimpleITK")
            yield Progress(1.0, _("showing the fill"))
            labels = yield from reading_labels(cohort.fill_path(case), geometry)
            confidence = yield from reading_percent(cohort.fill_confidence_path(case), geometry)
            report = FillReport(results[0]["summary"], tuple(results[0]["warnings"]))
            values = label_of | values_of(results[0])
            others = [name for name in (run, *earlier) if name]
            how = f"{method} with {', '.join(others)}" if others else method
            origin = drawing.origin_of(read_facts(cohort.fill_path(case)))
            made = labels, confidence, values, report, origin
            return (yield from _showing_fill(volume_node, drawing.node, *made, how))

        return self._session.do("fill", prepare(), finish, waiting)

    def forget_scene(self) -> None:
        """Forget everything that belongs to the scene."""
        self._last.clear()


class _Drawing:
    """What a fill is made from.

    Attributes:
        node: the segmentation that is drawn in. own: label value of each of its segments' names.
        drawn: the values that occur on drawn slices.
    """

    def __init__(self, volume_node):
        self._volume, self.node = volume_node, scene.annotated_segmentation(volume_node)
        self.own: dict[str, int] = {}
        self.drawn: list[int] = []
        self._origin = scene.ResultOrigin()
        self._modality = ""

    def reading(self) -> Generator[None, None, SparseAnnotation]:
        """Read it, in pieces. Raises BadInputError when nothing has been drawn, or what was drawn cannot be used."""
        scene.require_images_drawn_on([self._volume])
        annotation = yield from scene.reading_annotation(self._volume, self.node)
        self.own = scene.label_values(self.node)
        yield
        annotation.require_drawn(self._volume.GetName())
        self.drawn = yield from annotation.finding_label_values()
        if not self.drawn:
            annotation.require_labels(self._volume.GetName())
        yield
        names = {value: name for name, value in self.own.items()}
        self._origin = yield from scene.finding_origin(self._volume, annotation, names)
        self._modality = scene.modality_of(self._volume)
        yield
        return annotation

    def origin_of(self, facts: Mapping[str, str]) -> scene.ResultOrigin:
        """The origin of a fill of it; `facts`: in its file, if it has one."""
        return self._origin.with_modality(self._modality, facts)


def values_of(row: Mapping[str, Any]) -> dict[str, int]:
    """The label value of each structure in the worker's result of one case, as far as it lists them."""
    return {label["name"]: label["label"] for label in row.get("labels", ())}


def store_report(result_node, report: FillReport) -> None:
    """Keep a report in the node of the result."""
    scene.store_report(result_node, to_text(report))


def report_of(result_node) -> FillReport:
    """The report of a result that is stored in its node; empty for other nodes."""
    text = scene.stored_report(result_node)
    if not text:
        return FillReport()
    return parse_json(text, FillReport, _("the report of '{name}'").format(name=result_node.GetName()))


def _showing_fill(
    volume_node, segmentation_node, labels, confidence, values, report: FillReport, origin, method: str
) -> Generator[None, None, Any]:
    """The node of a new fill, made in pieces; see `showing_result`."""
    made = labels, values, origin, confidence
    node = yield from showing_result(volume_node, segmentation_node, scene.FILL, *made)
    scene.set_method(node, method)
    store_report(node, report)
    return node
