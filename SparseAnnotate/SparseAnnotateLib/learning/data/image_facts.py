"""What the images of a cohort are like, kept in its cache: see `runs.learned_images`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from ...core import BadInputError, Cohort, CohortError, FileWriteError
from ...core.strict_json import read_json, write_json
from ...runs.learned_images import ImageFacts, LearnedImages
from .image_channels import channels_mark


def case_facts(cohort: Cohort, name: str, channel: str = "") -> ImageFacts:
    """What a case's image is like, or that of a channel. Raises BadInputError as `Cohort.image`."""
    is_first = not channel or channel == cohort.channels[0]
    path = facts_path(cohort, name) if is_first else facts_path(cohort, name, channel)
    with suppress(BadInputError):  # not there, damaged, or of another version
        return read_json(path, ImageFacts)
    if is_first:
        facts = ImageFacts.of(*cohort.image(name))
    else:
        geometry = cohort.geometry(name)
        facts = ImageFacts.of(cohort.channel_image(name, channel, geometry), geometry)
    keep_facts(path, facts)
    return facts


def learned_images(cohort: Cohort, names: Iterable[str], channels: Sequence[str] = ()) -> LearnedImages | None:
    """What the images of cases that have been learned from are like; `channels`: of the run, whose first one counts.

    Those that can no longer be read are left out: a training that has reached its end must not fail because of them.
    """
    found = []
    for name in names:
        with suppress(BadInputError, CohortError):
            found.append(case_facts(cohort, name, next(iter(channels), "")))
    return LearnedImages.of(found)


def facts_path(cohort: Cohort, name: str, channel: str = "") -> Path:
    """Where the facts on a case's image, or that of a further channel, are kept.

    Raises BadInputError when the image is missing.
    """
    which = channels_mark([channel]) if channel else ""
    return cohort.cache_folder / "image_facts" / f"{cohort.image_fingerprint(name)}{which}.json"


def keep_facts(path: Path, facts: ImageFacts) -> None:
    """Keep facts, so that the image need not be read again; on a full disk they are not kept."""
    with suppress(FileWriteError):
        write_json(path, facts)
