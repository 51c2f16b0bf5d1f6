"""Whether reference files are in the order of their images, judged by their names."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
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
    best = _images_like(images, references)
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


def _images_like(images: Sequence[str], references: Sequence[str]) -> list[list[int]]:
    """For each reference, the images whose names match its name best; empty when none does, or it cannot be decided."""
    alike = NamesAlike([_key(image) for image in images])
    found = [alike.best(_key(reference)) for reference in references]
    if any(len(numbers) != 1 for numbers in found):
        by_tokens = _by_tokens(images, references)
        found = [numbers if len(numbers) == 1 else by_tokens[n] for n, numbers in enumerate(found)]
    return found


class NamesAlike:
    """Finds the names that another one equals, or that share its beginning: 's1' and 's1_seg', not 's1' and 's10'."""

    def __init__(self, names: Sequence[str]):
        self._numbers: dict[str, list[int]] = {}
        for number, name in enumerate(names):
            self._numbers.setdefault(name, []).append(number)
        self._sorted = sorted(self._numbers)

    def best(self, name: str) -> list[int]:
        """The places of the names equal to `name`; without any, of the longest one that begins it or begins with it."""
        if name in self._numbers:
            return self._numbers[name]
        alike = [*self.beginnings(name), *self.continuations(name)]
        longest = max(map(len, alike), default=0)
        return sorted(number for other in alike if len(other) == longest for number in self._numbers[other])

    def beginnings(self, name: str) -> list[str]:
        """The names that `name` begins with, the longest last."""
        parts = (name[:end] for end in range(1, len(name)))
        return [part for part in parts if part in self._numbers and _begins_with(name, part)]

    def continuations(self, name: str) -> list[str]:
        """The names that begin with `name`."""
        found = []
        for other in self._sorted[bisect_left(self._sorted, name) :]:
            if not other.startswith(name):
                break
            if other != name and _begins_with(other, name):
                found.append(other)
        return found


def _by_tokens(images: Sequence[str], references: Sequence[str]) -> list[list[int]]:
    """Match by the words and numbers that differ between the paths of the images, and between those of the references.

    Used only when each reference gets a different image this way: a single number in common may be chance.
    """
    for pattern in (_WORDS, _LETTERS_OR_DIGITS):
        with_token: dict[str, list[int]] = {}
        for number, tokens in enumerate(_distinctive_tokens(images, pattern)):
            for token in tokens:
                with_token.setdefault(token, []).append(number)
        choices = []
        for own in _distinctive_tokens(references, pattern):
            scores = Counter(number for token in own for number in with_token.get(token, ()))
            top = max(scores.values(), default=0)
            choices.append(sorted(number for number, score in scores.items() if score == top))
        if all(len(choice) == 1 for choice in choices) and len({choice[0] for choice in choices}) == len(choices):
            return choices
    return [[] for _reference in references]


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
