"""Scans that are in no cohort are labeled on a host."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from small_volumes import QUICK_TRAINING, ball
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import CancelledError, Cohort, Plane, SparseAnnotation, VolumeGeometry, Watch
from SparseAnnotateLib.core.images import read_image, read_labels, write_image
from SparseAnnotateLib.learning.training.training_run import train
from SparseAnnotateLib.remote import host_files
from SparseAnnotateLib.remote.host_files import HostFiles
from SparseAnnotateLib.remote.hosts import Host, keep_host
from SparseAnnotateLib.runs import TrainingSettings
from SparseAnnotateLib.runs.run_folder import RunFolder
from SparseAnnotateLib.worker.labeling_on_host import PredictorOnHost
from SparseAnnotateLib.worker.prediction_options import PredictionOptions
from ssh_server import needs_ssh_server

pytestmark = needs_ssh_server
SHAPE = (16, 20, 22)
LABELS = ball(SHAPE, 6.0)
GEOMETRY = VolumeGeometry.from_spacing(SHAPE, (2.0, 1.0, 1.0))
PERSON = "Doe^Jane"


def channels(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: np.round(rng.normal(size=SHAPE) * 9 + scale * LABELS).astype(np.int16)
        for name, scale in (("FLAIR", 40.0), ("T1", -70.0))
    }


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """Folders of two runs, one of single images and one of two channels."""
    found = {}
    for kind, names in (("single", ()), ("double", ("FLAIR", "T1"))):
        folder = tmp_path_factory.mktemp(kind)
        cohort = Cohort.create(folder / "cohort", "balls", {300: "ball"}, channels=names)
        images = channels(0)
        write_image(folder / "t1.nrrd", images["T1"], GEOMETRY)
        further = {"T1": folder / "t1.nrrd"} if names else {}
        cohort.add_case(PERSON, images["FLAIR"], GEOMETRY, further=further)
        labels = LABELS.astype(np.uint16) * 300
        cohort.save_annotation(PERSON, SparseAnnotation.from_slices(labels, GEOMETRY, Plane.AXIAL, range(2, 16, 3)))
        train(cohort, "r", TrainingSettings(**{**QUICK_TRAINING, "patch": (16, 16, 16), "iterations": 30}))
        found[kind] = cohort.run_folder("r")
    return found


@pytest.fixture
def gpu(server, folder_there, warm_python_there) -> Host:
    """A host whose worker starts quickly."""
    host = Host(server.host, python=warm_python_there, folder=str(folder_there), as_is=True)
    keep_host(host)
    return host


def predicted(run: Path, scans: Path, out: Path, *options: str) -> int:
    asked = ("predict", "--run", str(run), "-i", str(scans), "-o", str(out), "--device", "cpu", "--quiet")
    return main([*asked, *options])


def left_there(host: Host) -> list[str]:
    """The files there that are not of the library or the run."""
    files = (path.relative_to(host.folder).as_posix() for path in Path(host.folder).rglob("*") if path.is_file())
    known = ("versions/", "index/", ".sparse-annotate")
    return [name for name in files if not name.startswith(known) and "/copy/runs/" not in name]


def test_scans_are_labeled_as_here_and_nothing_of_them_stays_there(runs, gpu, tmp_path, capsys, monkeypatch):
    scans = tmp_path / "scans"
    matrix = np.diag([-1.5, 0.9, 2.0, 1.0])[[1, 0, 2, 3]]
    matrix[:3, 3] = (-31.7, 12.123456789, 1203.5)
    for number, geometry in enumerate((GEOMETRY, VolumeGeometry.from_matrix(SHAPE, matrix))):
        image = sitk.GetImageFromArray(channels(number + 1)["FLAIR"])
        spacing, origin, direction = geometry.to_itk()
        image.SetSpacing(spacing)
        image.SetOrigin(origin)
        image.SetDirection(direction)
        image.SetMetaData("0010|0010", PERSON)
        scans.mkdir(exist_ok=True)
        sitk.WriteImage(image, str(scans / f"{PERSON}_{number}.nrrd"))
    write_image(scans / "uniform.nrrd", np.zeros(SHAPE, np.int16), GEOMETRY)
    (runs["single"] / f"notes about {PERSON}.txt").write_text(PERSON)
    # It is asked before anything goes there.
    assert predicted(runs["single"], scans, tmp_path / "out", "--on", gpu.name) == 1
    asked = capsys.readouterr().err
    assert "3 files of scans" in asked
    assert "--allow-copying" in asked
    assert not (Path(gpu.folder) / "cohorts").exists()
    assert not list((tmp_path / "out").glob("*.nrrd"))

    seen: list[bytes] = []
    send = HostFiles.send

    def watched(self, area, files, *more):
        seen.extend(content.data or content.path.read_bytes() for content in files.values())
        seen.extend(name.encode() for name in files)
        return send(self, area, files, *more)

    monkeypatch.setattr(HostFiles, "send", watched)
    on_host = ("--on", gpu.name, "--allow-copying", "--uncertainty")
    assert predicted(runs["single"], scans, tmp_path / "out", *on_host) == 1
    said = capsys.readouterr().err
    assert "1 scan was not labeled (others labeled: 2). 'uniform': " in said
    assert f"On '{gpu.name}'" in said
    assert not any(PERSON.encode() in content for content in seen)
    assert left_there(gpu) == []

    assert predicted(runs["single"], scans, tmp_path / "here", "--uncertainty") == 1
    made = sorted((tmp_path / "here").rglob("*.nrrd"))
    assert [path.name for path in made] == 2 * [f"{PERSON}_{number}.nrrd" for number in range(2)]
    for path in made:
        there = tmp_path / "out" / path.relative_to(tmp_path / "here")
        (own, geometry), (other, other_geometry) = read_image(path), read_image(there)
        assert geometry == other_geometry
        np.testing.assert_array_equal(own, other)
    assert (read_labels(tmp_path / "out" / f"{PERSON}_0.nrrd", GEOMETRY) == 300).any()
    # What was made there counts as what would be made here.
    capsys.readouterr()
    assert predicted(runs["single"], scans, tmp_path / "out", "--uncertainty", "--continue", "--json") == 1
    outcomes = [scan["outcome"] for scan in json.loads(capsys.readouterr().out)["scans"]]
    assert outcomes == ["kept", "kept", "failed"]


def test_scans_of_several_channels_are_labeled_as_here(runs, gpu, tmp_path):
    for name, image in channels(5).items():
        write_image(tmp_path / "scans" / f"b_{name}.nii.gz", image, GEOMETRY)
    options = ("--channels", "T1=_T1", "FLAIR=_FLAIR")
    on_host = ("--on", gpu.name, "--allow-copying")
    assert predicted(runs["double"], tmp_path / "scans", tmp_path / "out", *options, *on_host) == 0
    assert predicted(runs["double"], tmp_path / "scans", tmp_path / "here", *options) == 0
    found, expected = (read_labels(tmp_path / folder / "b.nrrd", GEOMETRY) for folder in ("out", "here"))
    np.testing.assert_array_equal(found, expected)
    assert found.any()


@pytest.mark.parametrize("moment", ["before", "copying", "working"])
def test_a_lost_connection_stops_the_labeling_leaves_nothing_there_and_it_can_be_continued(
    moment, server, runs, gpu, tmp_path, monkeypatch, capsys
):
    for number in range(3):
        write_image(tmp_path / "scans" / f"{number}.nrrd", channels(number)["FLAIR"], GEOMETRY)
    predict, place, ask, count, cut = PredictorOnHost.predict, HostFiles.ask, PredictorOnHost._ask, [], []

    def cut_at(here):
        if here == moment and len(count) == 2 and not cut:
            cut.append(1)
            server.kill_sessions("sshd")  # the network, not what runs there

    def counted(self, *arguments):
        count.append(1)
        cut_at("before")
        return predict(self, *arguments)

    def placed(self, method, *arguments, **more):
        found = place(self, method, *arguments, **more)
        if method == "receive":
            cut_at("copying")
        return found

    def asked(self, images, watch):
        cut_at("working")
        return ask(self, images, watch)

    monkeypatch.setattr(PredictorOnHost, "predict", counted)
    monkeypatch.setattr(PredictorOnHost, "_ask", asked)
    monkeypatch.setattr(HostFiles, "ask", placed)
    on_host = ("--on", gpu.name, "--allow-copying")
    assert predicted(runs["single"], tmp_path / "scans", tmp_path / "out", *on_host) == 1
    assert f"The connection to the host '{gpu.name}'" in capsys.readouterr().err
    assert len(count) == 2  # the third is not tried
    assert [path.name for path in (tmp_path / "out").glob("*.nrrd")] == ["0.nrrd"]
    deadline = time.monotonic() + 30
    while left_there(gpu) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left_there(gpu) == []
    if moment == "working":
        assert predicted(runs["single"], tmp_path / "scans", tmp_path / "out", *on_host, "--continue") == 0
        assert len(count) == 4


def test_cancel_while_a_scan_is_copied_leaves_nothing_there(runs, gpu, monkeypatch):
    predictor = PredictorOnHost(gpu.name, True, RunFolder(runs["single"]), PredictionOptions(), "cpu", [], Watch())
    watch, ask = Watch(), HostFiles.ask

    def cancelled(self, method, *arguments, **more):
        found = ask(self, method, *arguments, **more)
        if method == "receive":
            watch.cancel()
        return found

    monkeypatch.setattr(HostFiles, "ask", cancelled)
    with pytest.raises(CancelledError):
        predictor.predict(channels(0)["FLAIR"], GEOMETRY, watch)
    assert left_there(gpu) == []
    predictor.close()


def test_what_cannot_be_written_there_stops_the_labeling(runs, gpu, tmp_path, capsys, monkeypatch):
    for number in range(2):
        write_image(tmp_path / "scans" / f"{number}.nrrd", channels(number)["FLAIR"], GEOMETRY)
    send = PredictorOnHost._send

    def blocked(self, *arguments):
        names = send(self, *arguments)
        (Path(gpu.folder) / self._area / "results").write_text("in the way")
        return names

    monkeypatch.setattr(PredictorOnHost, "_send", blocked)
    on_host = ("--on", gpu.name, "--allow-copying")
    assert predicted(runs["single"], tmp_path / "scans", tmp_path / "out", *on_host) == 1
    said = capsys.readouterr().err
    assert f"On '{gpu.name}'" in said
    assert str(Path(gpu.folder)) in said
    assert "not labeled" not in said


def test_options_that_the_run_cannot_use_are_said_once_before_a_scan_is_copied(runs, gpu, tmp_path, capsys):
    for number in range(2):
        write_image(tmp_path / "scans" / f"{number}.nrrd", channels(number)["FLAIR"], GEOMETRY)
    on_host = ("--on", gpu.name, "--allow-copying", "--models", "final")
    assert predicted(runs["single"], tmp_path / "scans", tmp_path / "out", *on_host) == 1
    said = capsys.readouterr().err
    assert said.count("cannot predict with final") == 1
    assert "not labeled" not in said
    assert "The run 'r' has" in said


def test_two_do_not_use_one_run_there_at_the_same_time(runs, gpu, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(host_files, "_HOLD_SECONDS", 0.1)
    write_image(tmp_path / "scans" / "a.nrrd", channels(0)["FLAIR"], GEOMETRY)
    other = PredictorOnHost(gpu.name, True, RunFolder(runs["single"]), PredictionOptions(), "cpu", [], Watch())
    on_host = ("--on", gpu.name, "--allow-copying")
    assert predicted(runs["single"], tmp_path / "scans", tmp_path / "out", *on_host) == 1
    assert "is labeling scans with this run on the host" in capsys.readouterr().err
    other.close()
    assert predicted(runs["single"], tmp_path / "scans", tmp_path / "out", *on_host) == 0
