"""Large arrays in pieces: between two pieces the event loop runs, so that a window stays responsive."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from enum import Enum
from threading import Thread
from typing import Any, TypeVar

import numpy as np

from .voxel_boxes import Box, boxes_of_values, enclosing_box, moved_by

PIECE_BYTES = 1 << 20  # some ten milliseconds of work, even where each voxel is looked at several times
_LOOK_AGAIN_SECONDS = 0.005

Result = TypeVar("Result")


class Piece(Enum):
    """What a piece of work can say of the next one."""

    NEXT_IS_LONG = "the next piece takes long"
    """It takes long and cannot be divided, so that it does not come in addition to the pieces before it."""

    NEXT_IS_KEPT = "what follows is kept, and not cancelled any more"
    """The next pieces change something step by step: a cancellation would leave a part of it."""


def slabs(shape: Sequence[int], bytes_per_voxel: int) -> Iterator[slice]:
    """The layers of a (K, J, I) array in groups of about PIECE_BYTES, at least one layer each."""
    layers = max(1, PIECE_BYTES // max(1, int(np.prod(shape[1:])) * bytes_per_voxel))
    for first in range(0, shape[0], layers):
        yield slice(first, min(shape[0], first + layers))


def result_of(steps: Generator[Any, None, Result]) -> Result:
    """The result of work in pieces, done at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result


def done_beside(action: Callable[[], None]) -> Iterator[None]:
    """Do in a thread what waits for the system; yields until it is done. Raises what `action` raises."""
    errors: list[Exception] = []

    def act() -> None:
        try:
            action()
        except Exception as error:
            errors.append(error)

    thread = Thread(target=act, name="waiting for the system", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(_LOOK_AGAIN_SECONDS)
            yield
    finally:
        thread.join()  # who gives this up closes or removes what the action works on
    if errors:
        raise errors[0]


def while_wanted(
    steps: Generator[Any, None, Result], is_wanted: Callable[[], bool]
) -> Generator[None, None, Result | None]:
    """Work in pieces that is given up before the first piece that is not wanted any more; the result is None then."""
    while is_wanted():
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result
        yield
    steps.close()
    return None


def finding_box(array: np.ndarray) -> Generator[None, None, Box | None]:
    """`voxel_boxes.bounding_box` in pieces."""
    filled: list[int] = []
    seen = np.zeros(array.shape[1:], dtype=array.dtype)
    for slab in slabs(array.shape, array.itemsize):
        part = array[slab]
        layers = np.flatnonzero(part.reshape(len(part), -1).any(axis=1))
        filled += (layers + slab.start).tolist()
        if len(layers):
            seen |= np.bitwise_or.reduce(part, axis=0)
        yield
    if not filled:
        return None
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    return (
        slice(filled[0], filled[-1] + 1),
        slice(int(rows[0]), int(rows[-1]) + 1),
        slice(int(columns[0]), int(columns[-1]) + 1),
    )


def finding_boxes_of_values(array: np.ndarray) -> Generator[None, None, dict[int, Box]]:
    """`voxel_boxes.boxes_of_values` in pieces."""
    boxes: dict[int, Box] = {}
    for slab in slabs(array.shape, array.itemsize):
        for value, box in boxes_of_values(array[slab]).items():
            found = moved_by(box, (slab.start, 0, 0))
            boxes[value] = enclosing_box([boxes.get(value, found), found]) or found
        yield
    return boxes
