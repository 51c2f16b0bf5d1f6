"""What is copied to a host and back, by content, with rsync and with sftp; and what can go wrong."""

from __future__ import annotations

import ast
import errno
import os
import shutil
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from SparseAnnotateLib.core import BadInputError, BusyError, CancelledError, Watch, WorkerError
from SparseAnnotateLib.core.errors import FileWriteError
from SparseAnnotateLib.remote import copying, on_host
from SparseAnnotateLib.remote.host_files import HostFiles, KnownHashes, content_of
from SparseAnnotateLib.remote.hosts import Host
from SparseAnnotateLib.remote.ssh_errors import ConnectionLostError
from ssh_server import needs_ssh_server

pytestmark = needs_ssh_server
AREA = "cohorts/one/copy"
HASHES = KnownHashes(None)


@pytest.fixture
def files(host):
    files = HostFiles(host)
    yield files
    files.close()


def random_file(path: Path, size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    return path


def there(host: Host, name: str, area: str = AREA) -> Path:
    return Path(host.folder) / area / name


def incoming(host: Host) -> Path:
    """Where contents for the area arrive."""
    return Path(host.folder) / "incoming" / on_host.digest_of(AREA)


@pytest.mark.parametrize("program", ["rsync", "sftp"])
def test_files_of_any_name_arrive_by_content_and_come_back(host, tmp_path, program):
    files = HostFiles(replace(host, copy_with=program))
    names = ["plain.bin", 'it\'s a "file" [x]*?.bin', "ü $HOME `date` .bin"]
    sent = {
        f"images/{n}": HASHES.content(random_file(tmp_path / "here" / name, 600_000)) for n, name in enumerate(names)
    }
    sent["cohort.json"] = content_of(b"{}")
    assert files.send(AREA, sent, (), (), Watch()) == 3 * 600_000 + 2
    assert files.copier.name == program
    # Nothing that is there travels again, also when it has another place; and what must not be there is gone.
    moved = {"images/moved": sent["images/0"], **{n: c for n, c in sent.items() if n != "images/0"}}
    assert files.send(AREA, moved, ["images/0"], (), Watch()) == 0
    found = files.ask("contents", area=AREA, under=[""])
    assert {name: sha for name, (_size, sha) in found.items()} == {name: c.sha for name, c in moved.items()}
    places = {name: tmp_path / "back" / name for name in found}
    assert files.fetch(AREA, found, places, tmp_path / "parts", Watch()) == 3 * 600_000 + 2
    assert all(HASHES.content(place).sha == moved[name].sha for name, place in places.items())
    assert not list((tmp_path / "parts").iterdir())
    left = [*(Path(host.folder) / "incoming").rglob("*"), *(Path(host.folder) / "outgoing").rglob("*")]
    assert not [path for path in left if path.is_file()]
    files.close()


def test_a_file_that_was_changed_there_is_sent_again(host, files, tmp_path):
    sent = {"a": HASHES.content(random_file(tmp_path / "a", 1000))}
    files.send(AREA, sent, (), (), Watch())
    there(host, "a").write_bytes(b"x" * 1000)
    assert files.send(AREA, sent, (), (), Watch()) == 1000
    assert there(host, "a").read_bytes() == (tmp_path / "a").read_bytes()


def test_clocks_that_differ_make_no_difference(host, files, tmp_path):
    """A file there may be older or younger than here by any time: contents are compared."""
    sent = {"a": HASHES.content(random_file(tmp_path / "a", 1000))}
    files.send(AREA, sent, (), (), Watch())
    for skew in (-1e7, 1e7):
        os.utime(there(host, "a"), (time.time() + skew, time.time() + skew))
        assert files.send(AREA, sent, (), (), Watch()) == 0
    changed = {"a": HASHES.content(random_file(tmp_path / "a", 1000))}
    os.utime(tmp_path / "a", (1.0, 1.0))
    assert files.send(AREA, changed, (), (), Watch()) == 1000


@pytest.mark.parametrize("program", ["rsync", "sftp"])
def test_a_copy_that_breaks_in_the_middle_is_resumed(host, server, tmp_path, program):
    files = HostFiles(replace(host, copy_with=program))
    large = random_file(tmp_path / "large", 40_000_000)
    sent = {"large": HASHES.content(large)}
    folder = incoming(host)

    def broken(progress):
        part = folder / sent["large"].sha
        if part.is_file() and part.stat().st_size > 0:
            server.kill_sessions()

    def send_several_times():
        for _attempt in range(5):  # a fast disk may take it all before it is looked at
            files.send(AREA, sent, (), (), Watch(broken))
            there(host, "large").unlink()

    with pytest.raises(WorkerError) as error:
        send_several_times()
    assert "broke" in error.value.message
    part = (folder / sent["large"].sha).stat().st_size
    assert part > 0
    with suppress(WorkerError):  # the other connection may be found broken only now
        files.send(AREA, sent, (), (), Watch())
    files.send(AREA, sent, (), (), Watch())
    assert HASHES.content(there(host, "large")).sha == sent["large"].sha
    files.close()


def test_a_part_that_arrived_is_not_sent_again(host, tmp_path):
    files = HostFiles(replace(host, copy_with="sftp"))
    large = random_file(tmp_path / "large", 3_000_000)
    sent = {"large": HASHES.content(large)}
    files.facts()
    folder = files.ask("incoming", area=AREA)
    (incoming(host) / sent["large"].sha).write_bytes(large.read_bytes()[:2_000_000])
    seen: list[str] = []
    command = files.copier.send({sent["large"].sha: large}, {sent["large"].sha: 2_000_000}, folder)
    assert command.text.startswith("put -a ")
    files.send(AREA, sent, (), (), Watch(lambda progress: seen.append(progress.message)))
    assert there(host, "large").read_bytes() == large.read_bytes()
    files.close()


def test_cancelling_a_copy_stops_it_and_keeps_what_has_arrived(host, files, tmp_path, monkeypatch):
    monkeypatch.setattr(copying, "BATCH_BYTES", 5_000_000)
    sent = {f"f{n}": HASHES.content(random_file(tmp_path / f"f{n}", 4_000_000)) for n in range(4)}
    watch = Watch(lambda progress: watch.cancel() if progress.fraction > 0.2 else None)
    with pytest.raises(CancelledError):
        files.send(AREA, sent, (), (), watch)
    arrived = files.ask("arrived", area=AREA, shas=[content.sha for content in sent.values()])
    assert arrived
    assert not there(host, "f0").exists()  # all or nothing in the copy itself
    assert files.send(AREA, sent, (), (), Watch()) < 16_000_000


def test_a_disk_there_that_is_too_full_is_reported_before_anything_is_copied(host, tmp_path, monkeypatch):
    files = HostFiles(host)
    sent = {"large": HASHES.content(random_file(tmp_path / "large", 3_000_000))}
    free = {"free": 1_000_000, "why": ""}
    asked = files.ask
    monkeypatch.setattr(
        files, "ask", lambda method, *rest, **more: free if method == "free" else asked(method, *rest, **more)
    )
    with pytest.raises(WorkerError, match=r"disk of the host 'gpu' is too full: 3\.0 MB are to be copied and 1\.0 MB"):
        files.send(AREA, sent, (), (), Watch())
    files.close()


def failing_copy(source: Path, place: Path) -> copying.Command:
    """A copy of 3 MB that fails after 2.5 MB, for another reason than the disk."""
    return copying.Command(["sh", "-c", f"head -c 2500000 '{source}' > '{place}'; echo 'it broke' >&2; exit 12"], "")


def test_where_the_rest_of_a_copy_has_room_the_disk_there_is_not_called_full(files, host, tmp_path, monkeypatch):
    content = HASHES.content(random_file(tmp_path / "large", 3_000_000))
    asked, free = files.ask, iter([10_000_000, 1_000_000, 10_000_000, 100_000])
    monkeypatch.setattr(
        files,
        "ask",
        lambda method, *rest, **more: (
            {"free": next(free), "why": ""} if method == "free" else asked(method, *rest, **more)
        ),
    )
    files.facts()
    broken = failing_copy(tmp_path / "large", incoming(host) / content.sha)
    monkeypatch.setattr(files.copier, "send", lambda *_rest: broken)
    with pytest.raises(copying.CopyFailedError, match="it broke"):
        files.send(AREA, {"large": content}, (), (), Watch())
    with pytest.raises(WorkerError, match=r"too full: 0\.5 MB are to be copied and 0\.1 MB are free"):
        files.send(AREA, {"large": content}, (), (), Watch())


def test_where_the_rest_of_a_copy_has_room_the_disk_here_is_not_called_full(files, host, tmp_path, monkeypatch):
    files.facts()
    result = random_file(there(host, "a"), 3_000_000)
    results = tmp_path / "results"
    broken = failing_copy(result, results / "parts" / HASHES.content(result).sha)
    monkeypatch.setattr(files.copier, "fetch", lambda *_rest: broken)
    usage = shutil.disk_usage(tmp_path)
    for free, problem in ((1_000_000, copying.CopyFailedError), (100_000, FileWriteError)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _path, free=free: usage._replace(free=free))
        with pytest.raises(problem):
            fetched(files, results)


@pytest.fixture
def small_disk(tmp_path):
    """The folder of a disk of 4 MB."""
    if os.name == "nt" or os.geteuid() != 0:
        pytest.skip("only the superuser can mount a small disk")
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no disk can be mounted here")
    yield small
    subprocess.run(["umount", "-l", str(small)], check=True)


@pytest.mark.parametrize("program", ["rsync", "sftp"])
def test_a_disk_there_that_fills_up_in_the_middle_is_reported(host, tmp_path, small_disk, program):
    files = HostFiles(replace(host, copy_with=program, folder=str(small_disk / "there")))
    sent = {"large": HASHES.content(random_file(tmp_path / "large", 8_000_000))}
    asked = files.ask

    def as_if_free(method, *rest, **more):
        found = asked(method, *rest, **more)
        return {**found, "free": 10**12} if method == "free" and not found["why"] else found

    files.ask = as_if_free
    with pytest.raises(WorkerError) as error:
        files.send(AREA, sent, (), (), Watch())
    assert "disk is full" in error.value.message
    assert "Free some space there" in error.value.message
    files.close()


def fetched(files: HostFiles, folder: Path) -> bytes:
    """What arrives of the file 'a' of the area in a folder here."""
    found = files.contents(AREA, ["a"])
    files.fetch(AREA, found, {"a": folder / "a"}, folder / "parts", Watch())
    return (folder / "a").read_bytes()


@pytest.mark.parametrize("program", ["rsync", "sftp"])
def test_a_disk_here_that_fills_up_while_results_come_back_is_reported_and_nothing_is_lost(
    host, tmp_path, small_disk, program
):
    files = HostFiles(replace(host, copy_with=program))
    files.facts()
    result = random_file(there(host, "a"), 8_000_000)
    (small_disk / "a").write_bytes(b"the earlier result")
    with pytest.raises(FileWriteError) as error:
        fetched(files, small_disk)
    assert error.value.message.startswith("Copying from the host 'gpu' to this computer failed. ")
    assert f"'{small_disk / 'parts'}' cannot be written because the disk is full. Free some" in error.value.message
    assert (small_disk / "a").read_bytes() == b"the earlier result"
    subprocess.run(["mount", "-o", "remount,size=30m", str(small_disk)], check=True)
    assert fetched(files, small_disk) == result.read_bytes()
    files.close()


@pytest.mark.parametrize("size", [1000, 3_000_000])
def test_a_quota_here_that_is_used_up_is_reported_and_nothing_is_lost(host, files, tmp_path, monkeypatch, size):
    """As where a quota cannot be seen in what is free; small files are written here, large ones by rsync."""
    files.facts()
    result = random_file(there(host, "a"), size)

    def refused(*_rest, **_more):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    failing = copying.Command(["sh", "-c", "echo 'write failed: Disk quota exceeded (122)' >&2; exit 11"], "")
    with monkeypatch.context() as quota:
        quota.setattr(tempfile, "TemporaryFile", refused)
        quota.setattr(Path, "write_bytes", refused)
        quota.setattr(files.copier, "fetch", lambda *_rest: failing)
        with pytest.raises(FileWriteError) as error:
            fetched(files, tmp_path / "results")
    assert error.value.message.startswith("Copying from the host 'gpu' to this computer failed. '" + str(tmp_path))
    assert "your disk quota is used up. Free some space and try again" in error.value.message
    assert fetched(files, tmp_path / "results") == result.read_bytes()


def test_files_of_the_same_content_all_come_back(files, host, tmp_path):
    files.facts()
    for name in "abc":
        there(host, name).parent.mkdir(parents=True, exist_ok=True)
        there(host, name).write_bytes(b"empty")
    found = files.contents(AREA, ["a", "b", "c"])
    files.fetch(AREA, found, {name: tmp_path / name / "file" for name in found}, tmp_path / "parts", Watch())
    assert [(tmp_path / name / "file").read_bytes() for name in "abc"] == [b"empty"] * 3


def test_a_file_that_changes_while_it_is_copied_is_an_error(files, tmp_path):
    path = random_file(tmp_path / "a", 1000)
    old = HASHES.content(path)
    random_file(path, 1000)
    with pytest.raises(BadInputError, match="changed while it was copied"):
        files.send(AREA, {"a": old}, (), (), Watch())


def test_a_file_that_changes_there_while_it_is_fetched_is_an_error(host, files, tmp_path):
    files.send(AREA, {"a": content_of(b"one")}, (), (), Watch())
    found = files.ask("contents", area=AREA, under=["a"])
    there(host, "a").write_bytes(b"two")
    with pytest.raises(WorkerError, match="changed on the host"):
        files.fetch(AREA, found, {"a": tmp_path / "a"}, tmp_path / "parts", Watch())
    assert not (tmp_path / "a").exists()


def test_a_copy_is_used_by_one_at_a_time(host, files, monkeypatch):
    monkeypatch.setattr("SparseAnnotateLib.remote.host_files._HOLD_SECONDS", 0.3)
    files.hold(AREA, Watch())
    other = HostFiles(host)
    with pytest.raises(BusyError, match="Another window or computer is using this cohort's copy"):
        other.hold(AREA, Watch())
    # One that has lost its connection holds nothing.
    files._connection.kill()
    other.hold(AREA, Watch())
    # It learns that the other one may have changed what it held.
    with pytest.raises(ConnectionLostError, match="broke"):
        files.contents(AREA, ["a"])
    files.release(AREA)
    with pytest.raises(BusyError):
        files.hold(AREA, Watch())
    other.close()


def test_a_program_there_that_never_answers_is_given_up(host, files, monkeypatch):
    monkeypatch.setattr("SparseAnnotateLib.remote.host_connection._FIRST_ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(files._connection, "_command", lambda: files.ssh.command(["sleep", "60"]))
    with pytest.raises(ConnectionLostError, match=r"accepts the connection, but .* did not answer there within 0 s"):
        files.facts()
    watch = Watch()
    watch.cancel()
    with pytest.raises(CancelledError):
        files.facts(watch)


def test_a_connection_that_breaks_in_the_middle_of_a_request_is_reported_and_made_again(host, server, files):
    files.facts()
    killer = threading.Timer(0.5, server.kill_sessions)
    killer.start()
    with pytest.raises(ConnectionLostError, match="connection to the host 'gpu' broke") as error:
        files.ask("run", words=["sleep", "30"])
    killer.join()
    assert error.value.may_return
    assert files.ask("free")["free"] > 0


def test_a_killed_program_there_is_reported(server, files):
    files.facts()
    killer = threading.Timer(0.5, server.kill_sessions, ["on_host.py"])
    killer.start()
    with pytest.raises(WorkerError, match="broke|ended"):
        files.ask("run", words=["sleep", "30"])
    killer.join()


def test_nothing_outside_its_folder_can_be_named(files):
    with pytest.raises(WorkerError, match="is not a folder of SparseAnnotate"):
        files.ask("contents", area="../..", under=[""])


@pytest.mark.parametrize(
    "name", ["../x", "runs/first/../../x", "/etc/x", "runs/first//x", "runs/first/C:x", "runs/first/..\\\\x", "other/x"]
)
def test_a_host_cannot_name_files_elsewhere_here(files, monkeypatch, name):
    monkeypatch.setattr(files, "ask", lambda method, **more: {"runs/first/a": [1, "0" * 64], name: [1, "0" * 64]})
    with pytest.raises(WorkerError, match="names a file that it was not asked for"):
        files.contents(AREA, ["runs/first"])


def test_a_host_cannot_name_contents_that_are_no_hashes(files, monkeypatch):
    monkeypatch.setattr(files, "ask", lambda method, **more: {"runs/first/a": [1, "../x"]})
    with pytest.raises(WorkerError, match="names a file that it was not asked for"):
        files.contents(AREA, ["runs/first"])


def test_a_file_whose_name_would_be_another_command_is_refused(files, tmp_path):
    with pytest.raises(BadInputError, match="control characters in its name"):
        copying.Sftp(files.ssh).send({"0": tmp_path / "a\nrm b"}, {}, "/there")


def test_a_folder_with_characters_that_shells_read_is_refused(host):
    files = HostFiles(replace(host, folder=host.folder + "/$(id)"))
    with pytest.raises(WorkerError, match=r"because of the character '\$'"):
        files.facts()
    files.close()


def test_the_program_that_is_sent_can_be_read_by_an_old_python():
    text = Path(on_host.__file__).read_text()
    ast.parse(text, feature_version=(3, 6))
    assert "from __future__ import annotations" not in text


def test_what_rsync_says_of_a_broken_line_is_told_from_a_full_disk():
    lines = ["rsync: [sender] write error: Broken pipe (32)", "rsync error: error in socket IO (code 10) at io.c(949)"]
    assert "broke" in copying._failure("gpu", "rsync", 10, lines).message
    full = 'rsync: [receiver] write failed on "/x": No space left on device (28)'
    assert "No space left" in copying._failure("gpu", "rsync", 10, [full, *lines]).message
