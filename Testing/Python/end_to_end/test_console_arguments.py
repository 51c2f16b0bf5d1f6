"""A wrong node or value given to a method of the console ends in a sentence that names it, whatever the method."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
import pytest

from corrected_scene import INDICES
from SparseAnnotateLib.core import BadInputError

SEGMENTATIONS = ("segmentationNode", "resultNode", "referenceNode")
NODES = ("volumeNode", "volumeNodes", *SEGMENTATIONS, "sliceNode")
NOT_CHECKED = {"at", "suggestion"}  # by what they are used for; a suggestion is tested below
WRONG: dict[Any, tuple] = {
    int: (2.5, "2", True),
    float: ("2", float("nan")),
    str: (3, None),
    bool: ("yes", np.zeros(2, bool)),
    Path: (3,),
    Sequence: (3, [3]),
    dict: (3, ["a"]),
    Callable: (),
}


def parameters(logic) -> Iterator[tuple[str, str, Any]]:
    """Method, parameter, and its type, None without one; of all public methods."""
    for name, method in vars(ConsoleLogic := type(logic).__bases__[0]).items():
        function = getattr(ConsoleLogic, name) if not isinstance(method, property) else None
        if name.startswith("_") or not inspect.isfunction(function):
            continue
        kinds = typing.get_type_hints(function)
        yield from ((name, p, kinds.get(p)) for p in inspect.signature(function).parameters if p != "self")


@pytest.fixture
def right(drawn, tmp_path):
    """A usable value for each parameter that has no default."""
    volume, _labels, fill = drawn
    return {
        "volumeNode": volume,
        "volumeNodes": [volume],
        "segmentationNode": fill,
        "resultNode": fill,
        "referenceNode": fill,
        "plane": "axial",
        "index": 4,
        "structure": "ball",
        "at": (0, 0, 0),
        "start": "nothing",
        "channels": {},
        "modality": "CT",
        "runNames": ["a", "b"],
        "suggestion": None,
        **dict.fromkeys(("path", "folder", "cohortFolder", "predictionsFolder"), tmp_path / "x.nrrd"),
        **dict.fromkeys(("name", "runName"), "a"),
    }


@pytest.fixture
def refused(logic, right):
    """The sentence that a method refuses a value of one parameter with."""

    def call(method: str, parameter: str, value) -> str:
        needed = inspect.signature(getattr(logic, method)).parameters.values()
        others = {p.name: right[p.name] for p in needed if p.default is p.empty and p.name != parameter}
        with pytest.raises(BadInputError) as error:
            getattr(logic, method)(**others, **{parameter: value})
        return str(error.value)

    return call


def test_a_wrong_node(mrml, logic, refused, drawn):
    gone = mrml.util.addVolumeFromArray(np.zeros((3, 3, 3)), np.eye(4), "gone")
    mrml.mrmlScene.RemoveNode(gone)
    table = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "table")
    tried = [(method, parameter) for method, parameter, _kind in parameters(logic) if parameter in NODES]
    assert {parameter for _method, parameter in tried} == set(NODES)
    for method, parameter in tried:
        for value in ("scan", 3, table):
            assert refused(method, parameter, value).startswith(f"{method}: '{parameter}' must be ")
        assert "slicer.util.getNode" in refused(method, parameter, "scan")
        if parameter.startswith("volume"):
            assert refused(method, parameter, gone).startswith("'gone' is no longer in the scene. Load it again")
            assert refused(method, parameter, None).startswith("No volume is selected.")
        if parameter == "volumeNodes":
            assert refused(method, parameter, [drawn[0], table]).startswith(f"{method}: 'volumeNodes' must be a vol")


def test_a_value_of_the_wrong_type(logic, refused):
    tried = 0
    for method, parameter, kind in parameters(logic):
        if parameter in NODES or parameter in NOT_CHECKED:
            continue
        for value in wrong_values(kind):
            assert refused(method, parameter, value).startswith(f"{method}: '{parameter}' must be ")
            tried += 1
    assert tried > 200


def wrong_values(kind) -> tuple:
    """Values that are not of a type of the console's annotations, all of which are known here."""
    assert kind is not None
    is_union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    kinds = [k for k in (typing.get_args(kind) if is_union else [kind]) if k is not NoneType]
    plain = [typing.get_origin(k) or k for k in kinds]
    found = WRONG[Path if Path in plain else plain[-1]]
    return tuple(value for value in found if value is not None or NoneType not in typing.get_args(kind))


def test_one_volume_and_one_name_are_lists_of_one(logic, drawn):
    volume, _labels, fill = drawn
    assert logic.recommendSlices(volume, slicesPerVolume=5)
    logic.markDrawn(volume, "axial", INDICES[0], structures="ball")
    assert logic.ledger(volume).decided[0].structures == ("ball",)
    assert logic.applyFill(volume, fill, structures="ball") == ["box"]


def test_numbers_of_numpy(logic, drawn):
    volume = drawn[0]
    assert logic.markDrawn(volume, "axial", np.int64(INDICES[0]), seconds=np.float32(2)) == "drawn"
    assert logic.markDrawn(volume, "axial", float(INDICES[0])) == "drawn"
    logic.showProvenance(volume, np.bool_(False))
    assert [entry.index for entry in logic.ledger(volume).decided] == sorted(INDICES)


def test_a_label_map_in_place_of_a_segmentation(mrml, logic, drawn):
    volume, labels, fill = drawn
    reference = mrml.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "truth")
    mrml.util.updateVolumeFromArray(reference, labels)
    reference.CopyOrientation(volume)
    with pytest.raises(BadInputError, match="'truth' is a label map, not a segmentation. Convert it first"):
        logic.evaluate(fill, reference, volume)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda logic, v: logic.markDrawn(v, "axial", 4, seconds=-5), "must be 0 seconds or more, not -5"),
        (lambda logic, v: logic.startSlice(v, "axial", 6, "nearest"), "Choose one of nothing, nearest drawn slice"),
        (lambda logic, v: logic.writeSegmentation(v, "x.png"), "files that end in .nrrd, .nii.gz, .nii, .mha"),
        (lambda logic, v: logic.writeSegmentation(v, "x.mhd"), "files that end in .nrrd, .nii.gz, .nii, .mha"),
        (lambda logic, v: logic.useSuggestion(None), "'suggestion' must be a SliceSuggestion"),
        (lambda logic, v: logic.setChannels(v, {"T1": v, "T2": "scan"}), "'channels' must be a volume, not 'scan'"),
        (lambda logic, v: logic.setChannels(v, {"T1": v, "T2": None}), "No volume is selected"),
    ],
)
def test_other_values(logic, drawn, call, sentence):
    with pytest.raises(BadInputError) as error:
        call(logic, drawn[0])
    assert sentence in str(error.value)


def test_no_cohort_folder_is_the_default_one(logic):
    chosen = logic.cohortFolder
    logic.cohortFolder = None
    assert logic.cohortFolder not in (None, chosen)
