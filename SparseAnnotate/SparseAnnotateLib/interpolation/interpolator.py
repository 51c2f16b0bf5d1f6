"""The interpolator protocol and its registry: how masks are filled in between drawn slices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np

from ..core import BadInputError, Plane, SparseAnnotation, Watch
from .hidden_score import HiddenScore


@dataclass(frozen=True, eq=False)
class Fill:
    """A completed annotation.

    Attributes:
        labels: (K, J, I), dtype of the annotation's labels; drawn slices are bit-exact.
        confidence: (K, J, I) uint8 percent, 100 on drawn slices and falling with distance and disagreement, never 0.
        warnings: sentences about what may be wrong with the fill, and where.
        methods: label to the method that filled it, when there was a choice.
        scores: leave-one-out of the methods there was a choice of.
    """

    labels: np.ndarray
    confidence: np.ndarray
    warnings: tuple[str, ...] = ()
    methods: Mapping[int, str] = field(default_factory=dict)
    scores: tuple[HiddenScore, ...] = ()


class Interpolator(Protocol):
    """Fills masks between drawn slices.

    Attributes:
        needs_image: True when it cannot fill without the image.
        looks_at_image: True when it makes use of an image that is there.
    """

    needs_image: bool
    looks_at_image: bool

    def fill(
        self,
        annotation: SparseAnnotation,
        image: np.ndarray | None,
        watch: Watch | None = None,
    ) -> Fill:
        """Complete a sparse annotation.

        Args:
            annotation: labels and the slices on which they count.
            image: (K, J, I) intensities for methods that look at the image; None where there is none.
            watch: takes progress out and the wish to cancel in.

        Raises:
            BadInputError: when nothing has been drawn, or the image does not fit.
            CancelledError: when cancelled through `watch`.
        """
        ...


@runtime_checkable
class IncrementalInterpolator(Interpolator, Protocol):
    """An interpolator that can bring a fill up to date after some slices have changed."""

    def refill(
        self,
        previous: Fill,
        annotation: SparseAnnotation,
        image: np.ndarray | None,
        changed: Iterable[tuple[Plane, int]],
        watch: Watch | None = None,
    ) -> Fill:
        """The fill after some slices have changed, from the one before: the same as `fill` gives, sooner.

        Args:
            previous: the fill of the annotation as it was; its arrays are changed and belong to the result.
            annotation: the annotation as it is now; slices may have been drawn, drawn again, or taken back.
            image: as for `fill`.
            changed: (plane, index) of every slice that is not as it was.
            watch: as for `fill`.

        Raises:
            BadInputError: when the previous fill is one of another volume.
        """
        ...


Factory = TypeVar("Factory", bound=Callable[[], Interpolator])
_REGISTRY: dict[str, tuple[Callable[[], Interpolator], str]] = {}


def register_interpolator(name: str, description: str) -> Callable[[Factory], Factory]:
    """Class decorator: make an interpolator known under `name`."""

    def add(factory: Factory) -> Factory:
        _REGISTRY[name] = (factory, description)
        return factory

    return add


def register_interpolator_from(place: str, name: str, description: str) -> None:
    """Make an interpolator known whose class, `module:Class`, is only imported when it is asked for."""
    module, _, attribute = place.partition(":")
    _REGISTRY[name] = (lambda: getattr(import_module(module), attribute)(), description)


def interpolator_named(name: str) -> Interpolator:
    """The interpolator of that name. Raises BadInputError when there is none."""
    if name not in _REGISTRY:
        raise BadInputError(f"There is no way to fill called '{name}'; choose one of {', '.join(_REGISTRY)}.")
    return _REGISTRY[name][0]()


def interpolator_descriptions() -> dict[str, str]:
    """Every interpolator's name and what it does in one sentence."""
    return {name: description for name, (_, description) in _REGISTRY.items()}
