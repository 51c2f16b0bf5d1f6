"""A run on a host and here, without anything that trains it: which of the two is continued, and what is kept."""

from __future__ import annotations

import shlex
import shutil
import threading
from pathlib import Path

import pytest

from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import CancelledError, Cohort, Watch
from SparseAnnotateLib.core.errors import BadInputError, FileWriteError, RunError, WorkerError
from SparseAnnotateLib.core.folder_lock import FolderLock
from SparseAnnotateLib.remote import host_files, run_on_host
from SparseAnnotateLib.remote.cohort_record import read_record
from SparseAnnotateLib.remote.host_files import HostFiles
from SparseAnnotateLib.remote.run_on_host import RunOnHost, give_up, require_here, runs_there
from SparseAnnotateLib.remote.where import Needs
from SparseAnnotateLib.worker.jobs.requests import SubmitRequest, submit
from SparseAnnotateLib.worker.train_request import TrainRequest, train
from ssh_server import needs_ssh_server

pytestmark = needs_ssh_server


class Both:
    """The run 'r' of a cohort, and its folders here and there."""

    def __init__(self, relay, shared_host, cohort: Cohort):
        self.run = RunOnHost(relay._session, cohort, "r")
        relay._session.identity(self.run.files, ["a"])
        relay._session.files.facts()
        self.here, self.area = self.run.folder.path, Path(shared_host.folder) / self.run.area
        self.there = self.area / "runs" / "r"

    def begin(self, is_live: bool = True) -> None:
        with self.run.held(Watch()):
            self.run.begin(Needs(("a",), is_whole=False), Watch(), lambda known: not known.files, is_live=is_live)

    def end(self) -> None:
        self.run.bring_back(Watch(), everything=True, is_ended=True)
        self.run.note_brought_back()


def write(folder: Path, **contents: str) -> None:
    """Write the files of a run."""
    for name, content in contents.items():
        path = folder / {"plan": "plan.json", "card": "card.json", "weights": "2d/weights.safetensors"}.get(name, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def read(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def both(relay, shared_host, tiny_cohort) -> Both:
    both = Both(relay, shared_host, tiny_cohort)
    both.begin()
    write(both.there, plan="1", card="1", weights="1", metrics="1")
    return both


def test_what_is_removed_there_stays_here_and_goes_there_again(both):
    both.run.bring_back(Watch(), everything=True)
    whole = read(both.here)
    assert len(whole) == 4
    # While it learns: what it writes then is no run.
    shutil.rmtree(both.there)
    write(both.there, metrics="2")
    for is_ended in (False, True):
        with pytest.raises(WorkerError, match="removed on the host 'gpu', such as 'runs/r/2d/weights.safetensors'"):
            both.run.bring_back(Watch(), everything=True, is_ended=is_ended)
    assert read(both.here) == whole
    both.begin()
    assert read(both.there) == whole
    # What is only here is not taken for something that was removed there.
    both.end()
    write(both.here, notes="mine")
    both.begin()
    both.end()
    assert read(both.here) == {**whole, "notes": "mine"}


def test_a_run_that_was_trained_again_here_is_not_mixed_with_the_one_there(both):
    both.end()
    shutil.rmtree(both.here)
    write(both.here, plan="of another run")
    both.begin()
    assert read(both.there) == {"plan.json": "of another run"}


@pytest.mark.parametrize("is_deleted", [False, True])
def test_a_run_whose_copying_was_cancelled_is_still_this_cohort_s(both, tiny_cohort, monkeypatch, is_deleted):
    both.end()
    if is_deleted:
        shutil.rmtree(both.here)

    def cancelled(*_rest):
        raise CancelledError("Cancelled.")

    with monkeypatch.context() as copying:
        copying.setattr(run_on_host, "send_copy", cancelled)
        with pytest.raises(CancelledError):
            both.begin()
    assert not both.run.require_ours(Watch())
    require_here(tiny_cohort, "r")  # nothing is trained there
    both.begin()
    assert both.there.exists() is not is_deleted
    assert both.run.require_ours(Watch())


def test_a_copy_that_ends_before_it_is_remembered_is_no_change_made_here(both, relay, tiny_cohort, monkeypatch):
    def full(*_rest):
        raise FileWriteError("The disk is full.")

    put = HostFiles.put_in_place
    with monkeypatch.context() as copying:
        copying.setattr(
            HostFiles, "put_in_place", lambda *rest: (put(*rest), copying.setattr(run_on_host, "write_record", full))
        )
        with pytest.raises(FileWriteError):
            both.run.bring_back(Watch(), everything=True)
    assert both.here.exists()
    write(both.there, plan="2", weights="2", metrics="2")
    both.run = RunOnHost(relay._session, tiny_cohort, "r")
    both.begin()
    both.end()
    assert read(both.here) == read(both.there)
    assert read(both.here)["plan.json"] == "2"


def test_a_copy_of_a_cohort_that_was_made_while_a_run_learned_has_its_own_run_once_it_is_brought_back(
    both, relay, shared_host, tiny_cohort
):
    both.run.bring_back(Watch(), everything=True)
    shutil.copytree(tiny_cohort.folder, tiny_cohort.folder.parent / "other")
    other = Both(relay, shared_host, Cohort.open(tiny_cohort.folder.parent / "other"))
    write(both.there, weights="2")
    both.end()
    other.begin()
    assert read(other.there)["2d/weights.safetensors"] == "1"
    # It is the other's now, until it is brought back.
    with pytest.raises(RunError, match="Another copy of this cohort trains a run 'r'"):
        both.begin()
    other.end()
    both.begin()
    assert read(both.there)["2d/weights.safetensors"] == "2"


def test_a_process_there_that_was_cut_off_is_waited_for(both):
    with FolderLock(both.there, "training"):
        both.run.await_unused(seconds=0.0)
        waiting = threading.Thread(target=both.run.await_unused)
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
    waiting.join()


def test_two_copies_of_a_cohort_neither_share_a_run_nor_keep_each_other_from_theirs(
    both, relay, shared_host, tiny_cohort
):
    both.end()
    shutil.copytree(tiny_cohort.folder, tiny_cohort.folder.parent / "other")
    other = Both(relay, shared_host, Cohort.open(tiny_cohort.folder.parent / "other"))
    assert other.area == both.area
    both.begin()
    write(both.there, plan="2", weights="2")
    with pytest.raises(RunError, match="Another copy of this cohort trains a run 'r'"):
        other.run.require_ours(Watch())
    # Also one that comes back when its connection was broken.
    with pytest.raises(RunError, match="Another copy of this cohort trains a run 'r'"):
        other.begin()
    both.end()
    # Nothing is lost now when the other begins: from what it has itself.
    assert not other.run.require_ours(Watch())
    other.begin()
    assert read(other.there) == read(other.here)
    other.end()
    assert read(both.here)["2d/weights.safetensors"] == "2"
    assert read(other.here)["2d/weights.safetensors"] == "1"
    both.begin()
    assert read(both.there) == read(both.here)
    assert read_record(tiny_cohort.state_folder).runs["r"].is_live


def test_what_came_in_part_of_a_file_that_has_changed_there_since_is_removed(both, monkeypatch):
    write(both.there, weights="x" * (2 << 20))

    def cancelled(_command, *_rest):
        (incoming / ("0" * 64)).write_text("xxx")
        raise CancelledError("Cancelled.")

    incoming = both.run.files.parts / "training-r"
    with monkeypatch.context() as copying:
        copying.setattr(host_files, "run_command", cancelled)
        with pytest.raises(CancelledError):
            both.run.bring_back(Watch(), everything=True)
    assert list(incoming.iterdir())
    write(both.there, weights="2")
    both.run.bring_back(Watch(), everything=True)
    assert read(both.here) == read(both.there)
    assert not list(incoming.iterdir())


def test_two_windows_that_follow_the_same_training_do_not_stop_each_other(both, relay, tiny_cohort, monkeypatch):
    other = RunOnHost(relay._session, tiny_cohort, "r")
    put = HostFiles.put_in_place

    def second(*rest):
        copying.setattr(HostFiles, "put_in_place", put)
        other.bring_back(Watch(), everything=True)
        return put(*rest)

    with monkeypatch.context() as copying:
        copying.setattr(HostFiles, "put_in_place", second)
        assert both.run.bring_back(Watch(), everything=True)
    assert read(both.here) == read(both.there)

    def newer(*rest):
        # The parts of the first one are of no use to the second.
        write(both.there, metrics="3")
        return second(*rest)

    write(both.there, metrics="2")
    with monkeypatch.context() as copying:
        copying.setattr(HostFiles, "put_in_place", newer)
        assert not both.run.bring_back(Watch(), everything=True)
    assert read(both.here) == read(both.there)
    # What the other one has copied back is no change made here, also when it comes while this one looks.
    require = RunOnHost._require_there

    def others_first(self, there):
        copying.setattr(RunOnHost, "_require_there", require)
        write(both.there, metrics="5")
        other.bring_back(Watch(), everything=True)
        return require(self, there)

    write(both.there, metrics="4")
    with monkeypatch.context() as copying:
        copying.setattr(RunOnHost, "_require_there", others_first)
        assert not both.run.bring_back(Watch(), everything=True)
    assert read(both.here) == read(both.there)
    for number, run in enumerate([both.run, other, both.run, other]):
        write(both.there, metrics=str(number), weights=str(number))
        assert run.bring_back(Watch(), everything=True)
        assert read(both.here) == read(both.there)


def test_a_run_that_is_left_there_is_not_trained_here(both, tiny_cohort):
    choice = {"cohort": str(tiny_cohort.folder), "run": "r"}
    with pytest.raises(RunError, match="The run 'r' is being trained on the host 'gpu', or was left there. Compute on"):
        train(TrainRequest(**choice, live=True), Watch())
    job = SubmitRequest(choice["cohort"], "train", {"run": "r"}, engine="local")
    with pytest.raises(RunError, match="is being trained on the host 'gpu'"):
        submit(job, Watch())
    both.end()
    require_here(tiny_cohort, "r")


def forget(error: RunError) -> int:
    """Do what a message proposes where a host is gone for good; the exit code."""
    command = shlex.split(error.message[error.message.index("sparse-annotate") :].removesuffix("'."))
    return main(command[1:])


def test_a_run_whose_host_is_gone_for_good_is_continued_here(both, tiny_cohort):
    both.run.bring_back(Watch(), everything=True)
    whole = read(both.here)
    with pytest.raises(RunError, match="If the host is gone for good") as left:
        require_here(tiny_cohort, "r")
    assert forget(left.value) == 0
    require_here(tiny_cohort, "r")
    assert read(both.here) == whole
    assert runs_there(tiny_cohort.state_folder) == {}
    assert forget(left.value) != 0
    with pytest.raises(BadInputError, match="No run 'r' of the cohort 'balls' is left on the host 'gpu'"):
        give_up(tiny_cohort, "r", "gpu")
    # The host comes back: what it has learned since is continued if nothing was learned here.
    write(both.there, weights="2")
    both.begin()
    assert read(both.there)["2d/weights.safetensors"] == "2"
    both.run.bring_back(Watch(), everything=True)
    give_up(tiny_cohort, "r", "gpu")
    write(both.here, weights="here")
    write(both.there, weights="there")
    with pytest.raises(RunError, match="was continued both on this computer and on the host 'gpu'"):
        both.begin()
    assert read(both.here)["2d/weights.safetensors"] == "here"
    assert read(both.there)["2d/weights.safetensors"] == "there"


def test_a_job_whose_host_comes_back_after_it_was_given_up_is_not_removed_there(relay, shared_host, tiny_cohort):
    both = Both(relay, shared_host, tiny_cohort)
    both.begin(is_live=False)
    write(both.there, plan="1", weights="1")
    assert "Nothing of it had been copied back" in give_up(tiny_cohort, "r", "gpu")
    with pytest.raises(RunError, match="'r' was given up, but is still on the host 'gpu'"):
        both.begin(is_live=False)
    assert read(both.there)["2d/weights.safetensors"] == "1"
    # It is expected again, unless it was continued here.
    both.run.take_back(Watch())
    assert runs_there(tiny_cohort.state_folder) == {"r": "gpu"}
    both.run.bring_back(Watch(), everything=True)
    give_up(tiny_cohort, "r", "gpu")
    write(both.here, weights="here")
    both.run = RunOnHost(relay._session, tiny_cohort, "r")
    both.run.take_back(Watch())
    assert runs_there(tiny_cohort.state_folder) == {}
    with pytest.raises(RunError, match="'r' was given up, but is still on the host 'gpu'"):
        both.begin(is_live=False)
    shutil.rmtree(both.area)
    both.begin(is_live=False)
    assert not read_record(tiny_cohort.state_folder).runs["r"].is_given_up


def test_another_host_continues_what_was_given_up(both, tiny_cohort, monkeypatch):
    both.run.bring_back(Watch(), everything=True)
    monkeypatch.setattr(RunOnHost, "host", "other")
    with pytest.raises(RunError, match="is being trained on the host 'gpu'"):
        both.begin()
    give_up(tiny_cohort, "r", "gpu")
    both.run = RunOnHost(both.run._session, tiny_cohort, "r")
    shutil.rmtree(both.area)
    both.begin()
    assert read(both.there) == read(both.here)
    assert runs_there(tiny_cohort.state_folder) == {"r": "other"}
