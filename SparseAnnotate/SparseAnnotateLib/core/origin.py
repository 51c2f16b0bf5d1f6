"""What a result was made from: kept in its file, and compared with the present to see whether it is out of date."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .annotation import SparseAnnotation
from .cohort_file import COHORT_FILE
from .cohort_layout import CARD_FILE
from .image_fingerprint import content_fingerprint
from .images import read_facts
from .ledger import Ledger, SliceState
from .messages import _, counted, joined
from .pieces import result_of, slabs
from .planes import Plane


@dataclass(frozen=True)
class Origin:
    """What a fill or a prediction was made from; '' for what is not known or does not apply.

    Attributes:
        annotation: fingerprint of the drawn slices; see `SparseAnnotation.fingerprint`.
        drawn: the drawn slices as text, for example 'axial 3 7 11; coronal 20'.
        image: fingerprint of the image; see `image_fingerprint`.
        voxels: fingerprint of its voxels, for an image that is saved again; see `Cohort.image_since`.
        run: name of the run. run_content: fingerprint of its models. method: name of the fill method.
        scale: how intensities are scaled, for results that depend on it.

    Example::

        write_image(path, labels, geometry, facts=Origin.of(annotation, image, method="auto").facts())
        ...
        changes = Origin.from_facts(read_facts(path)).changes(Origin.of(cohort.annotation(name), image))
    """

    annotation: str = ""
    drawn: str = ""
    image: str = ""
    method: str = ""
    run: str = ""
    run_content: str = ""
    scale: str = ""
    voxels: str = ""

    @classmethod
    def of(
        cls, annotation: SparseAnnotation, image: str, method: str = "", run: str = "", run_content: str = ""
    ) -> Origin:
        """The origin of a result made from an annotation and an image with this fingerprint."""
        return cls(annotation.fingerprint(), _slices_as_text(annotation), image, method, run, run_content)

    @classmethod
    def from_facts(cls, facts: Mapping[str, str]) -> Origin:
        """From the facts in a result's file; an unknown origin when there are none."""
        return cls(**{name: facts.get(fact, "") for name, fact in _FACTS.items()})

    def facts(self, with_scale: bool = False) -> dict[str, str]:
        """The facts to keep in the result's file, see `write_image`; with the scale, if the result depends on it."""
        names = [name for name in _FACTS if getattr(self, name) and (with_scale or name != "scale")]
        return {_FACTS[name]: getattr(self, name) for name in names}

    @property
    def is_known(self) -> bool:
        return bool(self.annotation or self.image or self.run_content)

    def ledger(self) -> Ledger:
        """A ledger of the slices that were drawn when the result was made, with nothing but their states."""
        ledger = Ledger()
        for plane, index in sorted(_slices_from_text(self.drawn)):
            ledger = ledger.with_state(Plane(plane), int(index), SliceState.DRAWN)
        return ledger

    def without_annotation(self) -> Origin:
        """The origin without the drawn slices: for comparing results of several rounds of drawing."""
        return replace(self, annotation="", drawn="")

    def changes(self, now: Origin) -> str:
        """What has changed since the result was made, as a clause ('2 more slices have been drawn since').

        '' when nothing has; what is not known of one of them is not compared.
        """
        found: list[str] = []
        if self.annotation and now.annotation and self.annotation != now.annotation:
            found.append(_drawn_since(self.drawn, now.drawn))
        if self.image and now.image and self.image != now.image:
            found.append(_("the image file has changed since, or there are other channels"))
        if self.run_content and now.run_content and self.run_content != now.run_content:
            found.append(_("the run '{run}' has been trained again").format(run=now.run or self.run))
        if self.scale and now.scale and self.scale != now.scale:
            found.append(_scale_since(self.scale, now.scale))
        return _all_of(found)


_FACTS = {
    "annotation": "annotation",
    "drawn": "drawn slices",
    "image": "image",
    "method": "method",
    "run": "run",
    "run_content": "run content",
    "scale": "scale",
    "voxels": "voxels",
}
_IN_HU, _BY_ITSELF, _CHANNEL_IN_HU = "Hounsfield units", "each image", ": Hounsfield units"
_TOGETHER = "labels and confidence"


def belongs_to(confidence_path: Path, path: Path) -> bool:
    """Whether a file of confidence was made with the labels in another file.

    Not when writing both was broken off between them. Files of earlier versions only say what they were made from, and
    those of the first versions not even that.
    """
    of_confidence, of_labels = read_facts(confidence_path), read_facts(path)
    marks = of_confidence.get(_TOGETHER, ""), of_labels.get(_TOGETHER, "")
    if any(marks):
        return marks[0] == marks[1]
    origin = Origin.from_facts(of_confidence)
    return not origin.is_known or origin == Origin.from_facts(of_labels)


def together(labels: np.ndarray, confidence: np.ndarray) -> dict[str, str]:
    """The fact by which the files of labels and confidence, each (K, J, I), know each other; see `belongs_to`.

    It is made from the voxels: the same result, made again, has the same files.
    """
    return result_of(finding_together(labels, confidence))


def finding_together(labels: np.ndarray, confidence: np.ndarray) -> Generator[float, None, dict[str, str]]:
    """`together` in pieces; yields 0.0, the share written of the files, after each."""
    digest = hashlib.blake2b(digest_size=16)
    for array in (labels, confidence):
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        for slab in slabs(array.shape, array.itemsize):
            digest.update(np.ascontiguousarray(array[slab]).data)
            yield 0.0
    return {_TOGETHER: digest.hexdigest()}


def run_fingerprint(folder: Path) -> str:
    """Fingerprint of the card and the weights in a run's folder; '' when the run does not exist."""
    card = folder / CARD_FILE
    try:
        return content_fingerprint([card, *sorted(folder.glob("*/weights.safetensors"))]) if card.is_file() else ""
    except OSError:
        return ""


def stale_sentence(result: str, changes: Mapping[str, str], remedy: str) -> str:
    """A message about results that are out of date.

    Args:
        result: what is out of date, such as "fill" or "prediction by 'run'".
        changes: case to its change; see `Origin.changes`.
        remedy: a sentence on what to do.
    """
    if len(changes) == 1:
        ((name, change),) = changes.items()
        return _("The {result} of case '{case}' is out of date: {change}. {remedy}").format(
            result=result, case=name, change=change, remedy=remedy
        )
    cases: list[str] = [
        _("'{case}': {change}").format(case=name, change=change) for name, change in list(changes.items())[:3]
    ]
    if len(changes) > 3:
        cases.append(_("and {count} more").format(count=len(changes) - 3))
    return _("The {result} is out of date for {count} cases ({cases}). {remedy}").format(
        result=result, count=len(changes), cases=joined("; ", cases), remedy=remedy
    )


def _slices_as_text(annotation: SparseAnnotation) -> str:
    by_plane: dict[Plane, list[int]] = {plane: annotation.ledger.indices(plane) for plane in Plane}
    return "; ".join(f"{plane.value} {' '.join(map(str, found))}" for plane, found in by_plane.items() if found)


def _slices_from_text(text: str) -> set[tuple[str, str]]:
    parts: Sequence[list[str]] = [part.split() for part in text.split(";") if part.split()]
    return {(part[0], index) for part in parts for index in part[1:]}


def _drawn_since(before: str, now: str) -> str:
    old, new = _slices_from_text(before), _slices_from_text(now)
    if old == new or not before:
        return _("the drawing on its slices, or a correction, has changed since")
    found: list[str] = []
    if new - old:
        one, many = _("{count} more slice has been drawn since"), _("{count} more slices have been drawn since")
        found.append(counted(len(new - old), one, many))
    if old - new:
        one, many = _("{count} slice is no longer drawn"), _("{count} slices are no longer drawn")
        found.append(counted(len(old - new), one, many))
    return _all_of(found)


def scale_of(ct_channels: Sequence[str], first: str) -> str:
    """How the images of a case are scaled, as `Origin.scale`.

    Args:
        ct_channels: those that are CT. first: the name of the first channel, '' without names.
    """
    further = [f"{channel}{_CHANNEL_IN_HU}" for channel in ct_channels if channel != first]
    return ", ".join([_IN_HU if first in ct_channels else _BY_ITSELF, *further])


def _scale_since(before: str, now: str) -> str:
    """A clause on images that have become CT, or are not any more."""
    old, new = (set(text.split(", ")) - {_BY_ITSELF} for text in (before, now))
    found = [_("{images} count as CT now").format(images=_images_of(one)) for one in sorted(new - old)]
    found += [_("{images} do not count as CT any more").format(images=_images_of(one)) for one in sorted(old - new)]
    return _("{changes} (see 'modalities' in '{file}')").format(changes=_all_of(found), file=COHORT_FILE)


def _images_of(scaled: str) -> str:
    if scaled == _IN_HU:
        return _("the images")
    return _("the images of '{channel}'").format(channel=scaled.removesuffix(_CHANNEL_IN_HU))


def _all_of(changes: Sequence[str]) -> str:
    if not changes:
        return ""
    together = changes[0]
    for change in changes[1:]:
        together = _("{first} and {second}").format(first=together, second=change)
    return together
