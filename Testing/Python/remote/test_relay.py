"""Requests through the relay: what goes to a host, what comes back, and what must not."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from small_volumes import ball, noisy_image
from SparseAnnotateLib.client import BlockingWorker
from SparseAnnotateLib.core import Cohort, LedgerEntry, Plane, SparseAnnotation, VolumeGeometry, Watch, WorkerError
from SparseAnnotateLib.core.errors import BadInputError, CancelledError
from SparseAnnotateLib.core.failed_cases import PartlyDoneError
from SparseAnnotateLib.core.images import read_facts, write_image
from SparseAnnotateLib.core.origin import Origin
from SparseAnnotateLib.remote import cohort_copy, host_files, requests_there
from SparseAnnotateLib.remote.cohort_copy import CohortFiles
from SparseAnnotateLib.remote.cohort_record import record_of
from SparseAnnotateLib.remote.host_files import HostFiles
from SparseAnnotateLib.remote.hosts import Host, host_named
from SparseAnnotateLib.remote.plain_images import is_plain
from SparseAnnotateLib.remote.relay import Relay, relay_command
from SparseAnnotateLib.remote.requests_there import CopyingNotAllowedError, HostSession, TextHere, answer_there
from SparseAnnotateLib.remote.ssh_errors import ConnectionLostError
from SparseAnnotateLib.remote.where import AS_A_JOB, HERE, LEARNING_THERE, THERE, WHERE, require_images, where
from SparseAnnotateLib.worker.requests import METHODS
from ssh_server import needs_ssh_server

PERSON = "Doe^Jane"
LABELS = ball((16, 18, 34), 7.0) + ball((16, 18, 34), 3.5)
GEOMETRY = VolumeGeometry.from_spacing(LABELS.shape, (2.0, 1.0, 1.0))


@pytest.fixture
def cohort(tmp_path) -> Cohort:
    """Two cases whose images lie elsewhere under names of persons; that of 'b' has DICOM tags in its header."""
    cohort = Cohort.create(tmp_path / "cohort of Jane", "Jane's cohort", {1: "shell", 2: "kernel"})
    for number, name in enumerate("ab"):
        path = tmp_path / "scans" / f"{PERSON}_{name}.nrrd"
        write_image(path, noisy_image(LABELS, number), GEOMETRY, compress=False)
        if name == "b":
            image = sitk.ReadImage(str(path))
            image.SetMetaData("0010|0010", PERSON)
            sitk.WriteImage(image, str(path))
        cohort.add_case(name, path)
        cohort.save_annotation(name, SparseAnnotation.from_slices(LABELS, GEOMETRY, Plane.AXIAL, range(2, 16, 3)))
    return cohort


def recommending(cohort: Cohort, **more) -> dict:
    """A request that needs no torch."""
    budget = {"per_volume": 8}
    return {"cohort": str(cohort.folder), "budget": budget, "strategy": "fixed_interval", **more}


def test_every_request_has_its_place():
    assert set(WHERE) == set(METHODS)
    assert where("train", {"cohort": "c", "run": "r"}) == AS_A_JOB
    assert where("train", {"cohort": "c", "run": "r", "live": True}) == LEARNING_THERE
    assert where("fill", {"cohort": "c"}) == HERE
    assert where("fill", {"cohort": "c", "run": "first"}) == THERE
    assert where("recommend", {"strategy": "fixed_interval"}) == HERE
    assert where("recommend", {"strategy": "representative", "features": "mae"}) == THERE
    assert where("recommend", {"strategy": "uncertainty"}) == THERE
    assert where("recommend", {"strategy": "no such"}) == HERE


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("recommend", {"strategy": "uncertainty", "cases": ["a"]}),
        ("slice", {"case": "a", "run": "r", "plane": "axial", "index": 3}),
        ("plan_training", {"run": "r"}),
        ("fill", {"method": "propagation", "cases": ["a"]}),
        ("predict", {"run": "r", "cases": ["a"]}),
    ],
)
def test_an_image_that_was_not_drawn_on_is_refused_before_there_is_a_connection(cohort, method, fields):
    write_image(cohort.image_path("a"), noisy_image(LABELS, 7), GEOMETRY)
    session = HostSession(Host("no-such-host", folder="/nowhere"), is_allowed=True)
    with pytest.raises(BadInputError, match="'a' is not the one that was drawn on"):
        answer_there(session, method, {"cohort": str(cohort.folder), **fields}, Watch())


def test_what_a_host_can_do_although_an_image_was_not_drawn_on_is_not_refused(cohort):
    write_image(cohort.image_path("a"), noisy_image(LABELS, 7), GEOMETRY)
    for method, fields in (("fill", {}), ("predict", {}), ("predict", {"model_only": True})):
        require_images(method, fields, cohort, ("a", "b"), Watch())
    require_images("predict", {"model_only": True}, cohort, ("a",), Watch())
    require_images("train", {}, cohort, ("b",), Watch())


@needs_ssh_server
def test_the_first_use_of_a_host_says_what_would_be_copied_and_asks(shared_host, cohort):
    relay = Relay(shared_host.name)
    with pytest.raises(CopyingNotAllowedError, match=r"the images of 2 cases .*--allow-copying") as error:
        relay.answer("recommend", recommending(cohort), Watch(), always_there=True)
    assert not (Path(shared_host.folder) / "cohorts").exists() or not list(
        (Path(shared_host.folder) / "cohorts").iterdir()
    )
    relay.close()
    files, identity = CohortFiles(cohort), record_of(cohort.state_folder).identity
    assert HostSession(shared_host, is_allowed=True).identity(files, "ab") == identity
    # It is remembered for this cohort and host; another cohort is asked about again.
    assert host_named(shared_host.name).cohorts == (identity,)
    assert HostSession(shared_host).identity(files, "ab") == identity
    assert "DICOM headers" in error.value.message


@needs_ssh_server
def test_nothing_that_names_a_person_or_a_computer_goes_there(relay, shared_host, cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "laptop-of-jane")
    relay.answer("recommend", recommending(cohort), Watch(), always_there=True)
    relay.answer("fill", {"cohort": str(cohort.folder), "method": "shape"}, Watch(), always_there=True)
    folder = Path(shared_host.folder) / "cohorts" / record_of(cohort.state_folder).identity
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {"images/a.nrrd", "images/b.nrrd"} <= {path.relative_to(folder / "copy").as_posix() for path in files}
    private = [PERSON, "Jane", "0010|0010", str(tmp_path / "scans"), str(cohort.folder)]
    for path in files:
        if path.name.startswith("."):
            continue  # a lock of the host itself
        content = path.read_bytes()
        for text in private:
            assert text.encode() not in content, path
            assert text not in str(path.relative_to(folder))
    sent = CohortFiles(cohort).copy(["a", "b"], True, (), (), (), Watch()).files
    for content in sent.values():
        data = content.data or content.path.read_bytes()
        for text in (socket.gethostname(), f"/{getpass.getuser()}/"):
            assert text.encode() not in data


@needs_ssh_server
def test_results_say_that_they_were_made_from_the_images_that_are_here(relay, cohort):
    """Also of an image that was sent without its header."""
    assert [is_plain(cohort.image_path(name)) for name in "ab"] == [True, False]
    rows = relay.answer("fill", {"cohort": str(cohort.folder), "method": "shape"}, Watch(), always_there=True)
    for name, row in zip("ab", rows, strict=True):
        assert row["path"] == str(cohort.fill_path(name))
        origin = Origin.from_facts(read_facts(cohort.fill_path(name)))
        assert origin.image
        assert origin.changes(cohort.origin(name, method=origin.method)) == ""
    # The same work here gives the same.
    there = sitk.GetArrayFromImage(sitk.ReadImage(str(cohort.fill_path("b"))))
    METHODS["fill"][1](METHODS["fill"][0](str(cohort.folder), method="shape"), Watch())
    np.testing.assert_array_equal(there, sitk.GetArrayFromImage(sitk.ReadImage(str(cohort.fill_path("b")))))


@needs_ssh_server
def test_recommended_slices_come_back_into_the_ledgers(relay, cohort):
    rows = relay.answer("recommend", recommending(cohort), Watch(), always_there=True)
    listed = {(row["case"], row["plane"], row["index"]) for row in rows}
    assert listed == {(n, e.plane.value, e.index) for n in "ab" for e in cohort.ledger(n).todo}
    assert all(len(cohort.ledger(name).decided) == 5 for name in "ab")


@needs_ssh_server
def test_a_case_whose_image_was_replaced_is_named_and_the_others_have_their_slices(relay, cohort):
    write_image(cohort.image_path("a"), noisy_image(LABELS, 7), GEOMETRY)
    cohort.save_recommended({"a": [LedgerEntry(Plane.AXIAL, 1, order=1)]})
    before = cohort.ledger("a")
    with pytest.raises(
        PartlyDoneError, match=r"1 case was left out. Slices were recommended for the other one.*'a': The image"
    ) as error:
        relay.answer("recommend", recommending(cohort), Watch(), always_there=True)
    assert {row["case"] for row in error.value.shown} == {"b"}
    assert error.value.message.endswith("The case 'a' keeps its earlier slices to do.")
    assert cohort.ledger("b").todo
    assert cohort.ledger("a") == before


@needs_ssh_server
def test_a_case_that_a_host_cannot_use_does_not_keep_the_slices_of_the_others_there(relay, cohort):
    path = cohort.folder / "images" / "cut.nii"
    write_image(path, noisy_image(LABELS, 7), GEOMETRY)
    cohort.add_case("cut", path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(PartlyDoneError, match=r"left out. Slices were recommended for the other 2. 'cut': ") as error:
        relay.answer("recommend", recommending(cohort), Watch(), always_there=True)
    assert {row["case"] for row in error.value.shown} == {"a", "b"}
    listed = {(row["case"], row["plane"], row["index"]) for row in error.value.shown}
    assert listed == {(n, e.plane.value, e.index) for n in "ab" for e in cohort.ledger(n).todo}


@pytest.mark.parametrize("is_there", [pytest.param(True, marks=needs_ssh_server), False])
def test_earlier_slices_of_cases_left_out_stay_and_those_of_the_others_do_not(request, cohort, is_there):
    path = cohort.folder / "images" / "cut.nii"
    write_image(path, noisy_image(LABELS, 7), GEOMETRY)
    cohort.add_case("cut", path)
    path.write_bytes(path.read_bytes()[:-1000])
    cohort.save_recommended({name: [LedgerEntry(Plane.AXIAL, 1, order=1)] for name in ("a", "b", "cut")})
    cohort.save_annotation("b", SparseAnnotation.from_slices(LABELS, GEOMETRY, Plane.AXIAL, range(2, 14)))
    cohort.save_recommended({"b": [LedgerEntry(Plane.AXIAL, 1, order=1)]})
    assert cohort.ledger("b").todo
    asked = recommending(cohort, budget={"per_volume": 12})  # as many as 'b' has
    relay = request.getfixturevalue("relay") if is_there else None
    with (
        BlockingWorker() as here,
        pytest.raises(PartlyDoneError, match="The case 'cut' keeps its earlier slices to do.") as error,
    ):
        relay.answer("recommend", asked, Watch(), always_there=True) if relay else here.call("recommend", asked)
    assert error.value.failed == ("cut",)
    assert {row["case"] for row in error.value.shown} == {"a"}
    assert [len(cohort.ledger(name).todo) for name in ("a", "b", "cut")] == [7, 0, 1]


@pytest.mark.parametrize("damages", ["the image that was drawn on", "a file"])
@needs_ssh_server
def test_where_the_budget_is_used_up_there_nothing_is_said_to_be_recommended(relay, cohort, damages):
    path = cohort.folder / "images" / "cut.nii"
    write_image(path, noisy_image(LABELS, 7), GEOMETRY)
    cohort.add_case("cut", path)
    if damages == "a file":
        path.write_bytes(path.read_bytes()[:-1000])
    else:
        cohort.save_annotation("cut", SparseAnnotation.from_slices(LABELS, GEOMETRY, Plane.AXIAL, [5]))
        write_image(path, noisy_image(LABELS, 8), GEOMETRY)
    cohort.save_recommended({name: [LedgerEntry(Plane.AXIAL, 1, order=1)] for name in ("a", "b", "cut")})
    asked = recommending(cohort, budget={"per_volume": 1})
    with pytest.raises(PartlyDoneError, match="left out. No more slices were recommended for the other 2.*keeps its"):
        relay.answer("recommend", asked, Watch(), always_there=True)
    assert [len(cohort.ledger(name).todo) for name in ("a", "b", "cut")] == [0, 0, 1]


@needs_ssh_server
def test_a_case_that_cannot_be_filled_there_is_named_and_the_others_are_filled(relay, cohort):
    write_image(cohort.image_path("a"), noisy_image(LABELS, 7), GEOMETRY)
    request = {"cohort": str(cohort.folder), "method": "shape"}
    with pytest.raises(PartlyDoneError, match=r"1 case was not filled \(others filled: 1\):\n'a': .*image") as error:
        relay.answer("fill", request, Watch(), always_there=True)
    (row,) = error.value.shown
    assert (row["case"], row["path"]) == ("b", str(cohort.fill_path("b")))
    assert cohort.fill_path("b").is_file()
    assert not cohort.fill_path("a").is_file()


def test_images_that_were_found_to_be_readable_are_not_read_again_to_be_sent(cohort, monkeypatch):
    for name in "ab":
        os.utime(cohort.image_path(name), (1e9, 1e9))
    read, sha = [], host_files.file_sha
    monkeypatch.setattr(host_files, "file_sha", lambda path, watch=None: read.append(path) or sha(path, watch))
    assert not CohortFiles(cohort).not_to_send("ab", Watch())
    CohortFiles(cohort).copy("ab", False, (), (), (), Watch())
    assert read.count(cohort.image_path("a")) == 1


def damage_ledger(cohort: Cohort) -> None:
    path = cohort.annotation_files("a")[0]
    path.write_text(path.read_text()[:40])


def damage_header(cohort: Cohort) -> None:
    path = cohort.image_path("b")
    path.write_bytes(b"no header" + path.read_bytes()[9:])


def remove_image(cohort: Cohort) -> None:
    cohort.image_path("a").unlink()


@needs_ssh_server
@pytest.mark.parametrize(
    ("damage", "case", "words"),
    [
        (damage_ledger, "a", "not valid JSON"),
        (damage_header, "b", "cannot be read as an image"),
        (remove_image, "a", "does not exist"),
    ],
)
@pytest.mark.parametrize("method", ["fill", "recommend"])
def test_a_damaged_case_is_named_and_the_others_are_done_there(relay, cohort, method, damage, case, words):
    damage(cohort)
    request = {"cohort": str(cohort.folder), "method": "shape"} if method == "fill" else recommending(cohort)
    with pytest.raises(PartlyDoneError) as error:
        relay.answer(method, request, Watch(), always_there=True)
    assert f"'{case}': " in error.value.message
    assert words in error.value.message
    assert {row["case"] for row in error.value.shown} == {"a", "b"} - {case}


@needs_ssh_server
@pytest.mark.parametrize("method", ["fill", "recommend"])
def test_cases_that_cannot_be_sent_are_named_though_all_others_fail_there(relay, cohort, method):
    remove_image(cohort)
    write_image(cohort.image_path("b"), noisy_image(LABELS, 7), GEOMETRY)
    request = {"cohort": str(cohort.folder), "method": "shape"} if method == "fill" else recommending(cohort)
    with pytest.raises(BadInputError, match="2 cases ") as error:
        relay.answer(method, request, Watch(), always_there=True)
    assert re.search("'a': .*a.nrrd' does not exist", error.value.message)
    assert "'b': " in error.value.message
    assert "not the one that was drawn on" in error.value.message


@needs_ssh_server
def test_all_cases_that_fail_here_and_on_the_host_are_named(relay, cohort):
    remove_image(cohort)
    for number, name in enumerate("cd"):
        cohort.add_case(name, noisy_image(LABELS, number), GEOMETRY)
    request = {"cohort": str(cohort.folder), "method": "shape"}
    with pytest.raises(BadInputError) as one:
        relay.answer("fill", {**request, "cases": ["a", "c"]}, Watch(), always_there=True)
    assert one.value.message.startswith("2 cases were not filled (others filled: 0):\n'a': ")
    assert "\n'c': On 'gpu': " in one.value.message
    with pytest.raises(BadInputError) as several:
        relay.answer("fill", {**request, "cases": ["a", "c", "d"]}, Watch(), always_there=True)
    assert several.value.message.startswith("1 case was not sent to the host:\n'a': ")
    assert "\nOn 'gpu': 2 cases were not filled (others filled: 0):\n'c': " in several.value.message
    assert "\n'd': " in several.value.message


@needs_ssh_server
def test_all_cases_that_cannot_be_sent_are_named(relay, cohort):
    damage_header(cohort)
    remove_image(cohort)
    with pytest.raises(BadInputError, match="2 cases were not filled") as error:
        relay.answer("fill", {"cohort": str(cohort.folder), "method": "shape"}, Watch(), always_there=True)
    assert "\n'a': " in error.value.message
    assert "\n'b': " in error.value.message


def drawn_more(cohort: Cohort) -> None:
    """Draw another slice of the case 'a'."""
    cohort.save_annotation("a", SparseAnnotation.from_slices(LABELS, GEOMETRY, Plane.AXIAL, [2, 3, 5, 8, 11, 14]))


@needs_ssh_server
def test_what_changed_here_while_a_host_worked_on_it_is_not_overwritten(relay, cohort, monkeypatch):
    """Also in the last moment, while results are being copied."""
    fetch = HostFiles.fetch_parts

    def drawing(self, *rest):
        drawn_more(cohort)
        return fetch(self, *rest)

    monkeypatch.setattr(HostFiles, "fetch_parts", drawing)
    fill = {"cohort": str(cohort.folder), "method": "shape"}
    with pytest.raises(BadInputError, match="The case 'a' was changed here while 'gpu' worked on it"):
        relay.answer("fill", fill, Watch(), always_there=True)
    assert not cohort.fill_path("a").exists()
    assert cohort.fill_path("b").exists()  # that of the other case came back
    assert not list(CohortFiles(cohort).parts.iterdir())

    def filling(self, *rest):
        METHODS["fill"][1](METHODS["fill"][0](str(cohort.folder), method="shape"), Watch())
        return fetch(self, *rest)

    # Also when the result is the same as the one that was here before.
    cohort.save_annotation("a", SparseAnnotation.from_slices(LABELS, GEOMETRY, Plane.AXIAL, [2, 5, 8, 11, 14]))
    METHODS["fill"][1](METHODS["fill"][0](str(cohort.folder), method="shape"), Watch())
    before = cohort.fill_path("a").read_bytes()
    with pytest.raises(BadInputError, match="The case 'a' was changed here while 'gpu' worked on it"):
        relay.answer("fill", fill, Watch(), always_there=True)
    assert cohort.fill_path("a").read_bytes() == before

    # A result that was made here meanwhile is not replaced by another one.
    shutil.rmtree(cohort.fill_path("a").parent)
    monkeypatch.setattr(HostFiles, "fetch_parts", filling)
    with pytest.raises(BadInputError, match="2 cases were changed here"):
        relay.answer("fill", fill, Watch(), always_there=True)


def test_which_image_was_drawn_on_goes_to_the_host_and_is_no_part_of_what_results_are_made_from(cohort):
    cohort.forget_image("b")
    copy = CohortFiles(cohort).copy(["a", "b"], False, (), (), (), Watch())
    assert "annotations/drawn_on/a.json" in copy.files
    assert "annotations/drawn_on/b.json" in copy.absent
    assert str(cohort.drawn_on_path("a")) not in copy.inputs["a"]


def test_an_image_that_changes_while_its_header_is_removed_is_read_again(cohort, monkeypatch):
    before = cohort.image_fingerprint("b")
    write = cohort_copy.write_plain

    def changing(*arguments):
        write(*arguments)
        if Cohort.open(cohort.folder).image_fingerprint("b") == before:
            image = sitk.ReadImage(str(cohort.image_path("b"))) + 1
            image.SetMetaData("0010|0010", PERSON)
            sitk.WriteImage(image, str(cohort.image_path("b")))

    monkeypatch.setattr(cohort_copy, "write_plain", changing)
    copy = CohortFiles(cohort).copy(["b"], False, (), (), (), Watch())
    (content,) = (content for place, content in copy.files.items() if place in copy.marks)
    assert content.path.stem == copy.marks["images/b.nrrd"][1] == Cohort.open(cohort.folder).image_fingerprint("b")
    sent, here = (sitk.GetArrayFromImage(sitk.ReadImage(str(p))) for p in (content.path, cohort.image_path("b")))
    np.testing.assert_array_equal(sent, here)


@needs_ssh_server
def test_slices_that_are_drawn_while_a_host_recommends_stay_drawn(relay, cohort, monkeypatch):
    bring_back = requests_there._bring_back

    def drawing(*arguments):
        drawn_more(cohort)
        return bring_back(*arguments)

    monkeypatch.setattr(requests_there, "_bring_back", drawing)
    rows = relay.answer("recommend", recommending(cohort), Watch(), always_there=True)
    assert len(cohort.ledger("a").decided) == 6
    assert len(cohort.ledger("b").todo) == sum(row["case"] == "b" for row in rows) > 0


def test_files_in_sentences_of_a_host_are_named_as_here(tmp_path):
    told = TextHere("/there/copy", tmp_path, {"images/a.nrrd": Path("/scans/x.nrrd")})
    assert told.value(["/there/copy/fills/a b.nrrd", 1]) == [str(tmp_path / "fills" / "a b.nrrd"), 1]
    assert told.text("'/there/copy/images/a.nrrd' is damaged.") == f"'{Path('/scans/x.nrrd')}' is damaged."
    assert told.text("No '/there/copy/x' in '/there/copy'.") == f"No '{tmp_path / 'x'}' in '{tmp_path}'."
    assert told.text("/there/copy2/x") == "/there/copy2/x"


@needs_ssh_server
def test_two_computers_with_the_same_cohort_each_get_their_own_results(relay, shared_host, cohort, tmp_path):
    record_of(cohort.state_folder)
    for folder in (cohort.folder, tmp_path / "scans"):
        shutil.copytree(folder, tmp_path / "other laptop" / folder.name)
    other = Cohort.open(tmp_path / "other laptop" / cohort.folder.name)
    other.save_annotation("a", SparseAnnotation.from_slices(LABELS, GEOMETRY, Plane.AXIAL, [8]))
    for one, count in ((cohort, 5), (other, 1), (cohort, 5)):
        rows = relay.answer("fill", {"cohort": str(one.folder), "method": "shape"}, Watch(), always_there=True)
        assert rows[0]["slices_drawn"] == count
        assert rows[0]["path"] == str(one.fill_path("a"))
        origin = Origin.from_facts(read_facts(one.fill_path("a")))
        assert origin.changes(one.origin("a", method=origin.method)) == ""


@needs_ssh_server
def test_what_was_removed_here_is_removed_there(relay, shared_host, cohort):
    from SparseAnnotateLib.core.corrections import Stroke

    cohort.add_correction("a", Stroke.ball(GEOMETRY, GEOMETRY_POINT, 1, True, 2.0))
    relay.answer("recommend", recommending(cohort), Watch(), always_there=True)
    place = Path(shared_host.folder) / "cohorts" / record_of(cohort.state_folder).identity / "copy" / "corrections"
    assert (place / "a.json").is_file()
    cohort.save_corrections("a", None)
    relay.answer("recommend", recommending(cohort), Watch(), always_there=True)
    assert not (place / "a.json").exists()


GEOMETRY_POINT = tuple(float(v) for v in (GEOMETRY.matrix @ np.array([10.0, 10.0, 4.0, 1.0]))[:3])


@needs_ssh_server
def test_a_connection_that_breaks_in_the_middle_of_a_request_is_reported_and_made_again(relay, server, cohort):
    def broken(progress):
        if "filling" in progress.message:
            server.kill_sessions()

    request = {"cohort": str(cohort.folder), "method": "shape"}
    with pytest.raises(ConnectionLostError, match="broke"):
        relay.answer("fill", request, Watch(broken), always_there=True)
    assert len(relay.answer("fill", request, Watch(), always_there=True)) == 2


@needs_ssh_server
def test_a_worker_that_is_killed_there_is_reported(relay, server, cohort):
    def killed(progress):
        if "filling" in progress.message:
            server.kill_sessions("SparseAnnotateLib.worker")

    request = {"cohort": str(cohort.folder), "method": "shape"}
    with pytest.raises(WorkerError, match="broke|may have been killed"):
        relay.answer("fill", request, Watch(killed), always_there=True)
    assert len(relay.answer("fill", request, Watch(), always_there=True)) == 2


@needs_ssh_server
def test_a_cancelled_request_ends_there_too(relay, cohort):
    watch = Watch(lambda progress: watch.cancel() if "filling" in progress.message else None)
    with pytest.raises(CancelledError):
        relay.answer("fill", {"cohort": str(cohort.folder), "method": "shape"}, watch, always_there=True)
    assert relay.answer("recommend", recommending(cohort), Watch(), always_there=True)


@needs_ssh_server
def test_an_error_there_names_the_host(relay, cohort):
    with pytest.raises(WorkerError, match="On 'gpu': .*There is no strategy 'no such'|On 'gpu': .*no such"):
        relay.answer("recommend", recommending(cohort, strategy="no such"), Watch(), always_there=True)


@needs_ssh_server
def test_the_relay_speaks_the_protocol_of_the_worker(shared_host, cohort):
    """As a process, as the panel starts it; what needs no host is answered here."""
    reports = []
    with BlockingWorker(relay_command(shared_host.name)) as worker:
        rows = worker.call("fill", {"cohort": str(cohort.folder), "method": "shape"}, reports.append)
        assert len(rows) == 2
        with pytest.raises(WorkerError, match="Nothing of this cohort has been copied to the host 'gpu' yet"):
            worker.call("predict", {"cohort": str(cohort.folder), "run": "first"})
    assert reports
    assert not (cohort.state_folder / "cache" / "elsewhere" / "incoming").exists()


def test_a_host_that_was_not_set_up_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("APPDATA", str(tmp_path))
    with pytest.raises(BadInputError, match="has not been set up.*host add gpu"):
        Relay("gpu")
