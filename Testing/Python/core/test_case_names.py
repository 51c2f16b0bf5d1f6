from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from SparseAnnotateLib.core import BadInputError
from SparseAnnotateLib.core.case_names import (
    LONGEST_STEM,
    check_name,
    collision_key,
    file_stem,
    name_collisions,
    name_problem,
    names_of_files,
    normal_name,
    usable_case_name,
)

NAMES_PEOPLE_HAVE = [
    "Gehirn_ä",
    unicodedata.normalize("NFD", "Müller ä2"),
    "สมองที่1",
    "दिमाग़ स्कैन",
    "نمی\u200cخواهم",
    unicodedata.normalize("NFD", "ガン"),
    "scan,1",
    "scan#1",
    "A&B",
    "scan[1]",
    "scan@2x",
    "it's",
    "T1=MPR",
    "_scan",
    "-scan",
    "scan..1",
    "{x}~1!$%^;`",
    "x" * 240,
]


@pytest.mark.parametrize("name", NAMES_PEOPLE_HAVE)
def test_names_that_files_have_are_names_of_cases(name):
    assert name_problem(normal_name(name)) is None
    assert usable_case_name(name) == normal_name(name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "is empty"),
        (" ", "is empty"),
        ("a/b", "contains '/'"),
        ("a\\b", "contains '\\\\'"),
        ("a:b", "contains ':'"),
        ("what?", "contains '\\?'"),
        ("a\nb", "U\\+000A"),
        ("a\x7fb", "U\\+007F"),
        ("bytes \udcff", "U\\+DCFF"),
        (".hidden", "a blank or a dot"),
        ("end.", "a blank or a dot"),
        (" x", "a blank or a dot"),
        ("x ", "a blank or a dot"),
        ("..", "a blank or a dot"),
        ("con", "Windows reserves"),
        ("AUX", "Windows reserves"),
        ("com1", "Windows reserves"),
        ("Lpt9.scan", "Windows reserves"),
        ("con.x", "Windows reserves"),
        ("nul .tar", "Windows reserves"),
    ],
)
def test_names_that_no_file_has_everywhere_are_refused_with_the_reason(name, words):
    with pytest.raises(BadInputError, match=words):
        check_name(name)
    with pytest.raises(BadInputError, match=words):
        file_stem(name)
    assert name_problem(usable_case_name(name)) is None


@given(st.text())
def test_any_text_gives_a_usable_name_and_usable_names_stay(text):
    name = usable_case_name(text)
    assert name_problem(name) is None
    assert usable_case_name(name) == name


@given(st.text())
def test_every_case_s_files_fit_into_a_file_name_with_all_that_is_added(text):
    stem = file_stem(usable_case_name(text))
    assert len(stem.encode()) <= LONGEST_STEM
    assert len(f".0123abcd.writing.{stem} pseudo-labels-0123456789ab.nii.gz".encode()) <= 255
    assert name_problem(stem) is None


@given(st.text(min_size=1), st.text(min_size=1), st.integers(0, 300))
def test_names_that_differ_on_every_system_have_files_of_their_own(one, other, padding):
    first, second = (usable_case_name("x" * padding + text) for text in (one, other))
    if collision_key(first) != collision_key(second):
        assert collision_key(file_stem(first)) != collision_key(file_stem(second))


def test_a_name_like_a_shortened_one_does_not_take_its_files():
    short = file_stem("y" * 300)
    assert file_stem(short) != short
    assert file_stem("y" * 300) != file_stem("y" * 301)


def test_accents_and_letters_that_some_systems_do_not_tell_apart_collide():
    apart = unicodedata.normalize("NFD", "ä")
    assert name_collisions(["a", "b", "A", apart, "ä", "Straße", "STRASSE"]) == [
        ("a", "A"),
        (apart, "ä"),
        ("Straße", "STRASSE"),
    ]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["x/a.nii.gz", "x/b.nii"], ["a", "b"]),
        (["s1/T1.nii.gz", "s2/T1.nii.gz"], ["s1", "s2"]),
        (["s1/T1.nii.gz", "s2/T1.nii.gz", "x/other.nii"], ["s1", "s2", "other"]),
        (["s1/anat/T1.nii.gz", "s2/anat/T1.nii.gz"], ["s1", "s2"]),
        (["s1/pre/T1.nii", "s2/pre/T1.nii", "s1/post/T1.nii"], ["s1 pre", "s2 pre", "s1 post"]),
        (["s1/scan.nii", "s2/Scan.nii"], ["s1", "s2"]),
        (["s1/T1.nii", "s2/T1.nii", "x/s1.nii"], ["s1", "s2", "x"]),
    ],
)
def test_cases_get_the_shortest_names_that_tell_them_apart(paths, names):
    stems = [path.rsplit("/", 1)[1].split(".")[0] for path in paths]
    assert names_of_files(paths, stems) == names


def test_cases_can_be_named_by_their_folders():
    assert names_of_files(["s1/a.nii", "s2/b.nii"], ["a", "b"], from_folder=True) == ["s1", "s2"]


def test_an_image_that_was_given_twice_is_named():
    with pytest.raises(BadInputError, match=r"The image '.*a\.nii' was given 2 times\. Name it once\."):
        names_of_files(["x/a.nii", "x/a.nii"], ["a", "a"])


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (["x/a.nii", "x/a.nii.gz"], "Several images are named 'a': 'x/a.nii', 'x/a.nii.gz'"),
        (["x/Scan.nii", "x/scan.nii"], "'Scan' and 'scan' differ in upper and lower case"),
        (["x/con.nii"], "'con': Windows reserves this name"),
    ],
)
def test_files_that_cannot_give_names_are_refused_with_the_way_out(paths, words):
    with pytest.raises(BadInputError, match=rf"{words}.*'--names'"):
        names_of_files(paths, [path.split("/")[1].split(".")[0] for path in paths])
