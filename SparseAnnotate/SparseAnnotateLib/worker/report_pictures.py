"""Pictures of a case for the report: drawn slices with their outlines, and a result between them."""

from __future__ import annotations

import base64
import io

import numpy as np

from ..core import Cohort, Plane
from ..core.applied_segmentation import AppliedSegmentation
from ..core.images import read_labels
from ..core.intensities import Intensities
from ..core.planes import slice_layer
from .packages import require_packages
from .report_request import APPLIED, FILL, CaseReport

_SLICES = 3
_COLORS = ((230, 90, 60), (70, 150, 230), (90, 190, 80), (240, 190, 60), (180, 110, 220), (60, 200, 200))
_SHORTEST_SIDE = 160  # pixels; smaller slices are enlarged


def case_picture(cohort: Cohort, case: CaseReport) -> str:
    """A PNG as base64: three slices side by side, with the outlines of what is drawn, or else of the newest result.

    The slices are the drawn ones in the middle and at a quarter from both ends; without drawn slices, of the volume.
    Raises BadInputError when the image cannot be read.
    """
    require_packages(("matplotlib",))
    from matplotlib.image import imsave

    image, geometry = cohort.image(case.name)
    decided = case.ledger.decided
    planes = [entry.plane for entry in decided]
    plane = max(Plane, key=planes.count) if planes else Plane.AXIAL
    axis = plane.array_axis(geometry)
    drawn = sorted(entry.index for entry in decided if entry.plane is plane)
    places = drawn or list(range(image.shape[axis]))
    chosen = sorted({places[round(share * (len(places) - 1))] for share in (0.25, 0.5, 0.75)})[:_SLICES]
    labels = (
        cohort.annotation(case.name, on_any_image=True).drawn_labels() if drawn else _result(cohort, case, geometry)
    )
    # As for computing: values that float32 cannot hold are scaled, and padding does not take up the range of grays.
    intensities = Intensities.of(image)
    low, high = np.percentile(intensities.shown_in(image[slice_layer(axis, chosen[len(chosen) // 2])]), (1, 99))
    tiles = []
    for index in chosen:
        layer = intensities.of_part(image[slice_layer(axis, index)])
        gray = np.clip((layer - low) / ((high - low) or 1.0), 0, 1)
        picture = np.repeat((255 * gray).astype(np.uint8)[..., None], 3, axis=2)
        factor = max(1, -(-_SHORTEST_SIDE // min(picture.shape[:2])))
        picture = picture.repeat(factor, axis=0).repeat(factor, axis=1)
        if labels is not None:
            shown = labels[slice_layer(axis, index)].repeat(factor, axis=0).repeat(factor, axis=1)
            for place, value in enumerate(sorted(cohort.labels) or np.unique(shown[shown > 0]).tolist()):
                picture[_outline(shown == value)] = _COLORS[place % len(_COLORS)]
        tiles += [_upright(picture, plane, geometry), np.full((1, 4, 3), 255, np.uint8)]
    height = max(tile.shape[0] for tile in tiles)
    tiles = [np.pad(t, ((0, height - t.shape[0]), (0, 0), (0, 0)), constant_values=255) for t in tiles[:-1]]
    found = io.BytesIO()
    imsave(found, np.ascontiguousarray(np.concatenate(tiles, axis=1)), format="png")
    return base64.b64encode(found.getvalue()).decode("ascii")


def _result(cohort: Cohort, case: CaseReport, geometry) -> np.ndarray | None:
    """Labels of the newest result that is up to date."""
    current = [state for state in case.results if not state.change]
    if not current:
        return None
    made_by = current[-1].made_by
    if made_by == APPLIED:
        annotation = cohort.annotation(case.name, on_any_image=True)
        return AppliedSegmentation.required(cohort, case.name).with_drawn(annotation).labels
    path = cohort.fill_path(case.name) if made_by == FILL else cohort.prediction_path(made_by, case.name)
    return read_labels(path, geometry)


def _outline(mask: np.ndarray) -> np.ndarray:
    """bool: the voxels of a mask with a neighbor outside of it."""
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    outline: np.ndarray = mask & ~inside
    return outline


def _upright(picture: np.ndarray, plane: Plane, geometry) -> np.ndarray:
    """As radiologists look at it: superior or anterior at the top, the patient's right on the left."""
    axis = plane.array_axis(geometry)
    rows, columns = (a for a in range(3) if a != axis)
    # Direction of each array axis: which of R, A, S it follows most, and its sign.
    directions = geometry.matrix[:3, :3][:, ::-1]
    anatomical = [int(np.abs(directions[:, a]).argmax()) for a in (rows, columns)]
    signs = [float(np.sign(directions[way, a])) for way, a in zip(anatomical, (rows, columns), strict=True)]
    vertical = {Plane.AXIAL: 1, Plane.CORONAL: 2, Plane.SAGITTAL: 2}[plane]
    if anatomical[0] != vertical:
        picture, anatomical, signs = picture.swapaxes(0, 1), anatomical[::-1], signs[::-1]
    if signs[0] > 0:
        picture = picture[::-1]
    # Right, or anterior, on the left.
    return picture[:, ::-1] if signs[1] > 0 else picture
