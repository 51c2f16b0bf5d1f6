"""Corrections with a host: each is stored here, and what follows from it is found out there."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from small_volumes import ball, noisy_image
from SparseAnnotateLib.core import Cohort, Plane, SparseAnnotateError, SparseAnnotation, VolumeGeometry, Watch
from SparseAnnotateLib.core.errors import CancelledError
from SparseAnnotateLib.core.images import read_facts, read_labels, write_image
from SparseAnnotateLib.core.origin import Origin
from SparseAnnotateLib.remote import requests_there
from SparseAnnotateLib.remote.host_files import HostFiles
from SparseAnnotateLib.remote.relay import Relay
from SparseAnnotateLib.remote.requests_there import CopyingNotAllowedError
from SparseAnnotateLib.remote.where import HERE, THERE, where
from SparseAnnotateLib.worker.requests import METHODS
from ssh_server import needs_ssh_server

LABELS = ball((16, 18, 34), 7.0)
GEOMETRY = VolumeGeometry.from_spacing(LABELS.shape, (2.0, 1.0, 1.0))
AT = tuple(float(v) for v in (GEOMETRY.matrix @ np.array([17.0, 9.0, 6.0, 1.0]))[:3])
ELSEWHERE = tuple(float(v) for v in (GEOMETRY.matrix @ np.array([24.0, 9.0, 6.0, 1.0]))[:3])


@pytest.fixture
def cohort(tmp_path) -> Cohort:
    """A case with a fill that has been made here."""
    cohort = Cohort.create(tmp_path / "cohort", "one", {1: "ball"})
    write_image(tmp_path / "scan.nrrd", noisy_image(LABELS, 0), GEOMETRY)
    cohort.add_case("a", tmp_path / "scan.nrrd")
    cohort.save_annotation("a", SparseAnnotation.from_slices(LABELS, GEOMETRY, Plane.AXIAL, [4, 8, 11]))
    here("fill", cohort, method="shape")
    return cohort


def here(request_name: str, cohort: Cohort, **fields):
    kind, function = METHODS[request_name]
    return function(kind(str(cohort.folder), **fields), Watch())


def correction(**fields) -> dict:
    return {"case": "a", "structure": "ball", "at": AT, "outside": True, **fields}


def corrected(relay: Relay, cohort: Cohort, watch: Watch | None = None, **fields):
    params = {"cohort": str(cohort.folder), **correction(**fields)}
    return relay.answer("correct", params, watch or Watch(), always_there=True)


def fill_of(cohort: Cohort) -> np.ndarray:
    return read_labels(cohort.fill_path("a"), GEOMETRY)


def is_current(cohort: Cohort) -> bool:
    origin = Origin.from_facts(read_facts(cohort.fill_path("a")))
    return not origin.changes(cohort.origin("a", method=origin.method))


def strokes_of(cohort: Cohort) -> int:
    corrections = cohort.corrections("a")
    return len(corrections.strokes) if corrections is not None else 0


@needs_ssh_server
def test_the_fill_follows_as_it_does_here(relay, cohort, tmp_path):
    shutil.copytree(cohort.folder, tmp_path / "the same")
    other = Cohort.open(tmp_path / "the same")
    before = fill_of(cohort)
    for fields in ({}, {"at": ELSEWHERE, "outside": False, "seconds": 2.5}):
        there = corrected(relay, cohort, **fields)
        alone = here("correct", other, **correction(**fields))
        figures = ("corrections", "voxels", "changed")
        assert [there[name] for name in figures] == [getattr(alone, name) for name in figures]
        assert there["path"] == str(cohort.fill_path("a"))
        assert tuple(there["notes"]) == alone.notes
        np.testing.assert_array_equal(fill_of(cohort), fill_of(other))
        sure = [read_labels(one.fill_confidence_path("a"), GEOMETRY) for one in (cohort, other)]
        np.testing.assert_array_equal(*sure)
        assert is_current(cohort)
        assert is_current(other)
    assert np.count_nonzero(fill_of(cohort) != before) > 30
    assert strokes_of(cohort) == 2
    # The same once more, as after a connection that broke at the end: nothing is stored twice.
    again = corrected(relay, cohort, at=ELSEWHERE, outside=False)
    assert (again["corrections"], again["changed"], strokes_of(cohort)) == (2, 0, 2)
    assert again["path"] == str(cohort.fill_path("a"))
    assert is_current(cohort)


@needs_ssh_server
def test_nothing_is_stored_before_copying_is_allowed(shared_host, cohort):
    relay = Relay(shared_host.name)
    with pytest.raises(CopyingNotAllowedError, match="the image of 1 case"):
        corrected(relay, cohort)
    relay.close()
    assert not strokes_of(cohort)


@needs_ssh_server
def test_a_connection_that_breaks_leaves_the_correction(relay, server, cohort, monkeypatch):
    send = HostFiles.send

    def broken(self, *rest):
        server.kill_sessions()
        return send(self, *rest)

    before = fill_of(cohort)
    with monkeypatch.context() as patched:
        patched.setattr(HostFiles, "send", broken)
        done = corrected(relay, cohort)
    assert "The correction is stored, but the result was not changed." in done["notes"][-1]
    assert (done["corrections"], done["changed"], done["path"]) == (1, 0, "")
    assert strokes_of(cohort) == 1
    np.testing.assert_array_equal(fill_of(cohort), before)
    # The same again lets the result follow.
    assert corrected(relay, cohort)["changed"] > 0
    assert (strokes_of(cohort), is_current(cohort)) == (1, True)


@needs_ssh_server
def test_what_changes_here_meanwhile_is_not_overwritten(relay, cohort, monkeypatch):
    fetch = HostFiles.fetch_parts
    before = fill_of(cohort)

    def correcting(self, *rest):
        here("correct", cohort, **correction(at=ELSEWHERE, outside=False))
        return fetch(self, *rest)

    monkeypatch.setattr(HostFiles, "fetch_parts", correcting)
    done = corrected(relay, cohort)
    assert (
        "'a' was changed here while 'gpu' worked on it. The next result will have the correction." in done["notes"][-1]
    )
    assert done["changed"] == 0
    assert strokes_of(cohort) == 2
    np.testing.assert_array_equal(fill_of(cohort), before)
    here("fill", cohort, method="shape")
    assert is_current(cohort)


@needs_ssh_server
def test_another_correction_before_the_copy_is_made_is_noticed(relay, cohort, monkeypatch):
    answer = requests_there.answer_there

    def correcting(*rest):
        here("correct", cohort, **correction(at=ELSEWHERE, outside=False))
        return answer(*rest)

    monkeypatch.setattr(requests_there, "answer_there", correcting)
    done = corrected(relay, cohort)
    assert "Corrections of 'a' were made or removed meanwhile" in done["notes"][-1]
    assert strokes_of(cohort) == 2


@needs_ssh_server
def test_cancelling_leaves_the_correction_and_the_fill_as_it_was(relay, cohort, monkeypatch):
    before, watch = fill_of(cohort), Watch()
    send = HostFiles.send

    def cancelled(self, *rest):
        watch.cancel()
        return send(self, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(HostFiles, "send", cancelled)
        with pytest.raises(CancelledError):
            corrected(relay, cohort, watch)
    assert strokes_of(cohort) == 1
    np.testing.assert_array_equal(fill_of(cohort), before)
    assert corrected(relay, cohort)["changed"] > 0


@needs_ssh_server
def test_bad_input_is_refused_here_and_stores_nothing(relay, cohort):
    for fields, sentence in (
        ({"structure": "liver"}, "no structure 'liver'"),
        ({"at": (900.0, 0.0, 0.0)}, "outside"),
        ({"case": "nobody"}, "nobody"),
    ):
        with pytest.raises(SparseAnnotateError, match=sentence):
            corrected(relay, cohort, **fields)
    assert not strokes_of(cohort)


def test_without_a_result_and_for_clearing_no_host_is_asked(host, cohort):
    cohort.fill_path("a").unlink()
    cohort.fill_confidence_path("a").unlink()
    relay = Relay(host.name, is_allowed=True)
    relay._session.host = replace(host, name="nobody.invalid")
    done = corrected(relay, cohort)
    assert "There is no fill yet" in done["notes"][0]
    done = relay.answer("correct", {"cohort": str(cohort.folder), "case": "a", "clear": True}, Watch(), True)
    assert done["corrections"] == 0
    relay.close()
    assert not strokes_of(cohort)
    assert where("correct", {"clear": True}) == HERE
    assert where("correct", {}) == THERE
