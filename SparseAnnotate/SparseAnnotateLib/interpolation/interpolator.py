"""The protocol of the interpolators, which fill between drawn slices, and their registry."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
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
        methods: for each label the method that filled it, if several were tried.
        scores: leave-one-out scores of the methods that were tried.
        shares: for each label the share of each method in a mixture.
        far_shares: for each run in a mixture its share of each label far from drawn slices.
        left_out: sources that failed and take no part, with a sentence on each, which is among the warnings, too.
        measured_on: how many slices were drawn when the scores were measured. is_updated: some have changed since.
    """

    labels: np.ndarray
    confidence: np.ndarray
    warnings: tuple[str, ...] = ()
    methods: Mapping[int, str] = field(default_factory=dict)
    scores: tuple[HiddenScore, ...] = ()
    shares: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    measured_on: int = 0
    is_updated: bool = False
    far_shares: Mapping[str, Mapping[int, float]] = field(default_factory=dict)


class Interpolator(Protocol):
    """Fills masks between drawn slices.

    Attributes:
        needs_image: True when it cannot fill without the image.
        uses_image: True when it uses the image if there is one.
    """

    needs_image: bool
    uses_image: bool

    def fill(
        self,
        annotation: SparseAnnotation,
        image: np.ndarray | None,
        watch: Watch | None = None,
    ) -> Fill:
        """Complete a sparse annotation.

        Args:
            annotation: labels and the slices on which they count.
            image: (K, J, I) intensities for methods that use the image, (C, K, J, I) of several channels; None where
                there is none.
            watch: reports progress and passes on a request to cancel.

        Raises:
            BadInputError: when nothing has been drawn, or the image does not fit.
            CancelledError: when cancelled through `watch`.
        """
        ...


@runtime_checkable
class IncrementalInterpolator(Interpolator, Protocol):
    """An interpolator that can update a fill after some slices have changed."""

    def refill(
        self,
        previous: Fill,
        annotation: SparseAnnotation,
        image: np.ndarray | None,
        changed: Iterable[tuple[Plane, int]],
        watch: Watch | None = None,
    ) -> Fill:
        """Update a fill after some slices have changed: the same result as that of `fill`, sooner.

        A method that learns from the drawn slices may keep what it has learned.

        Args:
            previous: the fill of the earlier annotation; its arrays are changed and used for the result.
            annotation: the current annotation; slices may have been drawn, drawn again, or reset to 'to do'.
            image: as for `fill`.
            changed: (plane, index) of every slice that has changed.
            watch: as for `fill`.

        Raises:
            BadInputError: when the previous fill belongs to a volume of another size.
        """
        ...


@runtime_checkable
class FindsMore(Protocol):
    """An interpolator that finds structures in the volume that its drawn slices do not show, as a trained run does."""

    def found_elsewhere(self, annotation: SparseAnnotation) -> dict[int, int]:
        """Labels that it finds in the volume, and no drawn slice shows: how many voxels of each on the drawn slices."""
        ...

    def finding(self, values: Iterable[int]) -> Interpolator:
        """The same, which of these labels finds only `values`."""
        ...

    def unseen(self, annotation: SparseAnnotation, values: Iterable[int]) -> Fill:
        """Labels that no drawn slice says anything about; all other voxels are 0."""
        ...

    def notes(self, annotation: SparseAnnotation, left_out: Collection[str] = ()) -> list[str]:
        """Sentences on what it finds so; they are not among the warnings of its fills.

        `left_out`: see `Fill`.
        """
        ...


@runtime_checkable
class SeesOneChannel(Protocol):
    """An interpolator that sees only one of several channels, or chooses among methods that do."""

    def seeing(self, annotation: SparseAnnotation, image: np.ndarray | None) -> Interpolator:
        """The same for this image, which sees the channel that shows most of the structures best.

        What is then filled from a part of it, with some slices hidden or for some structures, uses this channel.

        Args:
            annotation: all that is drawn. image: as for `Interpolator.fill`.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class InterpolatorEntry(Entry):
    """A fill method as users choose it; `make` takes the `options` and returns an `Interpolator`.

    Attributes:
        options: the fields of a fill request that it takes: 'time_limit', 'steps', 'device'.
        learn: makes it for a cohort after learning on that cohort, from (cohort, names of the cases, watch) and the
            `options`; None when it learns nothing beforehand.
        chooses: True when it chooses among other methods.
        tried_by_auto: True when 'auto' chooses among it and others, the ones with a lower `order` being the simpler.
    """

    options: tuple[str, ...] = ()
    learn: Callable[..., Interpolator] | str | None = None
    chooses: bool = False
    tried_by_auto: bool = False

    @property
    def runs_in_worker(self) -> bool:
        """True when it never runs in Slicer's own process: it needs PyTorch, or chooses among methods that do."""
        if self.chooses and any(INTERPOLATORS[name].runs_in_worker for name in auto_methods()):
            return True
        return Need.TORCH in self.needs


INTERPOLATORS: Registry[InterpolatorEntry] = Registry(
    _("There is no fill method '{name}'; choose one of {names}."), f"{__package__}.interpolators"
)
DEFAULT_METHOD = "auto"


def auto_methods() -> tuple[str, ...]:
    """The names of the methods that 'auto' chooses from, the simplest first."""
    return tuple(name for name, entry in INTERPOLATORS.items() if entry.tried_by_auto)


def methods_with(option: str) -> tuple[str, ...]:
    """The names of the methods that take an option of fill requests, 'steps' for example."""
    return tuple(name for name, entry in INTERPOLATORS.items() if option in entry.options)


def choosing_methods() -> tuple[str, ...]:
    """The names of the methods that choose among others."""
    return tuple(name for name, entry in INTERPOLATORS.items() if entry.chooses)


def undemanding_method() -> str:
    """How users read the name of the simplest method that needs nothing, not even the image."""
    return next(INTERPOLATORS[name].label for name in auto_methods() if not INTERPOLATORS[name].needs)


def method_label(name: str) -> str:
    """How users read the name of a method; the name itself when it is not in the registry."""
    return INTERPOLATORS[name].label if name in INTERPOLATORS else name


def interpolator_named(name: str) -> Interpolator:
    """The interpolator of that name. Raises BadInputError when there is none."""
    interpolator: Interpolator = INTERPOLATORS.named(name).loaded()()
    return interpolator
