"""Fixtures for all tests: the embedded scene, real data where it is there, and small volumes made here."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import settings

from small_volumes import ball, new_ball_cohort, noisy_image
from SparseAnnotateLib import client
from SparseAnnotateLib.core import Cohort, Plane, SparseAnnotation, VolumeGeometry
from system_needs import need_programs
from warm_worker import WarmWorkers

# The first call of a library imports it; that says nothing about our speed.
settings.register_profile("ours", deadline=None, max_examples=60, print_blob=True)
settings.load_profile("ours")

PROJECT = Path(__file__).resolve().parents[2]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


@pytest.fixture(scope="session")
def embedded(tmp_path_factory):
    """Slicer's scene and module logics."""
    from SlicerStandIn import embedded_slicer

    embedded_slicer.start(tmp_path_factory.mktemp("slicer"))
    return embedded_slicer


@pytest.fixture
def mrml(embedded):
    """An empty scene, and the `slicer` package as in Slicer."""
    import slicer

    embedded.clear_scene()
    yield slicer
    embedded.clear_scene()
    for cursor in slicer.util.getNodesByClass("vtkMRMLCrosshairNode"):
        cursor.SetCursorPositionInvalid()  # it outlives the closing of a scene


@pytest.fixture(scope="session", autouse=True)
def warm_workers():
    """Workers that need not import anything, in place of the usual ones; see `warm_worker`."""
    workers = WarmWorkers()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(client, "worker_command", workers.worker_command)
        patched.setattr(client.subprocess_transport, "worker_command", workers.worker_command)
        yield workers
    workers.close()


@pytest.fixture
def in_jobs(monkeypatch, warm_workers):
    """What `in_jobs/sitecustomize.py` does in the jobs of a test: it sets its environment variables by name."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parent / "in_jobs"))
    for name, value in warm_workers.for_jobs().items():
        monkeypatch.setenv(name, value)
    return monkeypatch.setenv


@pytest.fixture(autouse=True)
def warm_or_cold_workers(request, warm_workers):
    """A test marked with `cold_worker` starts each worker as a user's computer does."""
    warm_workers.is_wanted = request.node.get_closest_marker("cold_worker") is None


def pytest_collection_modifyitems(items):
    """What asks for a GPU has the mark for it."""
    for item in items:
        if "gpu" in getattr(item, "fixturenames", ()):
            item.add_marker("gpu")


@pytest.fixture
def gpu():
    """A GPU with `device`: the real one where there is one, elsewhere a pretend one (`is_pretend`)."""
    import torch

    if torch.cuda.is_available():
        yield SimpleNamespace(device="cuda:0", is_pretend=False)
        return
    from pretend_gpu import pretend_gpu

    with pretend_gpu() as found:
        yield found


@pytest.fixture
def pretended():
    """Pretends a GPU until the end of the test, `pretended(total=...)`, and returns it; see `pretend_gpu`."""
    from pretend_gpu import pretend_gpu

    with ExitStack() as stack:
        yield lambda **facts: stack.enter_context(pretend_gpu(**facts))


@pytest.fixture(scope="session")
def slurm_cluster(tmp_path_factory):
    """A Slurm of one node on this computer; see `slurm_cluster`. Tests use `slurm`."""
    from slurm_cluster import PACKAGES, PROGRAMS, SlurmCluster

    need_programs("slurm", PROGRAMS, PACKAGES)
    cluster = SlurmCluster(tmp_path_factory.mktemp("slurm"))
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def warm_python_there(tmp_path_factory, warm_workers) -> str:
    """A Python whose workers and jobs need not import anything; see `warm_worker`."""
    in_jobs = Path(__file__).resolve().parent / "in_jobs"
    lines = ["#!/bin/sh", f"export PYTHONPATH=$PYTHONPATH:{shlex.quote(str(in_jobs))}"]
    lines += [f"export {name}={value}" for name, value in warm_workers.for_jobs().items()]
    worker = shlex.join(warm_workers.worker_command())
    lines += [f'case "$*" in "-m SparseAnnotateLib.worker") exec {worker};; esac', f'exec {sys.executable} "$@"']
    path = tmp_path_factory.mktemp("there") / "python"
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def slurm(slurm_cluster, monkeypatch):
    """A running Slurm, which this process and its children find. It is without jobs at the start of each test."""
    for name, value in slurm_cluster.environment.items():
        monkeypatch.setenv(name, value)
    yield slurm_cluster
    slurm_cluster.end_jobs()


@pytest.fixture(scope="session")
def hippocampi() -> Path | None:
    """The hippocampus cohort, or None on a machine that has no such data."""
    folder = Path(os.environ.get("SPARSE_ANNOTATE_DATA", PROJECT.parent / "shared" / "data")) / "msd_hippocampus"
    return folder if folder.is_dir() else None


@pytest.fixture
def ball_cohort(tmp_path) -> Cohort:
    """See `new_ball_cohort`."""
    return new_ball_cohort(tmp_path)


@pytest.fixture
def tiny_cohort(tmp_path) -> Cohort:
    """A case with two structures of which every third axial slice is drawn."""
    cohort = Cohort.create(tmp_path / "cohort", "balls", {1: "shell", 2: "kernel"})
    labels = ball((16, 18, 34), 7.0) + ball((16, 18, 34), 3.5)
    geometry = VolumeGeometry.from_spacing(labels.shape, (2.0, 1.0, 1.0))
    cohort.add_case("a", noisy_image(labels), geometry)
    cohort.save_annotation("a", SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, range(2, 16, 3)))
    return cohort
