"""Which slices to draw: plans, recommendations, pictures of the choice, and whether to go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import scene
from ..client import Job, Steps
from ..core import Ledger, LedgerEntry, Plane, Progress, SliceState
from ..core.slow_imports import importing
from ..core.strict_json import from_plain
from ..selection import (
    DEFAULT_DIMENSIONS,
    AnnotationPlan,
    Budget,
    FeatureSettings,
    Scope,
    SelectionSettings,
    Volume,
    recommend_slices,
    strategy_named,
)
from .recommending_base import SessionLogic


class RecommendingLogic(SessionLogic):
    """Recommending slices and planning."""

    def recommendSlices(
        self,
        volumeNodes: Sequence,
        plane: str | Sequence[str] = SelectionSettings.planes,
        density: float | None = None,
        slicesPerVolume: int | None = None,
        total: int | None = None,
        strategy: str = SelectionSettings.strategy,
        seed: int = SelectionSettings.seed,
        wholeVolume: bool = SelectionSettings.whole,
        *,
        every: int | None = None,
        minutes: float | None = None,
        more: int | None = None,
        secondsPerSlice: float | None = None,
        scope: str = Budget.scope,
        minimum: int | None = None,
        maximum: int | None = None,
        features: str = SelectionSettings.features,
        fromScratch: bool = SelectionSettings.from_scratch,
        downloadWeights: bool = SelectionSettings.download_weights,
        featureSteps: int = SelectionSettings.feature_steps,
        runs: Sequence[str] = SelectionSettings.runs,
        samples: int = SelectionSettings.samples,
        device: str = SelectionSettings.device,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ) -> list[scene.WorklistItem] | Job | None:
        """Recommend slices to draw and put them into the ledgers; returns the worklist.

        Give one of `density` (0.1 is every tenth slice), `every` (one of every so many), `slicesPerVolume`, `total`,
        `minutes` and `more`. Slices drawn already count towards it, except with the last two: minutes are counted from
        now on, and `more` slices come in addition to those drawn. The strategy is `staggered` for several volumes. Air
        around the body is left out unless `wholeVolume`. With `scope` "volume" the planes of a volume share the budget,
        with "cohort" all volumes do, each with at least `minimum` and at most `maximum` slices.

        The strategies `representative` and `core_set` compare slices by `features`, `uncertainty` asks the models
        named in `runs`: the worker looks at the images for them, and what it finds is kept in the cohort folder.
        The features `autoencoder` need VGG-19's weights (548 MB), which are downloaded only with `downloadWeights`, or
        are made `fromScratch`.
        """
        budget = Budget(
            density=density,
            every=every,
            per_volume=slicesPerVolume,
            total=total,
            minutes=minutes,
            more=more,
            seconds_per_slice=secondsPerSlice,
            scope=Scope.named(scope),
            minimum=minimum,
            maximum=maximum,
        )
        settings = SelectionSettings(
            budget=budget,
            planes=tuple(Plane.named(name) for name in ([plane] if isinstance(plane, str) else plane)),
            strategy=strategy,
            features=features,
            from_scratch=fromScratch,
            download_weights=downloadWeights,
            feature_steps=featureSteps,
            runs=tuple(runs),
            samples=samples,
            device=device,
            seed=seed,
            whole=wholeVolume,
        )
        return self.recommendWithSettings(volumeNodes, settings, waitForCompletion, onDone, onProgress)

    def recommendWithSettings(
        self,
        volumeNodes: Sequence,
        settings: SelectionSettings,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ) -> list[scene.WorklistItem] | Job | None:
        """Recommend slices and put them into the ledgers; returns the worklist.

        Strategies that need neither features nor models run in this process, all others in the worker.
        """

        def enter(recommended):
            yield from scene.storing_recommended(volumeNodes, recommended)
            return self._toDo(volumeNodes)

        if not strategy_named(settings.strategy, settings.seed).needs:
            prepare = self._choosing(volumeNodes, settings)
            return self._do(None, prepare, enter, waitForCompletion, onDone, onProgress, "recommend")
        prepare = self._exporting(volumeNodes, **vars(settings))
        return self._do("recommend", prepare, lambda rows: enter(_by_case(rows)), waitForCompletion, onDone, onProgress)

    def planAnnotation(
        self,
        volumeNodes: Sequence,
        slices: int | None = None,
        minutes: float | None = None,
        secondsPerSlice: float | None = None,
        dimensions: int = DEFAULT_DIMENSIONS,
        target: str | None = None,
        planes: Sequence[str] = tuple(plane.value for plane in Plane),
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ) -> AnnotationPlan | Job:
        """How to spend so many slices or minutes: plane, volumes and slices of each, with reasons and their sources.

        `dimensions` (2 or 3) is that of the model to train; `target` says whether the structure is "clear" or
        "subtle". The plan also says what it does not know.
        """
        names = {scene.case_of(node): node.GetName() for node in volumeNodes}
        prepare = self._exporting(
            volumeNodes,
            planes=list(planes),
            slices=slices,
            minutes=minutes,
            seconds_per_slice=secondsPerSlice,
            dimensions=dimensions,
            target=target,
        )

        def finish(answer):
            plan = from_plain(answer, AnnotationPlan, "the worker's plan")
            return replace(plan, cases=tuple(names[case] for case in plan.cases))

        return self._do("plan", prepare, finish, waitForCompletion, onDone, onProgress)

    def agreement(
        self, runNames: Sequence[str], waitForCompletion: bool = True, onDone: Callable | None = None
    ) -> dict[str, Any] | Job:
        """How much the predictions of these runs, in the order of the rounds, agree, and whether to go on drawing.

        Each run must have been run (`segment`) on the same volumes. The answer holds "dice", "stop", "sentence".
        """
        params = {"cohort": str(self.cohortFolder), "runs": list(runNames)}
        return self._do("agreement", params, lambda answer: answer, waitForCompletion, onDone, None)

    def writeSlicePicture(
        self,
        volumeNodes: Sequence,
        path: str | Path,
        features: str = FeatureSettings.features,
        waitForCompletion: bool = True,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ) -> str | Job:
        """Write a map of all slices, with the drawn and recommended ones marked, and how much they cover, as PNG."""

        def prepare():
            params = yield from self._exporting(volumeNodes, path=str(Path(path).expanduser().absolute()))
            self.cohort().save_recommended({scene.case_of(node): self.ledger(node).todo for node in volumeNodes})
            return {**params, "features": features}

        return self._do("picture", prepare(), lambda answer: answer, waitForCompletion, onDone, onProgress)

    def _choosing(self, volumeNodes: Sequence, settings: SelectionSettings) -> Steps:
        """Choose slices by what this process knows; returns the recommended ones by case."""
        volumes = []
        # Once in a session, and together a second.
        yield from importing("SimpleITK", "scipy.ndimage")
        for number, node in enumerate(volumeNodes):
            if node.GetScene() is None:
                continue
            volumes.append(self._volumeOf(node, settings.whole))
            yield Progress(number / len(volumeNodes), f"looking at '{node.GetName()}'")
        timed = self._ledgersOfScene()
        return recommend_slices(
            volumes, settings.planes, settings.budget, settings.strategy, settings.seed, timed=timed
        )

    @staticmethod
    def _ledgersOfScene() -> Iterator[Ledger]:
        for node in scene.volumes_of_scene():
            segmentation = scene.annotated_segmentation(node)
            if segmentation is not None:
                yield scene.stored_ledger(segmentation, node)

    def _volumeOf(self, node, wholeVolume: bool) -> Volume:
        geometry, name = scene.geometry_of(node), scene.case_of(node)
        image, position = scene.image_of(node), scene.position_in_scene(node)
        return Volume.of_image(name, image, geometry, self.ledger(node), wholeVolume, position)

    def _toDo(self, volumeNodes: Sequence) -> list[scene.WorklistItem]:
        return [item for item in self.worklist(volumeNodes) if item.state == SliceState.TODO]


def _by_case(rows: Sequence[dict[str, Any]]) -> dict[str, list[LedgerEntry]]:
    """The worker's list of recommended slices as ledger entries by case."""
    recommended: dict[str, list[LedgerEntry]] = {}
    for r in rows:
        entry = LedgerEntry(Plane.named(r["plane"]), r["index"], SliceState.TODO, r["order"], r["score"], r["reason"])
        recommended.setdefault(r["case"], []).append(entry)
    return recommended
