"""The plan that a run is trained by: a new one, or that of a run to resume, if what it learns from is the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from ...core import DEFAULT_DEVICE, Cohort, RunError, Watch
from ...core.folder_lock import FolderLock
from ...core.image_fingerprint import content_fingerprint
from ...core.messages import _, joined
from ...runs.plan import RunPlan
from ...runs.run_folder import RunFolder
from ...runs.settings import TrainingSettings
from ..devices import DeviceReport, chosen_device, named_device, smoke_test
from .memory_need import require_memory
from .memory_reduction import moved
from .planning import new_plan


def plan_run(
    cohort: Cohort,
    run_name: str | None,
    settings: TrainingSettings | None = None,
    cases: Sequence[str] | None = None,
    undrawn_cases: Sequence[str] = (),
    watch: Watch | None = None,
    device: str | None = None,
) -> RunPlan:
    """What a run would do. Its plan is written to plan.json, which may be edited before `train` is called.

    Without a run's name nothing is written. Args and raises: as `train`.
    """
    if run_name is None:
        return _first_plan(cohort, settings, cases, undrawn_cases, watch or Watch())
    run = RunFolder(cohort.run_folder(run_name))
    with FolderLock(run.path, f"planning the run '{run_name}'"):
        plan = plan_to_train(cohort, run, settings, cases, undrawn_cases, watch or Watch(), device)
        run.write_plan(plan, to_edit=True)
    return plan


def plan_to_train(
    cohort: Cohort,
    run: RunFolder,
    settings: TrainingSettings | None,
    cases: Sequence[str] | None,
    undrawn_cases: Sequence[str],
    watch: Watch,
    device: str | None = None,
    is_live: bool = False,
) -> RunPlan:
    """The plan of a new run, or that of a run to resume, whose sources must not have changed; nothing is written.

    `watch` shows whose image is being read, and cancels in between. Args and raises: as `train`.
    """
    started = run.plan() if run.is_started else None
    if not (started is not None and started.is_live):
        run.require_unfinished()
    if started is not None and is_live and not started.is_live:
        raise RunError(
            _("The run '{run}' was not started to learn while you draw. Choose another name for that.").format(
                run=run.name
            )
        )
    if started is not None:
        plan = _resumed_plan(cohort, run, started, settings, cases, watch, device)
        left = [model for model in plan.models if run.model_card(model.role) is None]
        require_memory(plan, left, is_started=True)
        return plan
    if settings is None and device is not None:
        settings = TrainingSettings(device=device)
    plan = replace(_first_plan(cohort, settings, cases, undrawn_cases, watch, not is_live), is_live=is_live)
    voxels = _voxel_fingerprints(cohort, plan, watch)
    return replace(
        plan,
        images=_image_fingerprints(cohort, plan, watch),
        fills=_fill_fingerprints(cohort, plan, watch),
        voxels=voxels,
        grids={name: cohort.geometry(name) for name in voxels},
    )


def _image_fingerprints(cohort: Cohort, plan: RunPlan, watch: Watch) -> dict[str, str]:
    marks = {}
    for name in (*plan.cases, *plan.undrawn_cases):
        watch.step(0.0, _("checking the image of '{name}'").format(name=name))
        # A channel that was added since is none of the run's.
        marks[name] = cohort.image_fingerprint(name, plan.channels)
    return marks


def _voxel_fingerprints(cohort: Cohort, plan: RunPlan, watch: Watch) -> dict[str, str]:
    """Of the images that are learned from, and of others only if they are known without reading the image."""
    marks = {}
    for name in (*plan.cases, *plan.undrawn_cases):
        watch.step(0.0, _("checking the image of '{name}'").format(name=name))
        marks[name] = cohort.voxel_fingerprint(name, plan.channels, read=name in plan.cases)
    return {name: mark for name, mark in marks.items() if mark}


def _changed_images(cohort: Cohort, plan: RunPlan, watch: Watch) -> list[str]:
    """The cases whose image is not that of the plan; one that was only saved again is.

    A live run looks at the images itself, of each case that it learns from.
    """
    found = []
    for name, mark in plan.images.items() if not plan.is_live else ():
        watch.step(0.0, _("checking the image of '{name}'").format(name=name))
        voxels, grid = plan.voxels.get(name, ""), plan.grids.get(name)
        # A channel that was added since is none of the run's.
        if not cohort.is_image_of(name, mark, voxels, grid, plan.channels):
            found.append(name)
    return found


def _fill_fingerprints(cohort: Cohort, plan: RunPlan, watch: Watch) -> dict[str, str]:
    """Fingerprints of the fills that exist; a missing one is reported when it is read."""
    marks = {}
    for name in plan.cases if plan.settings.fill_weight > 0 else ():
        watch.step(0.0, _("checking the fill of '{name}'").format(name=name))
        files = (cohort.fill_path(name), cohort.fill_confidence_path(name))
        if all(file.is_file() for file in files):
            marks[name] = content_fingerprint(files)
    return marks


def _first_plan(
    cohort: Cohort,
    settings: TrainingSettings | None,
    cases: Sequence[str] | None,
    undrawn_cases: Sequence[str],
    watch: Watch,
    leaves_out: bool = True,
) -> RunPlan:
    annotated = set(cohort.annotated_cases()) if not cases else set()
    names = list(cases or (case.name for case in cohort.cases if case.name in annotated))
    undrawn = undrawn_cases if cases else [case.name for case in cohort.cases if case.name not in annotated]
    cohort.require_images_drawn_on(names, watch)
    return new_plan(cohort, settings or TrainingSettings(), names, undrawn, watch, leaves_out)


def _resumed_plan(
    cohort: Cohort,
    run: RunFolder,
    plan: RunPlan,
    settings: TrainingSettings | None,
    names: Sequence[str] | None,
    watch: Watch,
    device: str | None,
) -> RunPlan:
    if settings is not None and replace(settings, device=plan.settings.device) != plan.settings:
        own = replace(plan.settings, device=settings.device)  # a run may change its device, and nothing else
        old, new = asdict(own), asdict(settings)
        differing = [
            _("{setting} {old} instead of {new}").format(setting=key, old=old[key], new=new[key])
            for key in old
            if old[key] != new[key]
        ]
        raise RunError(
            _(
                "The run '{run}' was started with other settings ({differing}). Resume it with its own settings, or "
                "train under another name."
            ).format(run=run.name, differing=joined(", ", differing))
        )
    # A run that learns while slices are being drawn goes on with what is drawn now.
    known = {} if plan.is_live else plan.cases
    changed = [n for n, mark in known.items() if cohort.annotation(n, on_any_image=True).fingerprint() != mark]
    if names and not plan.is_live and set(names) != set(plan.cases):
        raise RunError(
            _(
                "The run '{run}' was started with other cases ({cases} ...). Resume it with the same cases, or train "
                "under another name."
            ).format(run=run.name, cases=", ".join(sorted(plan.cases)[:3]))
        )
    _require_unchanged(
        run, changed, *[_("The drawn slices of {cases} have changed since the run '{run}' was started.")] * 2
    )
    fills = _fill_fingerprints(cohort, plan, watch) if plan.fills else {}
    _require_unchanged(
        run,
        _changed_images(cohort, plan, watch),
        _("The image file of {cases} has changed since the run '{run}' was started."),
        _("The image files of {cases} have changed since the run '{run}' was started."),
    )
    _require_unchanged(
        run,
        [name for name, mark in plan.fills.items() if fills.get(name) != mark],
        _("The fill of {cases} has changed since the run '{run}' was started."),
        _("The fills of {cases} have changed since the run '{run}' was started."),
    )
    if device is None and settings is not None and settings.device != plan.settings.device:
        device = settings.device
    return _on_usable_device(plan, device or DEFAULT_DEVICE)


def _on_usable_device(plan: RunPlan, wanted: str) -> RunPlan:
    """The plan on the device `wanted`; with 'auto' on its own one, or the best one where that cannot be used.

    Raises BadInputError when a device is asked for by name that cannot be used.
    """
    if named_device(wanted) == DEFAULT_DEVICE:
        own = smoke_test(plan.device)
        return plan if own.works else _continued_on(plan, chosen_device(), own.message)
    chosen = chosen_device(wanted)
    # 'cuda' is whichever GPU the run is on already.
    stays = chosen.device == "cuda" and plan.device.startswith("cuda") and smoke_test(plan.device).works
    return plan if stays or _numbered(chosen.device) == _numbered(plan.device) else _continued_on(plan, chosen)


def _numbered(device: str) -> str:
    return "cuda:0" if device == "cuda" else device


def _continued_on(plan: RunPlan, chosen: DeviceReport, reason: str = "") -> RunPlan:
    """The plan on another device, its models and schedule unchanged, with a note."""
    note = _("The run was started on '{before}' and is continued on '{device}'.").format(
        before=plan.device, device=chosen.device
    )
    notes = (*plan.notes, joined(" ", [note, reason]) if reason else note)
    return replace(moved(plan, chosen.device), notes=notes)


def _require_unchanged(run: RunFolder, changed: Sequence[str], one: str, many: str) -> None:
    """Raise RunError when cases have `changed`, with the sentence for one or for many of them."""
    if changed:
        sentence = (one if len(changed) == 1 else many).format(cases=", ".join(changed[:3]), run=run.name)
        raise RunError(joined(" ", [sentence, _("It cannot be resumed. Train under another name.")]))
