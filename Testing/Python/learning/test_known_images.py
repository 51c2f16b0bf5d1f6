"""Whether a run has learned from an image, whatever it is called now."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from SparseAnnotateLib.core import Cohort, VolumeGeometry
from SparseAnnotateLib.core.image_fingerprint import joined_fingerprint
from SparseAnnotateLib.core.images import write_image
from SparseAnnotateLib.core.strict_json import parse_json, to_text
from SparseAnnotateLib.runs import cards
from SparseAnnotateLib.runs.cards import RunCard

GEOMETRY = VolumeGeometry.from_spacing((3, 4, 5))
IMAGES = {name: np.full(GEOMETRY.shape, value, np.float32) for value, name in enumerate(("FLAIR", "T1", "T2", "PD"))}


def cohort_of(folder, case, channels):
    """A cohort of one case; `channels`: name to the one of the images that it has."""
    (first, _image), *further = channels.items()
    cohort = Cohort.create(folder, "x", {1: "one"}, channels=() if first == "" else tuple(channels))
    for channel, shown in channels.items():
        write_image(folder / f"{channel or 'image'}.nrrd", IMAGES[shown], GEOMETRY)
    paths = {channel: folder / f"{channel}.nrrd" for channel, _shown in further}
    cohort.add_case(case, folder / f"{first or 'image'}.nrrd", further=paths)
    return cohort


def card_of(cohort, channels=None) -> RunCard:
    """The card of a run that has learned from a cohort, as read from its file."""
    channels = cohort.channels if channels is None else channels
    names = [case.name for case in cohort.cases]
    card = RunCard(
        models=(),
        classes=(1,),
        label_names={1: "one"},
        normalisation="z_score",
        flip=(),
        view_dice={},
        view_weights={},
        seconds=1.0,
        validation_dice=0.9,
        slices=3,
        cases=tuple(names),
        seed=0,
        device="cpu",
        precision="fp32",
        channels=channels,
        # As training does it.
        image_marks=tuple(cohort.image_fingerprint(name, channels) for name in names),
    )
    return parse_json(to_text(card), RunCard, "the card")


@pytest.mark.parametrize(
    ("learned", "now"),
    [
        ({"FLAIR": "FLAIR", "T1": "T1"}, {"T1": "T1", "FLAIR": "FLAIR"}),
        ({"FLAIR": "FLAIR", "T1": "T1"}, {"T1": "FLAIR", "FLAIR": "T1"}),
        ({"FLAIR": "FLAIR", "T1": "T1"}, {"T2": "T2", "T1": "T1", "FLAIR": "FLAIR"}),
        ({"": "FLAIR"}, {"": "FLAIR"}),
        ({"": "FLAIR"}, {"T1": "T1", "FLAIR": "FLAIR"}),
        ({"FLAIR": "FLAIR"}, {"dark": "T1", "bright": "FLAIR"}),
    ],
)
def test_an_image_is_known_by_another_name_and_with_its_channels_in_another_order(tmp_path, learned, now):
    card = card_of(cohort_of(tmp_path / "learned", "first", learned))
    other = cohort_of(tmp_path / "now", "second", now)
    assert card.has_learned_from("second", lambda: list(other.image_marks("second").values()))


@pytest.mark.parametrize("now", [{"FLAIR": "T2", "T1": "PD"}, {"FLAIR": "FLAIR", "T1": "PD"}, {"FLAIR": "FLAIR"}])
def test_another_image_is_not_taken_for_one_that_was_learned_from(tmp_path, now):
    card = card_of(cohort_of(tmp_path / "learned", "first", {"FLAIR": "FLAIR", "T1": "T1"}))
    other = cohort_of(tmp_path / "now", "second", now)
    assert not card.has_learned_from("second", lambda: list(other.image_marks("second").values()))


def test_a_case_of_the_same_name_is_known_without_reading_its_images(tmp_path):
    card = card_of(cohort_of(tmp_path / "learned", "first", {"": "FLAIR"}))
    assert card.has_learned_from("first", lambda: pytest.fail("its images were read"))


def test_the_card_of_a_run_from_before_images_were_recorded_knows_cases_by_their_names(tmp_path):
    fields = json.loads(to_text(card_of(cohort_of(tmp_path / "c", "first", {"": "FLAIR"}))))
    del fields["image_marks"]
    old = parse_json(json.dumps(fields), RunCard, "the card")
    assert old.has_learned_from("first", list)
    assert not old.has_learned_from("second", lambda: pytest.fail("its images were read"))


def test_a_channel_that_was_added_later_leaves_an_image_known(tmp_path):
    cohort = cohort_of(tmp_path / "learned", "first", {"FLAIR": "FLAIR", "T1": "T1"})
    card = card_of(cohort, ("FLAIR",))
    other = cohort_of(tmp_path / "now", "second", {"FLAIR": "FLAIR", "T1": "T1"})
    assert card.has_learned_from("second", lambda: list(other.image_marks("second").values()))


def test_eight_channels_in_any_order_are_compared(tmp_path):
    marks = [f"{number:024x}" for number in range(8)]
    names = tuple("abcdefgh")
    cohort = cohort_of(tmp_path / "c", "first", {"": "FLAIR"})
    card = replace(
        card_of(cohort),
        channels=names,
        image_marks=(joined_fingerprint(list(zip(names, marks, strict=True))),),
    )
    assert card.has_learned_from("second", lambda: marks[::-1])
    assert not card.has_learned_from("second", lambda: [*marks[:-1], "f" * 24])


def test_channels_that_share_a_file_are_compared_once(tmp_path, monkeypatch):
    tried = []
    monkeypatch.setattr(cards, "joined_fingerprint", lambda marks: tried.append(marks) or joined_fingerprint(marks))
    cohort = cohort_of(tmp_path / "c", "first", {"": "FLAIR"})
    card = replace(card_of(cohort), channels=tuple("abcdefgh"))
    assert not card.has_learned_from("second", lambda: ["f" * 24] * 8)
    assert len(tried) == 1
    few = replace(card, channels=tuple("abc"))
    tried.clear()
    few.has_learned_from("second", lambda: ["1", "2", "1", "3"])
    assert len(tried) == len({tuple(marks) for marks in tried}) == len(set(permutations(["1", "2", "1", "3"], 3)))
