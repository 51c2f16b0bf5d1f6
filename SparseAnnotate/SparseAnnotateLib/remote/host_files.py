"""The files on a host: what is there by content, sending what is missing, and fetching results."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import BusyError, Watch, WorkerError
from ..core.atomic_files import why_not_written, written_atomically
from ..core.errors import BadInputError, FileWriteError
from ..core.file_stamp import FileStamp, is_settled, stamp_of
from ..core.messages import _
from ..core.strict_json import read_json, write_json
from .copying import Copier, CopyFailedError, Travel, batches, copier_for, run_command
from .host_connection import keeper_connection
from .hosts import Host
from .shared_connection import SharedConnection
from .ssh import Ssh
from .ssh_errors import ssh_problem

_SMALL_BYTES = 1 << 18  # sent through the open connection: starting a program takes longer
_SMALL_TOTAL = 1 << 20
_HOLD_SECONDS = 5.0
_CHUNK = 1 << 22
_ATTEMPTS = 5
_PROBE_BYTES = 1 << 20


@dataclass(frozen=True)
class HostFacts:
    """What a host is like; see `on_host.Keeper.facts`."""

    python: str
    executable: str
    folder: str
    rsync: str
    system: str
    free: int
    pythons: dict[str, str]


@dataclass(frozen=True)
class Content:
    """A content to send: a file here, or bytes."""

    sha: str
    size: int
    path: Path | None = None
    data: bytes = b""


class ChangedThereError(WorkerError):
    """A file changed on a host while it was copied."""


class KnownHashes:
    """The sha256 of files here, kept in a file so that a large one is read again only when it has changed."""

    def __init__(self, memo: Path | None):
        self._memo = memo
        self._known: dict[str, tuple[FileStamp, str]] = {}
        self._has_changed = False
        if memo is not None and memo.is_file():
            try:
                self._known = {kept.stamp[0]: (kept.stamp, kept.sha) for kept in read_json(memo, _HashesFile).files}
            except BadInputError:
                self._known = {}

    def content(self, path: Path, watch: Watch | None = None) -> Content:
        """A file as a content. Raises BadInputError when it cannot be read, CancelledError."""
        try:
            stamp = stamp_of(path)
            known = self._known.get(stamp[0])
            if known is None or known[0] != stamp:
                known = stamp, file_sha(path, watch)
                if is_settled(stamp) and stamp_of(path) == stamp:
                    self._known[stamp[0]] = known
                    self._has_changed = True
        except OSError as error:
            raise _unreadable(path, error) from error
        return Content(known[1], stamp[1], path)

    def keep(self) -> None:
        """Store what is known."""
        if self._memo is not None and self._has_changed:
            write_json(self._memo, _HashesFile(tuple(_KeptHash(*kept) for kept in self._known.values())))
            self._has_changed = False


@dataclass(frozen=True)
class _KeptHash:
    stamp: FileStamp
    sha: str


@dataclass(frozen=True)
class _HashesFile:
    files: tuple[_KeptHash, ...] = ()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> BadInputError:
    return BadInputError(_("The file '{path}' cannot be read ({reason}).").format(path=path, reason=error.strerror))


def content_of(data: bytes) -> Content:
    """Bytes as a content."""
    return Content(hashlib.sha256(data).hexdigest(), len(data), None, data)


def file_sha(path: Path, watch: Watch | None = None) -> str:
    """The sha256 of a file, 64 hexadecimal digits. Raises OSError, CancelledError."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            if watch is not None:
                watch.check()
    return digest.hexdigest()


class HostFiles:
    """The files that SparseAnnotate keeps on one host."""

    def __init__(self, host: Host, python: str | None = None):
        self.host = host
        self._shared = SharedConnection(Ssh(host.name))
        self.ssh = Ssh(host.name, self._shared.options)
        self._connection = keeper_connection(self.ssh, python or host.python)
        self._facts: HostFacts | None = None
        self._copier: Copier | None = None
        self._held: dict[str, int] = {}  # area to the number of the connection that holds it

    def facts(self, watch: Watch | None = None) -> HostFacts:
        """What the host is like; makes the connection. Raises ConnectionLostError, WorkerError, CancelledError."""
        if self._facts is None or not self._connection.is_running:
            found = self._connection.call("facts", {"folder": self.host.folder}, watch)
            try:
                self._facts = HostFacts(**found)
            except TypeError as error:
                raise WorkerError(
                    _("The host '{host}' sent an answer that cannot be read.").format(host=self.host.name)
                ) from error
        return self._facts

    def ask(self, method: str, watch: Watch | None = None, **params: Any) -> Any:
        """A request to the program that keeps the files; see `on_host.Keeper`.

        Raises ConnectionLostError, also when its area was held by a connection that has ended; WorkerError.
        """
        area = params.get("area")
        if area in self._held and not self.holds(area):
            # Another one may have changed it meanwhile.
            raise ssh_problem(self.host.name, (), was_connected=True)
        self.facts(watch)
        return self._connection.call(method, params, watch)

    def holds(self, area: str) -> bool:
        """Whether an area is still held: a connection that ends leaves all that it held."""
        return self._connection.is_running and self._held.get(area) == self._connection.starts

    def contents(self, area: str, under: Sequence[str], without: Sequence[str] = ()) -> dict[str, tuple[int, str]]:
        """The files of an area at or below these paths, but not below those `without`: {path: (bytes, sha256)}.

        Raises WorkerError when the host names anything else: what it says decides where files are written here.
        """
        found: dict[str, tuple[int, str]] = {}
        for name, (size, sha) in self.ask("contents", area=area, under=list(under), without=list(without)).items():
            parts = str(name).split("/")
            is_below = any(name == start or str(name).startswith(f"{start}/") for start in under)
            is_plain = not any(part in ("", ".", "..") or "\\" in part or ":" in part for part in parts)
            if not (is_below and is_plain and isinstance(size, int) and re.fullmatch(r"[0-9a-f]{64}", str(sha))):
                raise WorkerError(
                    _("The host '{host}' names a file that it was not asked for: '{name}'.").format(
                        host=self.host.name, name=name
                    )
                )
            found[str(name)] = (size, str(sha))
        return found

    @property
    def copier(self) -> Copier:
        if self._copier is None:
            self._copier = copier_for(self.ssh, self.facts().rsync, self.host.copy_with)
        return self._copier

    def path(self, area: str) -> str:
        """The absolute path of an area there."""
        return f"{self.facts().folder}/{area}"

    def hold(self, area: str, watch: Watch, seconds: float | None = None) -> None:
        """Keep others away from an area. Raises BusyError when they do not leave it within some seconds."""
        self._held.pop(area, None)
        deadline = time.monotonic() + (_HOLD_SECONDS if seconds is None else seconds)
        while not self.ask("hold", watch, area=area):
            watch.check()
            if time.monotonic() > deadline:
                raise BusyError(
                    _(
                        "Another window or computer is using this cohort's copy on the host '{host}', or a connection "
                        "of yours broke less than a minute ago. Wait until it has finished, then try again."
                    ).format(host=self.host.name)
                )
            time.sleep(0.2)
        self._held[area] = self._connection.starts

    def release(self, area: str) -> None:
        """Leave an area to others."""
        is_held = self.holds(area)
        self._held.pop(area, None)
        if is_held:
            self.ask("release", area=area)

    def send(
        self, area: str, files: Mapping[str, Content], absent: Sequence[str], own: Sequence[str], watch: Watch
    ) -> int:
        """Make an area there hold these files, and none of the `absent`; only contents that are missing travel.

        Args:
            files: by their path in the area. own: of these, files that must not share their content there.

        Returns the bytes that were sent. Raises WorkerError (full disk, broken connection), CancelledError.
        """
        listed = {name: [content.size, content.sha] for name, content in files.items()}
        by_sha = {content.sha: content for content in files.values()}
        sent = 0
        for _attempt in range(_ATTEMPTS):
            asked = {"area": area, "files": listed, "absent": list(absent), "own": list(own)}
            answer = self.ask("place", watch, **asked)
            missing = answer["missing"]
            if not missing and not answer["placed"]:
                return sent
            if not missing:
                continue  # is everything as it was asked for?
            if sent:
                # A file that changes while it is read has another sha256 when it arrives.
                self._require_unchanged([by_sha[sha] for sha in missing], watch)
            sent += self._send_contents(area, [by_sha[sha] for sha in missing], watch)
        raise WorkerError(
            _("What was copied to the host '{host}' does not arrive as it was sent. Try again.").format(
                host=self.host.name
            )
        )

    def _send_contents(self, area: str, contents: Sequence[Content], watch: Watch) -> int:
        total = sum(content.size for content in contents)
        travel = Travel(watch, _("copying to '{host}'").format(host=self.host.name), total)
        small = [content for content in contents if content.size <= _SMALL_BYTES]
        if sum(content.size for content in small) > _SMALL_TOTAL:
            small = [content for content in small if content.path is None]
        arrived: dict[str, int] = {}
        rest = total
        if len(small) < len(contents):
            arrived = self.ask("arrived", area=area, shas=[content.sha for content in contents])
            free = self.ask("free")
            rest = total - sum(arrived.values())
            if free["why"] or free["free"] < rest:
                raise self._full(rest, free)
        for content in small:
            data = content.data if content.path is None else _read(content.path)
            self.ask("receive", area=area, sha=content.sha, content=base64.b64encode(data).decode("ascii"))
            travel.done += content.size
            travel.report(0)
        by_sha = {content.sha: content for content in contents if content not in small}
        folder = self.ask("incoming", area=area) if by_sha else ""
        for batch in batches({sha: content.size for sha, content in by_sha.items()}):
            files = {sha: path for sha in batch if (path := by_sha[sha].path) is not None}
            try:
                command = self.copier.send(files, arrived, folder)
            except OSError as error:
                raise _unreadable(Path(error.filename or tempfile.gettempdir()), error) from error
            try:
                run_command(command, self.host.name, lambda b=batch: self._arrived(area, b), travel)  # type: ignore[misc]
            except CopyFailedError as error:
                free = self.ask("free")
                left = sum(by_sha[sha].size for sha in batch) - self._arrived(area, batch)
                if free["why"] or free["free"] < left:
                    raise self._full(left, free) from error
                raise
            travel.done += sum(by_sha[sha].size for sha in batch)
            travel.report(0)
        return total

    def _arrived(self, area: str, shas: Sequence[str]) -> int:
        return int(sum(self.ask("arrived", area=area, shas=list(shas)).values()))

    def _full(self, needed: int, free: Mapping[str, Any]) -> WorkerError:
        if free["why"]:
            return WorkerError(
                _("Nothing can be written to '{folder}' on the host '{host}'. {why} What was copied is kept.").format(
                    folder=self.facts().folder, host=self.host.name, why=free["why"]
                )
            )
        return WorkerError(
            _(
                "The disk of the host '{host}' is too full: {needed:.1f} MB are to be copied and {free:.1f} MB are "
                "free. Free some space there, for example with 'sparse-annotate host clean {host}', or choose another "
                "folder with 'host add {host} --folder'. What was copied is kept."
            ).format(host=self.host.name, needed=needed / 1e6, free=free["free"] / 1e6)
        )

    def _require_unchanged(self, contents: Sequence[Content], watch: Watch) -> None:
        for content in contents:
            if content.path is not None and KnownHashes(None).content(content.path, watch).sha != content.sha:
                raise BadInputError(
                    _("The file '{path}' changed while it was copied. Try again when it has been written.").format(
                        path=content.path
                    )
                )

    def fetch(
        self, area: str, files: Mapping[str, Sequence[Any]], places: Mapping[str, Path], parts: Path, watch: Watch
    ) -> int:
        """Bring files of an area here, and put them in place; see `fetch_parts` and `put_in_place`."""
        total = self.fetch_parts(area, files, parts, watch)
        self.put_in_place(files, places, parts)
        return total

    def fetch_parts(self, area: str, files: Mapping[str, Sequence[Any]], parts: Path, watch: Watch) -> int:
        """Bring files of an area into a folder here, each under its sha256.

        Args:
            files: {path in the area: (bytes, sha256)}. parts: the folder, on the same disk as the places.

        Returns the bytes that were copied. Raises FileWriteError, WorkerError, CancelledError.
        """
        sizes = {str(sha): int(size) for size, sha in files.values()}
        by_sha = {str(sha): name for name, (_size, sha) in files.items()}
        total = sum(sizes.values())
        try:
            parts.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._not_written_here(parts, error) from error
        travel = Travel(watch, _("copying from '{host}'").format(host=self.host.name), total)
        if total <= _SMALL_TOTAL and all(size <= _SMALL_BYTES for size in sizes.values()):
            for sha, name in by_sha.items():
                read = self.ask("read", area=area, name=name)
                self._write_part(parts / sha, base64.b64decode(read or ""))
        else:
            for batch in batches(sizes):
                self._fetch_batch(area, {by_sha[sha]: sha for sha in batch}, sizes, parts, travel)
        return total

    def put_in_place(self, files: Mapping[str, Sequence[Any]], places: Mapping[str, Path], parts: Path) -> None:
        """Put files that were fetched in their places here; files there are replaced.

        Raises FileWriteError; ChangedThereError for files that changed there while they were copied, once all others
        are in place.
        """
        last = {str(sha): name for name, (_size, sha) in files.items()}
        changed: dict[str, ChangedThereError] = {}
        for name, (_size, sha) in files.items():
            if sha not in changed:
                try:
                    self._put_in_place(parts / str(sha), str(sha), places[name], is_last=last[str(sha)] == name)
                except ChangedThereError as error:
                    changed[str(sha)] = error
        for problem in changed.values():
            raise problem

    def _fetch_batch(
        self, area: str, batch: Mapping[str, str], sizes: Mapping[str, int], parts: Path, travel: Travel
    ) -> None:
        for sha in batch.values():
            part = parts / sha
            if part.is_file() and part.stat().st_size >= sizes[sha]:
                part.unlink()
        folder = self.ask("offer", area=area, files=dict(batch))
        shas = list(batch.values())
        needed = sum(sizes[sha] for sha in shas)

        def here() -> int:
            return sum((parts / sha).stat().st_size for sha in shas if (parts / sha).is_file())

        try:
            run_command(self.copier.fetch(shas, folder, parts), self.host.name, here, travel)
        except CopyFailedError as error:
            self._require_space_here(parts, needed - here(), error)
            raise
        self.ask("withdraw")
        travel.done += needed
        travel.report(0)

    def _require_space_here(self, folder: Path, needed: int, cause: CopyFailedError) -> None:
        """Raise FileWriteError when a copy failed because nothing more can be written on this computer."""
        try:
            if shutil.disk_usage(folder).free < needed:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            with tempfile.TemporaryFile(dir=folder) as probe:  # what is free does not tell of a quota
                probe.write(b"\0" * _PROBE_BYTES)
                probe.flush()
                os.fsync(probe.fileno())
        except OSError as error:
            raise self._not_written_here(folder, error) from cause

    def _not_written_here(self, path: Path, error: OSError) -> FileWriteError:
        return FileWriteError(
            _("Copying from the host '{host}' to this computer failed. {reason}").format(
                host=self.host.name, reason=why_not_written(path, error)
            )
        )

    def _write_part(self, path: Path, data: bytes) -> None:
        try:
            path.write_bytes(data)
        except OSError as error:
            raise self._not_written_here(path, error) from error

    def _put_in_place(self, part: Path, sha: str, place: Path, is_last: bool) -> None:
        try:
            if not part.is_file() and place.is_file() and file_sha(place) == sha:
                return  # another process that copies the same has put it in place
            if not part.is_file() or file_sha(part) != sha:
                part.unlink(missing_ok=True)
                raise ChangedThereError(
                    _("A file changed on the host '{host}' while it was copied. Try again.").format(host=self.host.name)
                )
            place.parent.mkdir(parents=True, exist_ok=True)
            if is_last:
                with open(part, "rb+") as file:
                    os.fsync(file.fileno())
                os.replace(part, place)
            else:
                with written_atomically(place) as beside:
                    shutil.copyfile(part, beside)
        except OSError as error:
            raise self._not_written_here(place, error) from error

    def close(self) -> None:
        """End the connection; what was held is left to others."""
        self._held.clear()
        self._connection.close()
        self._shared.close()

    def kill(self) -> None:
        """End the connection at once, also in the middle of a request."""
        self._held.clear()
        self._connection.kill()
        self._shared.close()
