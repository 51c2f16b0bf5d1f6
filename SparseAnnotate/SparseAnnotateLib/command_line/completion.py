"""What a shell offers with Tab as values of options: choices, and the names of cases, runs and jobs of a cohort."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from typing import get_args

from ..core import Cohort, Plane, SparseAnnotateError
from ..interpolation import INTERPOLATORS, auto_methods
from ..remote.hosts import known_hosts
from ..runs import LOSSES, base_networks
from ..runs.plan import Role
from ..selection import FEATURES, SCOPES, STRATEGIES
from ..worker.earlier_results import FILL
from ..worker.jobs.records import job_folders
from ..worker.results_folder import FORMATS
from .shared_options import DEVICES

Completer = Callable[..., list[str]]


def add_completers(parser: argparse.ArgumentParser) -> None:
    """Tell argcomplete what it can offer for each option of a parser and its subcommands, besides fixed choices."""
    for command in _with_subcommands(parser):
        for action in command._actions:
            completer = _COMPLETERS.get(action.dest)
            if completer is not None and action.choices is None and action.nargs != 0:
                action.completer = completer  # type: ignore[attr-defined]


def _with_subcommands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _with_subcommands(command)


def _fixed(names: Iterable[str]) -> Completer:
    found = list(names)
    return lambda **_given: found


def _of_cohort(names_of: Callable[[Cohort], Iterable[str]]) -> Completer:
    """Offers names from the cohort that was typed before; nothing without one."""

    def names(parsed_args: argparse.Namespace, **_given: object) -> list[str]:
        folder = getattr(parsed_args, "cohort", None)
        if not folder:
            return []
        try:
            return list(names_of(Cohort.open(folder, getattr(parsed_args, "state", None))))
        except (SparseAnnotateError, OSError):
            return []

    return names


_CASES = _of_cohort(lambda cohort: [case.name for case in cohort.cases])
_RUNS = _of_cohort(lambda cohort: dict.fromkeys([*cohort.runs(), *cohort.names_of_predictions()]))
_JOBS = _of_cohort(lambda cohort: [job.path.name for job in job_folders(cohort)])
_STRUCTURES = _of_cohort(lambda cohort: cohort.labels.values())
_HOSTS: Completer = lambda **_given: [host.name for host in known_hosts()]  # noqa: E731

_COMPLETERS: dict[str, Completer] = {
    "case": _CASES,
    "cases": _CASES,
    "run": _RUNS,
    "runs": _RUNS,
    "earlier": _of_cohort(lambda cohort: [FILL, *cohort.names_of_predictions()]),
    "id": _JOBS,
    "ids": _JOBS,
    "structure": _STRUCTURES,
    "decided": _STRUCTURES,
    "on": _HOSTS,
    "host": _HOSTS,
    "strategy": _fixed(STRATEGIES),
    "scope": _fixed(scope.value for scope in SCOPES),
    "features": _fixed(FEATURES),
    "method": _fixed(INTERPOLATORS),
    "methods": _fixed(auto_methods()),
    "planes": _fixed(plane.value for plane in Plane),
    "format": _fixed(FORMATS),
    "network": _fixed(base_networks()),
    "network_2d": _fixed(base_networks()),
    "loss": _fixed(LOSSES),
    "models": _fixed(get_args(Role)),
    "device": _fixed(DEVICES.split(", ")),
    "modalities": _fixed(("CT", "MR", "PT")),
}
"""By the attribute that an option sets."""
