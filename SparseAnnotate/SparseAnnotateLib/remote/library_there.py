"""The library on a host: the very files that run here, and the worker that is started with them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from .. import __version__
from ..client import LIBRARY_FOLDER
from ..core import BadInputError, Watch
from ..core.cohort_layout import CACHE_VARIABLE
from ..core.messages import _
from .host_connection import HostConnection
from .host_files import Content, HostFiles, KnownHashes
from .hosts import Host
from .ssh import split_prefix

PACKAGE = "SparseAnnotateLib"
_HOLD_SECONDS = 120.0
_REQUIREMENTS = Path(__file__).resolve().parents[2] / "Resources" / "requirements.txt"
_MORE_REQUIREMENTS = ("numpy>=1.26", "scipy>=1.12", "SimpleITK>=2.3", "rich>=13", "torch>=2.8", "submitit>=1.5")
"""What Slicer bundles or its extension PyTorch installs, and what jobs need."""


def requirements() -> tuple[str, ...]:
    """The packages that an environment on a host needs, as pip takes them."""
    lines = _REQUIREMENTS.read_text(encoding="utf-8").splitlines() if _REQUIREMENTS.is_file() else []
    return (*_MORE_REQUIREMENTS, *(line.strip() for line in lines if line.strip() and not line.startswith("#")))


def fingerprint(names: tuple[str, ...]) -> str:
    """12 hexadecimal digits from the names of packages."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:12]


def library_files() -> tuple[str, dict[str, Content]]:
    """The area for this version of the library, named after its version and content, and its files."""
    hashes = KnownHashes(None)
    package = LIBRARY_FOLDER / PACKAGE
    paths = [p for p in sorted(package.rglob("*")) if p.is_file() and "__pycache__" not in p.parts]
    files = {path.relative_to(LIBRARY_FOLDER).as_posix(): hashes.content(path) for path in paths}
    text = "\n".join(f"{name} {content.sha}" for name, content in files.items())
    return f"versions/{__version__}-{hashlib.sha256(text.encode()).hexdigest()[:12]}", files


def python_there(host: Host, folder: str) -> str:
    """The Python of the worker on a host. Raises BadInputError when its environment is not there or does not fit."""
    if host.as_is:
        return host.python
    if not host.environment:
        problem = _("The packages have not been installed on the host '{host}' yet.").format(host=host.name)
    elif host.requirements != fingerprint(requirements()):
        problem = _("This version of SparseAnnotate needs other packages than those on the host '{host}'.").format(
            host=host.name
        )
    else:
        return host.environment.replace("{root}", folder)
    raise BadInputError(
        _("{problem} Run 'sparse-annotate host add {host}' again, which installs them.").format(
            problem=problem, host=host.name
        )
    )


def send_library(files: HostFiles, watch: Watch) -> str:
    """Send the library where this version is missing; returns its folder there. Raises WorkerError, CancelledError."""
    area, contents = library_files()
    # Two computers may send it at the same time.
    files.hold(area, watch, _HOLD_SECONDS)
    try:
        files.send(area, contents, (), (), watch)
    finally:
        files.release(area)
    return files.path(area)


def worker_there(files: HostFiles, folder: str, prefix: str) -> HostConnection:
    """The worker on a host, with the library in this folder there. Raises BadInputError."""
    python = python_there(files.host, files.facts().folder)
    # Caches are in the copy of the cohort, where the fingerprints of cleaned images are written down.
    words = ["env", "-u", CACHE_VARIABLE, f"PYTHONPATH={folder}", python, "-m", f"{PACKAGE}.worker"]
    if prefix:
        # What waits in a queue must not stay there when nobody waits for it any more.
        words = [python, f"{folder}/{PACKAGE}/remote/until_disconnected.py", *split_prefix(prefix), *words]
    what = f"{prefix} {python}".strip()
    return HostConnection(lambda: files.ssh.command(words), files.host.name, what, may_wait=bool(prefix))
