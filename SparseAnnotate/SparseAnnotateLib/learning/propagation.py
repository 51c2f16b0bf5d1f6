"""Learned filling: the labels of the nearest drawn slices are carried along from slice to slice.

From both drawn slices beside a gap labels cascade through it; where both arrive they are blended by distance and by
cycle consistency: a pixel that does not come back to where it was found, when it is looked for the other way round,
counts less. See `slice_propagation` for the sources.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..core import BadInputError, Cohort, RunError, SparseAnnotation, VolumeGeometry, Watch
from ..core.images import require_finite
from ..interpolation import Fill, register_interpolator
from ..interpolation.confidence import scaled
from ..interpolation.drawn_stack import FOREGROUND, Gap, PlaneBox, joined, widened
from ..interpolation.gap_filling import GapInterpolator
from ..interpolation.label_fields import DrawnSlices

_VERSION = 1  # part of every name in the cache
_LOST_PIXELS = 2.0  # a cycle error at which a pixel counts about half
_MARGIN = 24  # pixels around the drawn labels that a structure may wander into


@register_interpolator("propagation", "Learns on the images how slices go on, and carries the drawn labels along.")
class PropagationInterpolator(GapInterpolator):
    """Carries labels along the slices of the plane with most drawn slices, with a network that matches slices.

    Args:
        matcher: a trained SliceMatcher; by default one is trained on the image that is filled.
        settings: a PropagationSettings for that.
    """

    needs_image = True
    looks_at_image = True

    def __init__(self, matcher=None, settings=None):
        self._matcher = matcher
        self._settings = settings
        self._own: tuple[np.ndarray, int, object] | None = None

    def fill(
        self,
        annotation: SparseAnnotation,
        image: np.ndarray | None,
        geometry: VolumeGeometry,
        watch: Watch | None = None,
    ) -> Fill:
        """See `Interpolator.fill`. Raises BadInputError without an image, or when it is the same everywhere."""
        if image is None:
            raise BadInputError("Filling by propagation looks at the image, and there is none. Fill by shape instead.")
        require_finite(image, "The image to fill in")
        watch = watch or Watch()
        axis = DrawnSlices.of(annotation).main.axis
        if self._matcher is None and (self._own is None or self._own[0] is not image or self._own[1] != axis):
            self._own = (image, axis, self._trained(image, axis, Watch.part_of(watch, 0, 2)))
            watch = Watch.part_of(watch, 1, 2)
        return super().fill(annotation, image, geometry, watch)

    def _trained(self, image: np.ndarray, axis: int, watch: Watch):
        from .slice_propagation import PropagationSettings, train_matcher
        from .training_data import normalise

        volume = np.moveaxis(normalise(image, "percentile"), axis, 0)
        return train_matcher([lambda: volume], self._settings or PropagationSettings(), watch)

    def _prepare(self, annotation: SparseAnnotation, drawn: DrawnSlices, image: np.ndarray | None):
        from .training_data import normalise

        return drawn.main.moved(normalise(image, "percentile"))

    def _fill_gap(self, drawn: DrawnSlices, gap: Gap, prepared, out: np.ndarray, confidence: np.ndarray) -> None:
        box: PlaneBox | None = None
        for index in gap.neighbours:
            box = joined(box, drawn.main.boxes(index).get(FOREGROUND))
        if box is None:
            return
        box = widened(box, _MARGIN, drawn.main.shape)
        values = np.array(
            [0, *(v for v in drawn.labels_in(gap) if any(v in drawn.main.boxes(i) for i in gap.neighbours))]
        )
        chances, trust = self._carried(drawn, gap, prepared, box, values)
        part = (slice(None), *box)
        elsewhere = drawn.drawn_elsewhere(gap)
        keep = np.ones(chances.shape[:1] + chances.shape[2:], dtype=bool) if elsewhere is None else ~elsewhere[part]
        winner = values[chances.argmax(1)].astype(out.dtype)
        out[part][keep] = winner[keep]
        sure = scaled(confidence[part], np.clip(chances.max(1) * (0.5 + 0.5 * trust), 0, 1))
        confidence[part][keep] = sure[keep]

    def _carried(self, drawn: DrawnSlices, gap: Gap, image: np.ndarray, box: PlaneBox, values: np.ndarray):
        """(count, labels, rows, columns) and (count, rows, columns) float32: the labels' chances, and the trust."""
        import torch

        matcher = self._matcher if self._matcher is not None else self._own[2]
        device = next(matcher.parameters()).device
        first, stop = min(gap.first, *gap.neighbours), max(gap.stop - 1, *gap.neighbours) + 1
        slices = torch.from_numpy(np.asarray(image[(slice(first, stop), *box)], dtype=np.float32)).to(device)
        with torch.inference_mode():
            features = [matcher.encode(layer[None, None]) for layer in slices]
            chances = torch.zeros((gap.count, len(values), *slices.shape[1:]))
            trust = torch.zeros((gap.count, *slices.shape[1:]))
            for index in gap.neighbours:
                layer = drawn.main.slices[index][box]
                known = torch.from_numpy(np.stack([layer == v for v in values]).astype(np.float32))[None].to(device)
                steps = range(gap.first, gap.stop) if index == gap.before else range(gap.stop - 1, gap.first - 1, -1)
                consistent = torch.ones_like(known[:, :1])
                before = index
                for here in steps:
                    known, consistent = _step(
                        matcher, features[here - first], features[before - first], known, consistent
                    )
                    share = 1.0 if gap.is_end else 1.0 - abs(here - index) / (gap.count + 1)
                    weight = share * (consistent[0, 0] + 1e-3)
                    chances[here - gap.first] += (weight * known[0]).cpu()
                    trust[here - gap.first] += weight.cpu()
                    before = here
            chances /= trust[:, None]
        return chances.numpy(), np.clip(trust.numpy(), 0, 1)


def _step(matcher, here, before, known, consistent):
    """Carry labels and consistency from one slice to the next."""
    import torch
    from torch.nn import functional

    there = matcher.affinity(here, before)
    back = matcher.affinity(before, here)
    rows, columns = here.shape[2:]
    grid = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"))[None].to(here)
    # Padding is 0, so carry offsets: pixels at the border would be drawn to the corner otherwise.
    centre = grid.new_tensor([(rows - 1) / 2, (columns - 1) / 2])[None, :, None, None]
    origin = matcher.carried(there, grid - centre) + centre
    returned = matcher.carried(back, grid - centre) + centre
    size = grid.new_tensor([max(rows - 1, 1), max(columns - 1, 1)])[None, :, None, None]
    place = (2 * origin / size - 1).permute(0, 2, 3, 1).flip(-1)
    arrived = functional.grid_sample(returned, place, align_corners=True, padding_mode="border")
    error = (arrived - grid).square().sum(1, keepdim=True)
    kept = matcher.carried(there, consistent) * torch.exp(-error / (2 * _LOST_PIXELS**2))
    return matcher.carried(there, known), kept


def trained_propagation(
    cohort: Cohort, names: Sequence[str], settings=None, watch: Watch | None = None
) -> PropagationInterpolator:
    """An interpolator whose network has learned on the annotated cases; kept in the cohort's cache.

    Args:
        names: cases with drawn slices; slices are stacked as most of theirs are. settings: a PropagationSettings.
    """
    from ..selection import image_mark
    from .devices import chosen_device
    from .slice_propagation import PropagationSettings, SliceMatcher, train_matcher
    from .weights import load_weights, save_weights

    settings = settings or PropagationSettings()
    axes = {name: DrawnSlices.of(cohort.annotation(name)).main.axis for name in names}
    facts = sorted((image_mark(cohort, name), axis) for name, axis in axes.items())
    key = hashlib.sha256(repr((_VERSION, settings, facts)).encode()).hexdigest()[:16]
    path = cohort.cache_folder / "propagation" / f"{key}.safetensors"
    matcher = SliceMatcher(settings.channels, settings.radius)
    if path.is_file():
        try:
            load_weights(path, matcher)
            return PropagationInterpolator(matcher.to(chosen_device(settings.device).device).eval())
        except RunError:
            Path(path).unlink()
    volumes = [_mapped(cohort, name, axis) for name, axis in axes.items()]
    matcher = train_matcher(volumes, settings, watch)
    save_weights(path, matcher)
    return PropagationInterpolator(matcher)


def _mapped(cohort: Cohort, name: str, axis: int):
    from .training_data import normalised_image

    geometry = cohort.geometry(name)
    place, _ = geometry.to_standard_slice(axis, 0)
    return lambda: np.moveaxis(normalised_image(cohort, name, "percentile"), place, 0)
