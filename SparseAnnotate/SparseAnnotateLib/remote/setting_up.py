"""Setting a host up, checking it, and removing what is on it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..core import BadInputError, Watch, WorkerError
from ..core.messages import _, counted, joined
from ..core.strict_json import from_plain
from ..runs.job_states import JobState
from .host_files import HostFacts, HostFiles
from .hosts import DEFAULT_PYTHON, Host, keep_host, known_hosts
from .library_there import fingerprint, requirements
from .requests_there import HostSession, on_host
from .ssh_errors import ConnectionLostError

OLDEST_PYTHON = (3, 11)
_ROUND_TRIPS = 9
_STAGES = (2.0, 10.0, 120.0, 20.0)  # of setting up, in seconds: connecting, environment, packages, test


@dataclass(frozen=True)
class HostReport:
    """What a host is like.

    Attributes:
        host: its settings. folder, python: there. system: its operating system.
        copies_with: 'rsync' or 'sftp'. round_trip: median milliseconds of a request that does nothing.
        free: bytes on the disk of the folder. used: bytes of ours by what they are for.
        devices: what the worker there found, as in the request `environment`; empty when it was not asked.
        message: one sentence.
    """

    host: Host
    folder: str
    python: str
    system: str
    copies_with: str
    round_trip: float
    free: int
    used: dict[str, int]
    environment: dict[str, Any] = field(default_factory=dict)
    message: str = ""


def add_host(
    host: Host, watch: Watch, pip_options: Sequence[str] = (), packages: Sequence[str] | None = None
) -> HostReport:
    """Set a host up, again after an update: find a Python, make an environment with the packages, install this
    version, and run the smoke test.

    Args:
        host: its settings; with `as_is` nothing is installed but this library.
        pip_options: for pip there. packages: for the environment; None: what this version needs.

    Raises ConnectionLostError, BadInputError (no usable Python), WorkerError (what pip or the smoke test says),
    CancelledError.
    """
    watch.step(0.0, _("connecting to '{host}'").format(host=host.name))
    before = next((one for one in known_hosts() if one.name == host.name), None)
    if before is not None and before.folder != host.folder:
        _require_nothing_left(before, watch)
    files = HostFiles(host)
    try:
        facts = files.facts(watch)
        host = replace(host, python=_usable_python(host, facts))
        if not host.as_is:
            names = tuple(requirements() if packages is None else packages)
            python = _made_environment(files, host, names, pip_options, watch)
            host = replace(host, environment=python, requirements=fingerprint(names))
    finally:
        files.close()
    now = next((one for one in known_hosts() if one.name == host.name), None)
    if now is not None and now.folder == host.folder:
        host = replace(host, cohorts=now.cohorts)  # allowed while packages were installed
    keep_host(host)
    watch.stage(_STAGES, 3).step(0.0, _("testing the packages and devices on '{host}'").format(host=host.name))
    return check_host(host, watch.quiet())


def check_host(host: Host, watch: Watch) -> HostReport:
    """Check a host: connection, library, packages and devices. Raises as `add_host`."""
    session = HostSession(host)
    try:
        facts = session.files.facts(watch)
        found = session.worker(watch)
        try:
            environment = found.call("environment", {}, watch)
        except WorkerError as error:
            raise on_host(host, error) from error
        return _report(host, session.files, facts, environment)
    finally:
        session.close()


def clean_host(host: Host, everything: bool, watch: Watch) -> tuple[int, str]:
    """Remove what is on a host; returns the bytes that were freed, and a sentence.

    Without `everything` the environment stays, and so do trainings whose runs have not been brought back.

    Raises BadInputError when a training is still running there and `everything` is to be removed.
    """
    session = HostSession(host)
    try:
        if everything:
            _require_no_live_training(session, watch)
        found = session.files.ask("clean", watch, everything=everything)
    finally:
        session.close()
    if everything and not host.as_is:
        keep_host(replace(host, environment="", requirements="", cohorts=()))
    freed, kept = int(found["freed"]), list(found["kept"])
    sentences: list[str] = [
        _("{size:.1f} MB were freed on '{host}'.").format(size=freed / 1e6, host=host.name),
    ]
    if kept:
        sentences.append(
            counted(
                len(kept),
                _("{count} folder was kept: it is in use, or its run has not been brought back."),
                _("{count} folders were kept: they are in use, or their runs have not been brought back."),
            )
        )
    return freed, joined(" ", sentences)


def _require_nothing_left(host: Host, watch: Watch) -> None:
    """Raise BadInputError when a host's folder has trainings that have not been brought back."""
    files = HostFiles(host)
    try:
        left = files.ask("trainings", watch)
    except ConnectionLostError:
        raise
    except WorkerError:
        return  # the folder cannot be used, so nothing of it can be brought back
    finally:
        files.close()
    if left:
        raise BadInputError(
            counted(
                len(left),
                _(
                    "The folder '{folder}' on the host '{host}' has {count} training that has not been copied back, "
                    "so the folder stays. Reconnect to it first, or remove it with 'sparse-annotate host clean {host} "
                    "--all'."
                ),
                _(
                    "The folder '{folder}' on the host '{host}' has {count} trainings that have not been copied back, "
                    "so the folder stays. Reconnect to them first, or remove them with 'sparse-annotate host clean "
                    "{host} --all'."
                ),
                folder=host.folder,
                host=host.name,
            )
        )


def _require_no_live_training(session: HostSession, watch: Watch) -> None:
    for area in session.files.ask("trainings", watch):
        params = {"cohort": session.files.path(area)}
        answer = session.job_worker(watch).call("jobs", params, watch)
        states: list[JobState] = from_plain(answer, list[JobState], _("the answer of the host"))
        live = next((state for state in states if state.is_live), None)
        if live is not None:
            raise BadInputError(
                _(
                    "The run '{run}' is still being trained on '{host}'. Wait until it has finished, or cancel it; or "
                    "clean without '--all', which keeps it."
                ).format(run=live.run, host=session.host.name)
            )


def _report(host: Host, files: HostFiles, facts: HostFacts, environment: dict[str, Any]) -> HostReport:
    times = []
    for _number in range(_ROUND_TRIPS):
        begun = time.perf_counter()
        files.ask("arrived", area="nothing", shas=[])
        times.append(1000.0 * (time.perf_counter() - begun))
    return HostReport(
        host=host,
        folder=facts.folder,
        python=str(environment.get("python", facts.python)),
        system=facts.system,
        copies_with=files.copier.name,
        round_trip=round(statistics.median(times), 2),
        free=facts.free,
        used={name: int(size) for name, size in files.ask("usage").items()},
        environment=environment,
        message=str(environment.get("message", "")),
    )


def _usable_python(host: Host, facts: HostFacts) -> str:
    """A Python on the host that is new enough. Raises BadInputError."""
    if _version(facts.python) >= OLDEST_PYTHON:
        return host.python
    wanted = ".".join(map(str, OLDEST_PYTHON))
    newer = next((path for version, path in facts.pythons.items() if _version(version) >= OLDEST_PYTHON), None)
    if newer is not None and host.python == DEFAULT_PYTHON:
        return newer
    raise BadInputError(
        _(
            "The Python '{python}' on the host '{host}' has version {version}, and SparseAnnotate needs {wanted} or "
            "later. {other} Name it with 'sparse-annotate host add {host} --python PATH'."
        ).format(
            python=host.python,
            host=host.name,
            version=facts.python,
            wanted=wanted,
            other=_("There is '{path}'.").format(path=newer) if newer else _("Install one there."),
        )
    )


def _version(text: str) -> tuple[int, int]:
    major, _dot, rest = text.partition(".")
    minor = rest.partition(".")[0]
    return (int(major) if major.isdecimal() else 0, int(minor) if minor.isdecimal() else 0)


def _made_environment(
    files: HostFiles, host: Host, packages: Sequence[str], pip_options: Sequence[str], watch: Watch
) -> str:
    """Make the environment, or complete it; returns its Python, with '{root}' for the folder there."""
    place = "{root}/environments/" + fingerprint((*packages, host.python))
    python = f"{place}/bin/python"
    making, installing = watch.stage(_STAGES, 1), watch.stage(_STAGES, 2)
    making.step(0.0, _("making an environment on '{host}'").format(host=host.name))
    if files.ask("run", watch, words=[python, "-m", "pip", "--version"])["code"] != 0:
        _run(files, [host.python, "-m", "venv", place], making, _("The environment was not made"))
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
    installing.step(0.0, _("installing packages on '{host}', which can take minutes").format(host=host.name))
    _run(files, [*pip, *pip_options, *packages], installing, _("The packages were not installed"))
    return python


def _run(files: HostFiles, words: Sequence[str], watch: Watch, failed: str) -> None:
    found = files.ask("run", watch, words=list(words))
    if found["code"] == 0:
        return
    lines = [line for line in found["lines"] if line.strip()]
    said = next((line for line in reversed(lines) if "rror" in line), lines[-1] if lines else "")
    text = "\n".join(lines)
    remedy: str = _("Correct this there, and set the host up again.")
    if "ensurepip" in text:
        remedy = _("Install the package python3-venv there, or name another Python with '--python'.")
    elif "No space left" in text or "quota" in text:
        remedy = _("Free some space there, or choose another folder with '--folder'.")
    elif "No matching distribution" in text or "Temporary failure" in text or "NewConnectionError" in text:
        remedy = _(
            "Where the host has no access to the internet, copy the packages there and add for example '--pip "
            "\"--no-index --find-links FOLDER\"', or use an environment that exists with '--python PATH --as-is'."
        )
    raise WorkerError(
        _("{failed} on the host '{host}' ({said}). {remedy}").format(
            failed=failed, host=files.host.name, said=said.strip(), remedy=remedy
        )
    )
