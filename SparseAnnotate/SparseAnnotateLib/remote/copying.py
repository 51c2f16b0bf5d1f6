"""Copying contents between this computer and a host: rsync where both have it, otherwise OpenSSH's sftp.

Contents are named by their sha256 while they travel, so that a part that has arrived is the beginning of the same
content whatever happened in between, and no name of a file here is seen there.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from ..core import BadInputError, CancelledError, Watch, WorkerError
from ..core.messages import _
from ..core.slicer_python import environment_for
from .ssh import Ssh, program_or_none
from .ssh_errors import ssh_problem

BATCH_BYTES = 256 << 20
BATCH_FILES = 2000
_LOOK_SECONDS = 0.25
_MB = 1e6


class Copier(Protocol):
    """A program that copies contents."""

    name: str

    def send(self, contents: Mapping[str, Path], arrived: Mapping[str, int], folder: str) -> Command:
        """The command that sends contents, {sha256: file}; `arrived`: bytes of them that are in the folder there."""

    def fetch(self, shas: Sequence[str], folder: str, into: Path) -> Command:
        """The command that fetches contents from a folder there."""


class Command:
    """A command line, what it reads from stdin, and a folder that it needs until its end."""

    def __init__(self, words: Sequence[str], text: str, needs: tempfile.TemporaryDirectory[str] | None = None):
        self.words, self.text, self.needs = list(words), text, needs


class Rsync:
    """rsync: of contents that have arrived in part, only the rest is sent."""

    name = "rsync"

    def __init__(self, ssh: Ssh, program: str):
        self._ssh, self._program = ssh, program

    def send(self, contents: Mapping[str, Path], arrived: Mapping[str, int], folder: str) -> Command:
        """See `Copier.send`."""
        links = tempfile.TemporaryDirectory(prefix="sparse-annotate-")
        for sha, path in contents.items():
            os.symlink(path.absolute(), Path(links.name) / sha)
        return Command([*self._words(), f"{links.name}/", f"{self._ssh.host}:{folder}/"], "\n".join(contents), links)

    def fetch(self, shas: Sequence[str], folder: str, into: Path) -> Command:
        """See `Copier.fetch`."""
        return Command([*self._words(), f"{self._ssh.host}:{folder}/", f"{into}/"], "\n".join(shas))

    def _words(self) -> list[str]:
        return [self._program, "--copy-links", "--inplace", "-e", self._ssh.rsync_shell(), "--files-from=-", "--"]


class Sftp:
    """OpenSSH's sftp in batch mode."""

    name = "sftp"

    def __init__(self, ssh: Ssh):
        self._ssh = ssh

    def send(self, contents: Mapping[str, Path], arrived: Mapping[str, int], folder: str) -> Command:
        """See `Copier.send`."""
        lines = []
        for sha, path in contents.items():
            resumes = "-a " if 0 < arrived.get(sha, 0) < path.stat().st_size else ""
            lines.append(f'put {resumes}{_quoted(path)} "{folder}/{sha}"')
        return Command(self._ssh.sftp(), "\n".join(lines) + "\n")

    def fetch(self, shas: Sequence[str], folder: str, into: Path) -> Command:
        """See `Copier.fetch`."""
        lines = []
        for sha in shas:
            resumes = "-a " if (into / sha).is_file() and (into / sha).stat().st_size else ""
            lines.append(f'get {resumes}"{folder}/{sha}" {_quoted(into / sha)}')
        return Command(self._ssh.sftp(), "\n".join(lines) + "\n")


def copier_for(ssh: Ssh, rsync_there: str, wanted: str = "auto") -> Copier:
    """rsync where both ends have it, otherwise sftp. Raises BadInputError when a wanted one is missing."""
    here = program_or_none("rsync") if os.name != "nt" else None
    if wanted == "rsync" and not (here and rsync_there):
        raise BadInputError(
            _("rsync is not installed on {where}. Install it, or copy with sftp.").format(
                where=_("this computer") if not here else f"'{ssh.host}'"
            )
        )
    return Rsync(ssh, here) if wanted != "sftp" and here and rsync_there else Sftp(ssh)


def batches(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Contents in groups of a limited size; each is in its place before the next is sent."""
    batch: list[str] = []
    total = 0
    for sha, size in sizes.items():
        if batch and (len(batch) >= BATCH_FILES or total + size > BATCH_BYTES):
            yield batch
            batch, total = [], 0
        batch.append(sha)
        total += size
    if batch:
        yield batch


class Travel:
    """The progress of a copy: how much of it has arrived, and how long the rest takes."""

    def __init__(self, watch: Watch, text: str, total: int):
        self._watch, self._text, self._total = watch, text, max(1, total)
        self._begun = time.monotonic()
        self._first: int | None = None
        self.done = 0

    def report(self, arrived: int) -> None:
        """Report the bytes of this batch that have arrived. Raises CancelledError."""
        done = min(self.done + arrived, self._total)
        if self._first is None:
            self._first = done
        seconds = time.monotonic() - self._begun
        gained = done - self._first
        left = seconds / gained * (self._total - done) if gained > 0 and seconds > 1.0 else None
        message = _("{what}, {done:.1f} of {total:.1f} MB").format(
            what=self._text, done=done / _MB, total=self._total / _MB
        )
        self._watch.step(done / self._total, message, left)


def run_command(command: Command, host: str, arrived: Callable[[], int], travel: Travel) -> None:
    """Run a command that copies, with progress.

    Raises ConnectionLostError when the connection breaks, CancelledError, and WorkerError with what the program says.
    """
    try:
        process = subprocess.Popen(
            command.words,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment_for(command.words[0]),
            start_new_session=os.name != "nt",
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except OSError as error:
        raise WorkerError(
            _("The program '{program}' cannot be started ({reason}).").format(
                program=command.words[0], reason=error.strerror
            )
        ) from error
    lines: deque[str] = deque(maxlen=40)
    reader = threading.Thread(target=_keep_lines, args=(process, lines), daemon=True)
    reader.start()
    try:
        assert process.stdin is not None
        with suppress(OSError):
            process.stdin.write(command.text.encode("utf-8"))
        with suppress(OSError):
            process.stdin.close()
        while True:
            try:
                process.wait(_LOOK_SECONDS)
                break
            except subprocess.TimeoutExpired:
                travel.report(arrived())
    except CancelledError:
        process.terminate()
        process.wait()
        raise
    finally:
        if process.poll() is None:
            process.kill()
        reader.join(5.0)
        if command.needs is not None:
            command.needs.cleanup()
    if process.returncode != 0:
        raise _failure(host, Path(command.words[0]).name, process.returncode, list(lines))


_SAID_WHEN_BROKEN = (
    "connection unexpectedly closed",
    "client_loop: send disconnect",
    "Connection closed",
    "Connection reset",
    "Broken pipe",
)


class CopyFailedError(WorkerError):
    """The program that copies has failed although the connection works: a full disk, for example."""


def _failure(host: str, program: str, code: int, lines: list[str]) -> WorkerError:
    text = "\n".join(lines)
    # What rsync and sftp return when the connection itself fails; a full disk may end it, too.
    is_broken = code in (255, -getattr(signal, "SIGPIPE", 13)) or any(words in text for words in _SAID_WHEN_BROKEN)
    if is_broken and "No space left" not in text and "quota" not in text and "File too large" not in text:
        return ssh_problem(host, [line for line in lines if not line.startswith("rsync")] or lines, True)
    said = next((line for line in lines if line.strip()), _("exit code {code}").format(code=code))
    return CopyFailedError(
        _("Copying between this computer and '{host}' with {program} failed ({said}).").format(
            host=host, program=program, said=said.strip().rstrip(".")
        )
    )


def _keep_lines(process: subprocess.Popen[bytes], lines: deque[str]) -> None:
    assert process.stderr is not None
    for raw in process.stderr:
        line = raw.decode("utf-8", "replace").rstrip()
        if line:
            lines.append(line)
            print(line, file=sys.stderr, flush=True)


def _quoted(path: Path) -> str:
    """A path here as sftp reads it in double quotes, where it is not a pattern.

    Raises BadInputError when it has control characters: a new line would begin another command.
    """
    if not str(path.absolute()).isprintable():
        raise BadInputError(
            _("The file {path!r} cannot be copied because of the control characters in its name. Rename it.").format(
                path=str(path)
            )
        )
    text = path.absolute().as_posix().replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
