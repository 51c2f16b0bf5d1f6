"""Learned filling: the labels of the nearest drawn slices are propagated from slice to slice.

Labels are propagated into a gap from the drawn slices on both sides and blended by distance and by cycle consistency: a
pixel counts less if it is not matched back to where it came from. See `slice_matcher` for the sources.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Collection, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...core import Cohort, Plane, RunError, SparseAnnotation, Watch
from ...core.messages import _
from ...core.modalities import CT_WINDOW
from ...interpolation import Fill
from ...interpolation.confidence import scaled
from ...interpolation.drawn_stack import FOREGROUND, Gap, PlaneBox, common, joined, relative, widened
from ...interpolation.gap_filling import GapInterpolator, required_image
from ...interpolation.label_fields import DrawnSlices
from ...interpolation.label_gaps import LabelGap
from ...interpolation.seen_channels import channel_of_most
from ...runs.ct_scale import CtScale

if TYPE_CHECKING:
    from .slice_matcher import PropagationSettings, SliceMatcher

_VERSION = 1  # part of every name in the cache
_LOST_PIXELS = 2.0  # a cycle error at which a pixel counts about half
_CT = CtScale(*CT_WINDOW, mean=CT_WINDOW[0], deviation=CT_WINDOW[1] - CT_WINDOW[0])  # 0 to 1
_MARGIN = 24  # pixels around the drawn labels that a structure may extend into


@dataclass(frozen=True, eq=False)
class _Prepared:
    """The normalised image of one volume, with the stack's axis first."""

    image: np.ndarray


@dataclass(frozen=True, eq=False)
class _Learned:
    """What has been learned on one channel of the image that is filled, and for slices across one of its axes."""

    image: np.ndarray
    axis: int
    channel: int
    matcher: SliceMatcher


class PropagationInterpolator(GapInterpolator):
    """Carries labels along the slices of the main stack, with a network that matches slices.

    A label that occurs only on slices of another plane is not propagated. Of several channels it sees the one that
    shows most of the drawn structures best: with all of them it was worse on MS lesions (.090 Dice against .181).

    Args:
        matcher: a trained SliceMatcher; by default one is trained on the image that is filled.
        settings: a PropagationSettings for that.
        ct_channels: numbers of the channels that are CT, which have one scale; each image of the others is normalised
            by itself.
    """

    needs_image = True
    uses_image = True

    def __init__(
        self,
        matcher: SliceMatcher | None = None,
        settings: PropagationSettings | None = None,
        ct_channels: Collection[int] = (),
    ):
        self._matcher = matcher
        self._ct_channels = ct_channels
        self._settings = settings
        self._channel: int | None = None  # None: that of whichever annotation is filled
        self._own: list[_Learned] = []  # at most one; `seeing` shares it
        self._gpu = threading.Lock()
        self._last = threading.local()  # what was carried into a gap, for its other labels

    def fill(
        self,
        annotation: SparseAnnotation,
        image: np.ndarray | None,
        watch: Watch | None = None,
    ) -> Fill:
        """See `Interpolator.fill`. Raises BadInputError without an image, or when it is the same everywhere."""
        watch = watch or Watch()
        self._check_image(annotation, image)
        if self.learn(annotation, required_image(image), watch.part(0, 2)):
            watch = watch.part(1, 2)
        return super().fill(annotation, image, watch)

    def seeing(self, annotation: SparseAnnotation, image: np.ndarray | None) -> PropagationInterpolator:
        """See `SeesOneChannel`."""
        if image is None or image.ndim == 3:
            return self
        self._check_image(annotation, image)
        other = copy(self)
        other._channel = channel_of_most(image, annotation)
        return other

    def learn(self, annotation: SparseAnnotation, image: np.ndarray, watch: Watch) -> bool:
        """See `LearnsFirst`."""
        if self._matcher is not None:
            return False
        number, axis = self._channel_of(annotation, image), DrawnSlices.of(annotation).main.axis
        for own in self._own:
            if own.image is image and (own.axis, own.channel) == (axis, number):
                return False
        self._own[:] = [_Learned(image, axis, number, self._trained(image, number, axis, watch))]
        return True

    def _channel_of(self, annotation: SparseAnnotation, image: np.ndarray) -> int:
        if image.ndim == 3:
            return 0
        return channel_of_most(image, annotation) if self._channel is None else self._channel

    def prepared(self, annotation: SparseAnnotation, drawn: DrawnSlices, image: np.ndarray | None) -> _Prepared:
        """See `ChanceSource`; `learn` comes first."""
        self._check_image(annotation, image)
        return _Prepared(self._prepare(annotation, drawn, image))

    def chance(self, place: LabelGap, drawn: DrawnSlices, prepared: _Prepared, watch: Watch) -> np.ndarray:
        """See `ChanceSource`: the share of a label in what is carried to each voxel from both sides."""
        gap, last = place.gap, getattr(self._last, "carried", None)
        if last is None or last[0] is not prepared or last[1] != gap:
            box, values = self._region(drawn, gap)
            chances = self._carried(drawn, gap, prepared.image, box, values, watch)[0] if box is not None else None
            last = (prepared, gap, box, values, chances)
            self._last.carried = last
        _same, _gap, box, values, chances = last
        found = np.zeros(place.inside.shape, dtype=np.float32)
        if box is None or chances is None or place.value not in values:
            return found
        shared = common(place.box, box)
        if shared is not None:
            carried = chances[place.slices, int(np.flatnonzero(values == place.value)[0])]
            found[(slice(None), *relative(shared, place.box))] = carried[(slice(None), *relative(shared, box))]
        return found

    def closed(self, drawn: DrawnSlices, gap: Gap, near: np.ndarray) -> None:
        """See `ChanceSource`: what is carried has a share of background, too."""

    def _region(self, drawn: DrawnSlices, gap: Gap) -> tuple[PlaneBox | None, np.ndarray]:
        """Where labels are carried within a gap, and which, after the background."""
        box: PlaneBox | None = None
        for index in gap.neighbours:
            box = joined(box, drawn.main.boxes(index).get(FOREGROUND))
        # In the order of the drawing: the first label wins ties.
        shown = [v for v in drawn.labels_in(gap) if any(v in drawn.main.boxes(i) for i in gap.neighbours)]
        return (widened(box, _MARGIN, drawn.main.shape) if box is not None else None), np.array([0, *shown])

    def refill(
        self,
        previous: Fill,
        annotation: SparseAnnotation,
        image: np.ndarray | None,
        changed: Iterable[tuple[Plane, int]],
        watch: Watch | None = None,
    ) -> Fill:
        """Fill everything again, with the network that is already trained."""
        return self.fill(annotation, image, watch)

    def _trained(self, image: np.ndarray, number: int, axis: int, watch: Watch) -> SliceMatcher:
        from .slice_matcher import PropagationSettings, train_matcher

        volume = np.moveaxis(self._normalised(image, number, watch), axis, 0)
        return train_matcher([lambda: volume], self._settings or PropagationSettings(), watch)

    def _prepare(self, annotation: SparseAnnotation, drawn: DrawnSlices, image: np.ndarray | None) -> np.ndarray:
        image = required_image(image)
        return drawn.main.moved(self._normalised(image, self._channel_of(annotation, image)))

    def _normalised(self, image: np.ndarray, number: int, watch: Watch | None = None) -> np.ndarray:
        """A channel of an image, (K, J, I) float16."""
        from ..data.training_cases import normalise

        channel = image if image.ndim == 3 else image[number]
        return normalise(channel, "percentile", _CT if number in self._ct_channels else None, watch)

    def _fill_gap(
        self, drawn: DrawnSlices, gap: Gap, prepared, out: np.ndarray, confidence: np.ndarray, watch: Watch
    ) -> None:
        box, values = self._region(drawn, gap)
        if box is None:
            return
        chances, trust = self._carried(drawn, gap, prepared, box, values, watch)
        part = (slice(None), *box)
        elsewhere = drawn.drawn_elsewhere(gap)
        keep = np.ones(chances.shape[:1] + chances.shape[2:], dtype=bool) if elsewhere is None else ~elsewhere[part]
        winner = values[chances.argmax(1)].astype(out.dtype)
        out[part][keep] = winner[keep]
        sure = scaled(confidence[part], np.clip(chances.max(1).astype(np.float32) * (0.5 + 0.5 * trust), 0, 1))
        confidence[part][keep] = sure[keep]

    def _carried(
        self, drawn: DrawnSlices, gap: Gap, image: np.ndarray, box: PlaneBox, values: np.ndarray, watch: Watch
    ) -> tuple[np.ndarray, np.ndarray]:
        """(count, labels, rows, columns) float16 and (count, rows, columns) float32: chances, and trust."""
        from ..devices import Shortage, copied_to_cpu, within_memory

        if self._matcher is None and not self._own:
            raise ValueError("a gap is filled before there is a network")
        matcher = self._matcher if self._matcher is not None else self._own[0].matcher
        used = [matcher]

        def use_cpu(shortage: Shortage) -> None:
            device = next(used[0].parameters()).device
            if device.type == "cpu":
                raise RunError(
                    _(
                        "There is too little memory to propagate labels in an area of {rows} x {columns} pixels. Close "
                        "other programs, or choose another fill method."
                    ).format(rows=box[0].stop - box[0].start, columns=box[1].stop - box[1].start)
                )
            template = (
                _("'{device}' has too little memory: slices {first} to {last} are filled on the CPU, which is slow.")
                if shortage == "memory"
                else _("'{device}' cannot compute this: slices {first} to {last} are filled on the CPU, which is slow.")
            )
            note = template.format(device=device, first=gap.first, last=gap.stop - 1)
            logging.getLogger(__name__).warning(note)
            used[0] = copied_to_cpu(matcher)

        def carried() -> tuple[np.ndarray, np.ndarray]:
            return _carried_by(used[0], drawn, gap, image, box, values, watch)

        if next(matcher.parameters()).device.type == "cpu":
            return within_memory(carried, use_cpu)
        # Gaps that are filled at the same time would share a GPU's memory, and would not be faster.
        with self._gpu:
            return within_memory(carried, use_cpu)


def _carried_by(
    matcher: SliceMatcher,
    drawn: DrawnSlices,
    gap: Gap,
    image: np.ndarray,
    box: PlaneBox,
    values: np.ndarray,
    watch: Watch,
) -> tuple[np.ndarray, np.ndarray]:
    """See `PropagationInterpolator._carried`.

    Features are encoded when needed, twice each, so that memory grows with the labels only.
    """
    import torch

    device = next(matcher.parameters()).device

    def features(index: int) -> torch.Tensor:
        layer = torch.from_numpy(np.asarray(image[index][box], dtype=np.float32))
        return matcher.encode(layer.to(device)[None, None])

    shape = [s.stop - s.start for s in box]
    chances = np.zeros((gap.count, len(values), *shape), dtype=np.float16)
    trust = np.zeros((gap.count, *shape), dtype=np.float32)
    with torch.inference_mode():
        for index in gap.neighbours:
            layer = drawn.main.slices[index][box]
            known = torch.from_numpy(np.stack([layer == v for v in values]).astype(np.float32))[None].to(device)
            steps = range(gap.first, gap.stop) if index == gap.before else range(gap.stop - 1, gap.first - 1, -1)
            consistent, before = torch.ones_like(known[:, :1]), features(index)
            for position in steps:
                watch.check()
                here = features(position)
                known, consistent = _step(matcher, here, before, known, consistent)
                before = here
                share = 1.0 if gap.is_end else 1.0 - abs(position - index) / (gap.count + 1)
                weight = (share * (consistent[0, 0] + 1e-3)).cpu().numpy()
                # Means so far, so that half precision suffices.
                total = trust[position - gap.first] + weight
                chances[position - gap.first] += (
                    (known[0].cpu().numpy() - chances[position - gap.first]) * (weight / total)
                ).astype(np.float16)
                trust[position - gap.first] = total
    return chances, np.clip(trust, 0, 1)


def _step(matcher, here, before, known, consistent):
    """Carry labels and consistency from one slice to the next."""
    import torch
    from torch.nn import functional

    there = matcher.affinity(here, before)
    back = matcher.affinity(before, here)
    rows, columns = here.shape[2:]
    grid = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"))[None].to(here)
    # Offsets are propagated, because the padding of 0 would pull pixels at the border towards the corner.
    centre = grid.new_tensor([(rows - 1) / 2, (columns - 1) / 2])[None, :, None, None]
    origin = matcher.carried(there, grid - centre) + centre
    returned = matcher.carried(back, grid - centre) + centre
    size = grid.new_tensor([max(rows - 1, 1), max(columns - 1, 1)])[None, :, None, None]
    # Kept inside here: an Apple GPU cannot sample with padding_mode="border".
    place = (2 * origin / size - 1).clamp(-1, 1).permute(0, 2, 3, 1).flip(-1)
    arrived = functional.grid_sample(returned, place, align_corners=True)
    error = (arrived - grid).square().sum(1, keepdim=True)
    kept = matcher.carried(there, consistent) * torch.exp(-error / (2 * _LOST_PIXELS**2))
    return matcher.carried(there, known), kept


def propagation_for_cohort(
    cohort: Cohort, names: Sequence[str], watch: Watch | None, steps: int | None, device: str
) -> PropagationInterpolator:
    """See `trained_propagation`; `steps` in which it learns (None: its own default), on `device`."""
    from .slice_matcher import PropagationSettings

    settings = PropagationSettings(device=device)
    return trained_propagation(cohort, names, settings if steps is None else replace(settings, steps=steps), watch)


def trained_propagation(
    cohort: Cohort, names: Sequence[str], settings=None, watch: Watch | None = None
) -> PropagationInterpolator:
    """An interpolator whose network has learned on the annotated cases; kept in the cohort's cache.

    Args:
        names: cases with drawn slices; slices are stacked as most of theirs are. settings: a PropagationSettings.
    """
    from ..devices import chosen_device
    from ..weights import load_weights, save_weights
    from .slice_matcher import PropagationSettings, SliceMatcher, train_matcher

    settings = settings or PropagationSettings()
    drawn = {name: cohort.annotation(name) for name in names}
    seen = {name: (DrawnSlices.of(one).main.axis, _number_in(cohort, name, one)) for name, one in drawn.items()}
    # Ordered by content, so that names and order of the images make no difference.
    seen = dict(sorted(seen.items(), key=lambda item: (cohort.image_fingerprint(item[0]), item[1])))
    ct_channels = _ct_channels(cohort)
    facts = [(cohort.image_fingerprint(name), axis, *((n,) if n else ())) for name, (axis, n) in seen.items()]
    scales = (*([_CT] if 0 in ct_channels else ()), *sorted(ct_channels - {0}))
    key = hashlib.sha256(repr((_VERSION, settings, facts, *scales)).encode()).hexdigest()[:16]
    path = cohort.cache_folder / "propagation" / f"{key}.safetensors"
    matcher = SliceMatcher(settings.channels, settings.radius)
    if path.is_file():
        try:
            load_weights(path, matcher)
            return PropagationInterpolator(
                matcher.to(chosen_device(settings.device).device).eval(), ct_channels=ct_channels
            )
        except RunError:
            Path(path).unlink()
    volumes = [_mapped(cohort, name, axis, number, ct_channels, watch) for name, (axis, number) in seen.items()]
    matcher = train_matcher(volumes, settings, watch)
    save_weights(path, matcher)
    return PropagationInterpolator(matcher, ct_channels=ct_channels)


def _number_in(cohort: Cohort, name: str, annotation: SparseAnnotation) -> int:
    further = list(cohort.channel_paths(name))[1:]
    if not further:
        return 0
    image, geometry = cohort.image(name)
    return channel_of_most([image, *(cohort.channel_image(name, channel, geometry) for channel in further)], annotation)


def _ct_channels(cohort: Cohort) -> frozenset[int]:
    """The numbers of the channels that are CT in every case; if one is missing, later ones have other numbers."""
    found: dict[int, bool] = {}
    for case in cohort.cases:
        for number, channel in enumerate(cohort.channel_paths(case.name)):
            found[number] = found.get(number, True) and cohort.is_ct(channel)
    return frozenset(number for number, is_ct in found.items() if is_ct)


def _mapped(cohort: Cohort, name: str, axis: int, number: int, ct_channels: Collection[int], watch: Watch | None):
    from ..data.training_cases import normalised_image

    geometry = cohort.geometry(name)
    place, _ = geometry.to_standard_slice(axis, 0)
    channels = cohort.channels[:1] if number == 0 else [list(cohort.channel_paths(name))[number]]
    scales = {(*channels, "")[0]: _CT} if number in ct_channels else {}
    return lambda: np.moveaxis(normalised_image(cohort, name, "percentile", channels, scales, watch), place, 0)
