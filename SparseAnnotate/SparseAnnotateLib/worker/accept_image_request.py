"""The request that lets what was drawn belong to the images that are there now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ..core import BadInputError, CancelledError, Cohort, SparseAnnotateError, Watch
from ..core.atomic_files import require_writable_place
from ..core.drawn_on import AcceptedImage
from ..core.failed_cases import report_failed
from ..core.image_fingerprint import image_files
from ..core.messages import _

_NOT_ACCEPTED = (
    _("{count} image was not accepted (others accepted: {done}):\n{problems}"),
    _("{count} images were not accepted (others accepted: {done}):\n{problems}"),
)


@dataclass(frozen=True)
class AcceptImageRequest:
    """Accept the images of cases whose voxels are not those that were drawn on.

    Attributes:
        cases: only these; by default all whose image is another one.
    """

    cohort: str
    state: str | None = None
    cases: tuple[str, ...] = ()


def accept_image(request: AcceptImageRequest, watch: Watch) -> list[AcceptedImage]:
    """Let what was drawn on cases belong to the images that are there now; returns those whose image was another one.

    Raises PartlyDoneError when an image cannot be read, or is being replaced, or lies on another grid, after the others
    have been accepted.
    """
    cohort = Cohort.open(request.cohort, request.state)
    cases = [case.name for case in cohort.chosen(request.cases)]
    for folder in (cohort.state_folder, *(cohort.drawn_on_path(name).parent for name in cases[:1])):
        require_writable_place(folder)
    drawn = [name for name in cases if cohort.drawn_on_path(name).is_file()]
    accepted: list[AcceptedImage] = []
    failed: dict[str, SparseAnnotateError] = {}
    for number, name in enumerate(drawn):
        watch.step(number / len(drawn), _("checking the image of '{name}'").format(name=name))
        try:
            # Only the first channel counts: another one may be replaced now.
            image, written = cohort.image_fingerprint(name, ()), _written(cohort.image_path(name))
            change = _change(cohort, name)
            if change:
                # No other one that replaces it in this moment.
                cohort.accept_image(name, image=image)
                accepted.append(AcceptedImage(name, change, written))
        except CancelledError:
            raise
        except SparseAnnotateError as error:
            # One image that cannot be accepted must not stop the others.
            failed[name] = error
    if failed:
        report_failed(failed, len(accepted), _NOT_ACCEPTED, accepted)
    return accepted


def _written(path: Path) -> str:
    """When an image, or its voxels in a file of their own, was written last."""
    last = max(file.stat().st_mtime for file in image_files(path))
    return datetime.fromtimestamp(last).strftime("%Y-%m-%d %H:%M")


def _change(cohort: Cohort, name: str) -> str:
    try:
        change = cohort.image_change(name)
    except BadInputError:  # the image, of which accepting it tells, or what was kept
        return _("what was known of the earlier image is damaged")
    return change.text if change is not None else ""
