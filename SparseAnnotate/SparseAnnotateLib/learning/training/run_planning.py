"""The plan that a run is trained by: a new one, or that of a run to resume, if what it learns from is the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from ...core import Cohort, RunError, Watch
from ...core.folder_lock import FolderLock
from ...core.image_fingerprint import content_fingerprint
from ...runs.plan import RunPlan
from ...runs.run_folder import RunFolder
from ...runs.settings import TrainingSettings
from ..devices import chosen_device
from .planning import new_plan


def plan_run(
    cohort: Cohort,
    run_name: str | None,
    settings: TrainingSettings | None = None,
    cases: Sequence[str] | None = None,
    undrawn_cases: Sequence[str] = (),
    watch: Watch | None = None,
) -> RunPlan:
    """What a run would do. Its plan is written to plan.json, which may be edited before `train` goes on with it.

    Without a run's name nothing is written. Raises: as `train`.
    """
    if run_name is None:
        return _first_plan(cohort, settings, cases, undrawn_cases)
    run = RunFolder(cohort.run_folder(run_name))
    with FolderLock(run.path, f"planning the run '{run_name}'"):
        plan = begun_plan(cohort, run, settings, cases, undrawn_cases, watch or Watch())
        run.write_plan(plan, to_edit=True)
    return plan


def begun_plan(
    cohort: Cohort,
    run: RunFolder,
    settings: TrainingSettings | None,
    cases: Sequence[str] | None,
    undrawn_cases: Sequence[str],
    watch: Watch,
) -> RunPlan:
    """The plan of a new run, or that of a run to resume, whose sources must not have changed; nothing is written.

    `watch` shows whose image is being read, and cancels in between. Raises: as `train`.
    """
    if run.is_finished:
        raise RunError(f"The run '{run.name}' has finished already. Choose another name to train again.")
    if run.is_begun:
        return _continued_plan(cohort, run, settings, cases, watch)
    plan = _first_plan(cohort, settings, cases, undrawn_cases)
    return replace(plan, images=_image_marks(cohort, plan, watch), fills=_fill_marks(cohort, plan, watch))


def _image_marks(cohort: Cohort, plan: RunPlan, watch: Watch) -> dict[str, str]:
    marks = {}
    for name in (*plan.cases, *plan.undrawn_cases):
        watch.step(0.0, f"checking the image of '{name}'")
        marks[name] = cohort.image_fingerprint(name)
    return marks


def _fill_marks(cohort: Cohort, plan: RunPlan, watch: Watch) -> dict[str, str]:
    """Of the fills that are there; a missing one is reported when it is to be read."""
    marks = {}
    for name in plan.cases if plan.settings.fill_weight > 0 else ():
        watch.step(0.0, f"checking the fill of '{name}'")
        files = (cohort.fill_path(name), cohort.fill_confidence_path(name))
        if all(file.is_file() for file in files):
            marks[name] = content_fingerprint(files)
    return marks


def _first_plan(
    cohort: Cohort, settings: TrainingSettings | None, cases: Sequence[str] | None, undrawn_cases: Sequence[str]
) -> RunPlan:
    annotated = set(cohort.annotated_cases()) if not cases else set()
    names = list(cases or (case.name for case in cohort.cases if case.name in annotated))
    undrawn = undrawn_cases if cases else [case.name for case in cohort.cases if case.name not in annotated]
    return new_plan(cohort, settings or TrainingSettings(), names, undrawn)


def _continued_plan(
    cohort: Cohort, run: RunFolder, settings: TrainingSettings | None, names: Sequence[str] | None, watch: Watch
) -> RunPlan:
    plan = run.plan()
    if settings is not None and settings != plan.settings:
        old, new = asdict(plan.settings), asdict(settings)
        differing = ", ".join(f"{key} {old[key]} instead of {new[key]}" for key in old if old[key] != new[key])
        raise RunError(
            f"The run '{run.name}' was begun with other settings ({differing}). "
            "Go on with its own settings, or train under another name."
        )
    changed = [n for n, mark in plan.cases.items() if cohort.annotation(n).fingerprint() != mark]
    if names and set(names) != set(plan.cases):
        raise RunError(
            f"The run '{run.name}' was begun with other cases ({', '.join(sorted(plan.cases)[:3])} ...). "
            "Go on with the same ones, or train under another name."
        )
    sources = [("drawn slices of", "have", changed)]
    for what, have, old, marks in (
        ("image of", "has", plan.images, _image_marks),
        ("fill of", "has", plan.fills, _fill_marks),
    ):
        new = marks(cohort, plan, watch) if old else {}
        sources.append((what, have, [name for name in old if new.get(name) != old[name]]))
    for what, have, names_changed in sources:
        if names_changed:
            raise RunError(
                f"The {what} {', '.join(names_changed[:3])} {have} changed since the run '{run.name}' was begun, so it "
                "cannot go on as it was. Train under another name."
            )
    chosen_device(plan.device)
    return plan
