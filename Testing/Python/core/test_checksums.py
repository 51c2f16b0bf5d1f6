"""Checksums of the JSON files and arrays written here."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from SparseAnnotateLib.core import (
    BadInputError,
    Cohort,
    Ledger,
    Plane,
    SliceState,
    SparseAnnotateError,
    SparseAnnotation,
    VolumeGeometry,
)
from SparseAnnotateLib.core.array_files import is_whole_array, load_array, save_array
from SparseAnnotateLib.core.cohort import CohortFile
from SparseAnnotateLib.core.strict_json import read_json, to_text, write_json


@dataclass(frozen=True)
class Small:
    name: str
    share: float = 0.001


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


def test_no_flipped_bit_of_a_json_file_is_believed(tmp_path):
    path = tmp_path / "a.json"
    value = Small("größe")
    write_json(path, value)
    content = path.read_bytes()
    assert read_json(path, Small) == value
    for bit in range(8 * len(content)):
        path.write_bytes(flipped(content, bit))
        with contextlib.suppress(BadInputError):
            assert read_json(path, Small) == value, f"bit {bit}"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(
    states=st.dictionaries(st.tuples(st.sampled_from(Plane), st.integers(0, 9)), st.sampled_from(SliceState)),
    names=st.dictionaries(st.integers(1, 300), st.text(max_size=8), max_size=4),
    data=st.data(),
)
def test_no_flipped_bit_of_a_ledger_or_a_cohort_file_is_believed(tmp_path, states, names, data):
    ledger = Ledger()
    for (plane, index), state in states.items():
        ledger = ledger.with_state(plane, index, state, 1.5)
    for value in (ledger, CohortFile("c", names)):
        path = tmp_path / "a.json"
        write_json(path, value)
        content = path.read_bytes()
        assert read_json(path, type(value)) == value
        path.write_bytes(flipped(content, data.draw(st.integers(0, 8 * len(content) - 1))))
        with contextlib.suppress(BadInputError):
            assert read_json(path, type(value)) == value


def test_the_sentence_on_a_flipped_bit_names_the_line_and_what_to_do_after_an_edit(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, Small("x"))
    path.write_text(path.read_text().replace("0.001", "0.003"))
    with pytest.raises(BadInputError, match="damaged: .* a single flipped bit in line 3.* delete the line 'checksum'"):
        read_json(path, Small)
    lines = [line for line in path.read_text().splitlines() if "checksum" not in line]
    path.write_text("\n".join(lines).replace("0.003,", "0.003"))
    assert read_json(path, Small) == Small("x", 0.003)


def test_a_file_that_was_edited_or_written_again_by_a_script_is_read(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, Small("x"))
    text = path.read_text()
    for changed in (text.replace('"x"', '"another name"'), text.replace("0.001", "0.25"), text + "\n\n"):
        path.write_text(changed)
        read_json(path, Small)
    path.write_text(text.replace("\n", "\r\n"))
    assert read_json(path, Small) == Small("x")
    for indent in (None, 4):
        path.write_text(json.dumps({**json.loads(text), "name": "y"}, indent=indent))
        assert read_json(path, Small) == Small("y")
    path.write_text(text.replace('"share"', '"shares"'))
    with pytest.raises(BadInputError, match="unknown field 'shares'"):
        read_json(path, Small)


def test_a_file_without_a_checksum_and_one_from_windows_are_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(to_text(Small("x")))
    assert read_json(path, Small) == Small("x")
    path.write_bytes(b"\xef\xbb\xbf" + to_text(Small("x"), indent=2).replace("\n", "\r\n").encode())
    assert read_json(path, Small) == Small("x")
    write_json(path, Small("x"), checksum=False)
    assert json.loads(path.read_text()) == {"name": "x", "share": 0.001}


def test_a_field_named_checksum_of_the_data_itself_stays(tmp_path):
    @dataclass(frozen=True)
    class Own:
        checksum: str

    (tmp_path / "a.json").write_text('{"checksum": "mine"}')
    assert read_json(tmp_path / "a.json", Own) == Own("mine")


def test_json_that_cannot_be_read_at_all_is_refused(tmp_path):
    path = tmp_path / "a.json"
    for content in (b"", b"\xff\xfe\x00", b"[" * 100000, b'{"name": "x", "share": ' + b"9" * 10000 + b"}"):
        path.write_bytes(content)
        with pytest.raises(BadInputError, match=r"a.json"):
            read_json(path, Small)


def test_a_flipped_bit_anywhere_in_a_cohort_is_reported_or_changes_nothing(tmp_path):
    cohort = Cohort.create(tmp_path / "c", "c", {1: "a"})
    geometry = VolumeGeometry.from_spacing((4, 3, 2))
    image = np.arange(24, dtype=np.int16).reshape(4, 3, 2)
    labels = (image % 3 == 0).astype(np.uint8)
    cohort.add_case("x", image, geometry)
    cohort.save_annotation("x", SparseAnnotation.from_slices(labels, geometry, Plane.AXIAL, [0, 2]))

    def everything():
        opened = Cohort.open(tmp_path / "c")
        annotation = opened.annotation("x")
        array, where = opened.image("x")
        return opened.file, array.tolist(), where, annotation.drawn_labels().tolist(), annotation.ledger

    right = everything()
    rng = np.random.default_rng(0)
    for path in (p for p in (tmp_path / "c").rglob("*") if p.suffix in (".json", ".nrrd")):
        content = path.read_bytes()
        for bit in rng.integers(0, 8 * len(content), 150).tolist():
            path.write_bytes(flipped(content, bit))
            with contextlib.suppress(SparseAnnotateError):
                assert everything() == right, f"{path.name}, bit {bit}"
        path.write_bytes(content)


@pytest.mark.parametrize("shape", [(5,), (2, 3, 4), (0, 3)])
def test_an_array_in_the_cache_is_taken_only_when_every_bit_is_as_it_was(tmp_path, shape):
    path = tmp_path / "a.npy"
    array = np.random.default_rng(0).normal(size=shape).astype(np.float16)
    save_array(path, array)
    np.testing.assert_array_equal(load_array(path), array)
    np.testing.assert_array_equal(np.load(path, mmap_mode="r" if array.size else None), array)
    assert is_whole_array(path)
    content = path.read_bytes()
    for changed in (flipped(content, 8 * len(content) - 100), flipped(content, 900), content[:-1], content[:40], b""):
        path.write_bytes(changed)
        assert load_array(path) is None
        assert not is_whole_array(path)
    assert load_array(tmp_path / "none.npy") is None
    assert not is_whole_array(tmp_path / "none.npy")
