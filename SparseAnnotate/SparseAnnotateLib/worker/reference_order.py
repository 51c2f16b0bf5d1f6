"""Whether reference files are in the order of their images, judged by their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from ..core.case_names import collision_key
from ..core.decathlon import case_name
from ..core.messages import _

_WORDS = r"[^\W_]+"
_LETTERS_OR_DIGITS = r"[^\W\d_]+|\d+"


def order_problem(images: Sequence[str], references: Sequence[str]) -> tuple[str | None, list[tuple[str, str]]]:
    """How well references match their images by name.

    Returns a sentence when a reference seems to belong to another image than the one at its position, else None; and
    the pairs (image, reference) whose names do not match.
    """
    best = [_images_like(number, images, references) for number in range(len(references))]
    moved = [(number, found[0]) for number, found in enumerate(best) if len(found) == 1 and found != [number]]
    if moved:
        shown = "; ".join(f"'{_short(references[r])}' to '{_short(images[i])}'" for r, i in moved[:3])
        return (
            _(
                "The references are not in the order of the images. Judging by their names, they belong together like "
                "this: {pairs}. Give one reference for each image, in the same order."
            ).format(pairs=f"{shown}{' ...' if len(moved) > 3 else ''}"),
            [],
        )
    return None, [(images[n], references[n]) for n, found in enumerate(best) if n not in found]


def _images_like(number: int, images: Sequence[str], references: Sequence[str]) -> list[int]:
    """The images whose names match that of a reference best; empty when none does, or it cannot be decided."""
    name = _key(references[number])
    names = [_key(image) for image in images]
    equal = [n for n, image in enumerate(names) if image == name]
    if equal:
        return equal if len(equal) == 1 else _by_tokens(number, images, references)
    prefixes = [
        (len(image), n) for n, image in enumerate(names) if _begins_with(name, image) or _begins_with(image, name)
    ]
    longest = max(prefixes, default=(0, 0))[0]
    found = [n for length, n in prefixes if length == longest]
    return found if len(found) == 1 else _by_tokens(number, images, references)


def _by_tokens(number: int, images: Sequence[str], references: Sequence[str]) -> list[int]:
    """Match by the words and numbers that differ between the paths of the images, and between those of the references.

    Used only when each reference gets a different image this way: a single number in common may be chance.
    """
    for pattern in (_WORDS, _LETTERS_OR_DIGITS):
        of_images, of_references = _distinctive_tokens(images, pattern), _distinctive_tokens(references, pattern)
        choices = []
        for own in of_references:
            scores = [len(own & other) for other in of_images]
            top = max(scores, default=0)
            choices.append([n for n, score in enumerate(scores) if top and score == top])
        if all(len(choice) == 1 for choice in choices) and len({choice[0] for choice in choices}) == len(choices):
            return choices[number]
    return []


def _distinctive_tokens(paths: Sequence[str], pattern: str) -> list[set[str]]:
    parts = [Path(path).absolute().parts for path in paths]
    shared = 0
    for column in zip(*parts, strict=False):
        if any(one != other for one, other in pairwise(column)):
            break
        shared += 1
    found = []
    for path, own in zip(paths, parts, strict=True):
        text = " ".join((*own[shared:-1], case_name(path)))
        plain = re.sub(r"(?<!\d)0+(?=\d)", "", collision_key(text))
        found.append(set(re.findall(pattern, plain)))
    everywhere = set.intersection(*found) if len(found) > 1 else set()
    return [tokens - everywhere for tokens in found]


def _begins_with(text: str, beginning: str) -> bool:
    return bool(beginning) and text.startswith(beginning) and not text[len(beginning) :][:1].isalnum()


def _key(path: str) -> str:
    return collision_key(case_name(path))


def _short(path: str) -> str:
    return "/".join(Path(path).parts[-2:])
