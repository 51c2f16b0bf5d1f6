"""The interpolator protocol and its registry: how masks are filled in between drawn slices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from ..core import Plane, SparseAnnotation, Watch
from ..core.messages import _
from ..core.registry import Entry, Need, Registry
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


@dataclass(frozen=True, kw_only=True)
class InterpolatorEntry(Entry):
    """A way to fill as users choose it; `make` takes the `options` and gives an `Interpolator`.

    Attributes:
        options: which of the fields of a fill request it takes: 'time_limit', 'steps', 'device'.
        learn: what makes it for a cohort that it learns on first, with the arguments (cohort, names of the cases,
            watch) and the `options`; None when it learns nothing beforehand.
        chooses: True when it chooses among other ways.
    """

    options: tuple[str, ...] = ()
    learn: Callable[..., Interpolator] | str | None = None
    chooses: bool = False

    @property
    def runs_in_worker(self) -> bool:
        """True when it never runs in Slicer's own process."""
        return Need.TORCH in self.needs


INTERPOLATORS: Registry[InterpolatorEntry] = Registry(
    _("There is no fill method '{name}'; choose one of {names}."), f"{__package__}.interpolators"
)
DEFAULT_METHOD = "auto"


def interpolator_named(name: str) -> Interpolator:
    """The interpolator of that name. Raises BadInputError when there is none."""
    interpolator: Interpolator = INTERPOLATORS.named(name).loaded()()
    return interpolator
