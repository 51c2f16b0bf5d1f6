"""`host add`, `list`, `check`, `clean`, `forget` and `remove`: computers that other commands can use with `--on`."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Sequence
from typing import Any, get_args

from ..core import Cohort, Watch
from ..remote.hosts import DEFAULT_FOLDER, DEFAULT_PYTHON, CopyWith, Host, again, forget_host, host_named, known_hosts
from ..remote.run_on_host import give_up
from ..remote.setting_up import HostReport, add_host, check_host, clean_host
from .examples import example_text
from .shared_options import output_options
from .terminal_output import show_line, show_table


def add_host_command(commands) -> None:
    text = "set up computers that other commands can use with '--on', through OpenSSH"
    command = commands.add_parser("host", help=text, description=text[:1].upper() + text[1:] + ".")
    kinds = command.add_subparsers(dest="what", required=True, metavar="{add,list,check,clean,forget,remove}")
    _add(kinds)
    _kind(kinds, "list", "list the hosts that were set up", _list, show_hosts, needs_host=False)
    _kind(kinds, "check", "check connection, packages and devices of a host", _check, show_report)
    clean = _kind(kinds, "clean", "remove copies of cohorts from a host, and say how much was freed", _clean, show_line)
    clean.add_argument(
        "--all",
        action="store_true",
        help="also remove the environment with its packages, and trainings whose runs have not been brought back",
    )
    _forget(kinds)
    _kind(kinds, "remove", "remove a host from the list; what is on it stays", _remove, show_line)


def _add(kinds) -> None:
    command = _kind(
        kinds, "add", "set a host up, or again after an update: what is not given stays", _set_up, show_report
    )
    command.add_argument(
        "--prefix",
        metavar="COMMAND",
        help="start the worker there with this before it, e.g. 'srun --gres=gpu:1 --time=2:00:00'",
    )
    command.add_argument("--python", help=f"Python there (default: {DEFAULT_PYTHON})")
    command.add_argument(
        "--as-is",
        action=argparse.BooleanOptionalAction,
        help="use the packages of '--python' as they are, and install none",
    )
    command.add_argument("--folder", help=f"folder there for everything (default: {DEFAULT_FOLDER})")
    command.add_argument("--copy-with", choices=get_args(CopyWith), help="what copies files")
    command.add_argument(
        "--pip", default="", metavar="OPTIONS", help="options for pip there, e.g. '--no-index --find-links wheels'"
    )
    jobs = command.add_argument_group("trainings on this host, where it has Slurm")
    jobs.add_argument("--partition", help="Slurm's partition")
    jobs.add_argument("--account", help="Slurm's account")
    jobs.add_argument("--qos", help="Slurm's quality of service")
    jobs.add_argument("--gpus", type=int, help="GPUs of a training")
    jobs.add_argument("--hours", type=float, help="time limit of each start of a training")
    jobs.add_argument("--cpus", type=int, help="CPUs of a training")
    jobs.add_argument("--memory-gb", type=float, help="memory of a training in GB")
    jobs.add_argument("--engine", choices=("auto", "slurm", "local"), help="slurm, or local: without a queue")


def _forget(kinds) -> None:
    text = "let a run be continued elsewhere when its host is gone for good, from what was copied back"
    command = _kind(kinds, "forget", text, _give_up, show_line)
    command.add_argument("cohort", metavar="COHORT", help="cohort folder")
    command.add_argument("--run", required=True, metavar="RUN", help="name of the run")
    command.add_argument("--state", metavar="FOLDER", help="the folder with its runs, if it is another one")


def _kind(
    kinds, name: str, text: str, function: Callable[..., Any], show: Callable[..., None], needs_host: bool = True
) -> argparse.ArgumentParser:
    command = kinds.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".")
    if needs_host:
        command.add_argument("host", metavar="HOST", help="name of the host in your OpenSSH configuration")
    command.set_defaults(function=function, show=show)
    command.epilog = example_text("host")
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    output_options(command)
    return command


_JOB = ("partition", "account", "qos", "gpus", "hours", "cpus", "memory_gb", "engine")


def _set_up(options: argparse.Namespace, watch: Watch) -> HostReport:
    job = {name: getattr(options, name) for name in _JOB if getattr(options, name) is not None}
    given = {name: getattr(options, name) for name in ("prefix", "python", "folder", "as_is", "copy_with")}
    host = again(options.host, job, **given)
    return add_host(host, watch, shlex.split(options.pip))


def _list(options: argparse.Namespace, watch: Watch) -> tuple[Host, ...]:
    del options, watch
    return known_hosts()


def _check(options: argparse.Namespace, watch: Watch) -> HostReport:
    return check_host(host_named(options.host), watch)


def _clean(options: argparse.Namespace, watch: Watch) -> str:
    return clean_host(host_named(options.host), options.all, watch)[1]


def _give_up(options: argparse.Namespace, watch: Watch) -> str:
    del watch
    return give_up(Cohort.open(options.cohort, options.state), options.run, options.host)


def _remove(options: argparse.Namespace, watch: Watch) -> str:
    del watch
    folder = forget_host(options.host).folder
    return (
        f"'{options.host}' was removed from the list. What was copied there stays in its folder '{folder}': remove it "
        "there, or add the host again and use 'host clean'."
    )


def show_hosts(hosts: Sequence[Host]) -> None:
    if not hosts:
        show_line("No host has been set up. Set one up with 'sparse-annotate host add HOST'.")
        return
    show_table(
        [
            {
                "host": host.name,
                "prefix": host.prefix,
                "python": host.python,
                "folder": host.folder,
                "as is": host.as_is,
            }
            for host in hosts
        ]
    )


def show_report(report: HostReport) -> None:
    show_line(report.message)
    show_line(f"  Python {report.python} on {report.system}; folder {report.folder}; copies with {report.copies_with}")
    show_line(f"  round trip {report.round_trip:.1f} ms")
    used = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in report.used.items() if size)
    show_line(f"  used there: {used or 'nothing'}; free: {report.free / 1e9:.1f} GB")
