"""The names of volumes' cases: each volume keeps its own, whatever is done with the nodes."""

from __future__ import annotations

import random

import numpy as np
import pytest

from small_volumes import ball
from SparseAnnotateLib.core import Cohort, Ledger, Plane, SliceState


def added(mrml, name: str = "T1"):
    return mrml.util.addVolumeFromArray(np.arange(24, dtype=np.int16).reshape(2, 3, 4), name=name)


def cloned(mrml, volume, name: str = "clone"):
    return mrml.modules.volumes.logic().CloneVolume(mrml.mrmlScene, volume, name)


def test_a_volume_that_is_removed_and_added_again_has_its_case_still(mrml):
    from SparseAnnotateLib import scene

    volume = added(mrml)
    name = scene.case_of(volume)
    mrml.mrmlScene.RemoveNode(volume)
    assert scene.case_of(volume) == name
    mrml.mrmlScene.AddNode(volume)
    assert scene.case_of(volume) == name


def test_a_clone_does_not_take_over_the_case_of_its_original_that_was_removed(mrml, tmp_path):
    from SparseAnnotateLib import scene

    labels = ball()
    volume = mrml.util.addVolumeFromArray(labels.astype(np.int16), name="T1")
    segmentation = scene.annotated_segmentation(volume, create=True)
    segmentation.GetSegmentation().AddEmptySegment("ball", "ball")
    mrml.util.updateSegmentBinaryLabelmapFromArray(labels.astype(np.uint8), segmentation, "ball", volume)
    scene.store_ledger(segmentation, volume, Ledger().with_state(Plane.AXIAL, 8, SliceState.DRAWN))
    cohort = Cohort.create(tmp_path / "c", "c", {1: "ball"})
    list(scene.exporting_case(cohort, volume, segmentation, {"ball": 1}))
    name = scene.case_of(volume)
    clone = cloned(mrml, volume)
    mrml.mrmlScene.RemoveNode(volume)
    list(scene.exporting_case(cohort, clone, scene.annotated_segmentation(clone), {"ball": 1}))
    assert scene.case_of(clone) != name
    assert cohort.ledger(name).is_decided(Plane.AXIAL, 8), "what was drawn on the original is in the folder still"
    mrml.mrmlScene.AddNode(volume)
    assert scene.case_of(volume) == name


def test_a_volume_that_has_shown_another_one_as_a_frame_does_not_take_over_its_case(mrml):
    from SparseAnnotateLib import scene

    sequences = mrml.vtkSlicerSequencesLogic()
    sequences.SetMRMLScene(mrml.mrmlScene)
    volumes = [added(mrml, "first"), added(mrml, "second")]
    names = scene.cases_of(volumes)
    sequence = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "film")
    for value, volume in enumerate(volumes):
        sequence.SetDataNodeAtValue(volume, str(value))
    browser = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.AddSynchronizedSequenceNodeID(sequence.GetID())
    browser.AddProxyNode(volumes[0], sequence, False)
    frames = []
    for number in (0, 1, 0, 1):
        browser.SetSelectedItemNumber(number)
        sequences.UpdateProxyNodesFromSequences(browser)
        frames.append(scene.case_of(volumes[0]))
    assert frames[:2] == frames[2:]
    assert len({*frames, *names}) == 4
    mrml.mrmlScene.RemoveNode(browser)
    first, second = scene.cases_of(volumes)
    assert second == names[1]
    assert first not in (second, *frames)


def test_volumes_of_scenes_of_an_earlier_version_keep_their_cases_and_clones_have_others(mrml):
    from SparseAnnotateLib import scene

    volume = added(mrml)
    volume.SetAttribute("SparseAnnotate.Case", "T1 0123abcd")
    clone = cloned(mrml, volume)
    names = scene.cases_of([clone, volume])
    assert names[1] == "T1 0123abcd" != names[0]
    assert scene.cases_of([clone, volume]) == names


def test_a_scene_that_is_added_twice_has_the_cases_once(mrml, embedded, tmp_path):
    from SparseAnnotateLib import scene

    names = scene.cases_of([added(mrml, "a"), added(mrml, "b")])
    embedded.save_scene(tmp_path / "s.mrb")
    mrml.mrmlScene.ReadFromMRB(str(tmp_path / "s.mrb"), False)
    found = scene.cases_of(mrml.util.getNodesByClass("vtkMRMLScalarVolumeNode"))
    assert found[:2] == names
    assert len(set(found)) == 4
    embedded.load_scene(tmp_path / "s.mrb")
    assert scene.cases_of(mrml.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == names


@pytest.mark.parametrize("seed", range(8))
def test_each_volume_keeps_its_own_case_whatever_is_done_with_the_nodes(mrml, seed):
    from SparseAnnotateLib import scene

    choose = random.Random(seed)
    volumes, known = [added(mrml)], {}
    for _step in range(60):
        volume = choose.choice(volumes)
        is_there = volume.GetScene() is not None
        step = choose.choice(["add", "clone", "clone", "remove", "add again", "rename", "ask", "ask", "ask many"])
        asked = []
        if step == "add":
            volumes.append(added(mrml))
        elif step == "clone" and is_there:
            volumes.append(cloned(mrml, volume))
        elif step == "remove" and is_there:
            mrml.mrmlScene.RemoveNode(volume)
        elif step == "add again" and not is_there:
            mrml.mrmlScene.AddNode(volume)
        elif step == "rename":
            volume.SetName(f"name {choose.random()}")
        elif step == "ask":
            asked = [volume]
            assert scene.case_of(volume) == known.setdefault(volume, scene.case_of(volume))
        elif step == "ask many":
            asked = choose.choices(volumes, k=len(volumes))
            names = scene.cases_of(asked)
            assert names == [known.setdefault(one, name) for one, name in zip(asked, names, strict=True)]
        assert [scene.case_of(one) for one in asked] == [known[one] for one in asked]
        assert len(set(known.values())) == len(known)
