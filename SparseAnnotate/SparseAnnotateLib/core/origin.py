"""What a result was made from, kept in its file; and whether that is still what there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .annotation import SparseAnnotation
from .image_fingerprint import content_fingerprint
from .ledger import Ledger, SliceState
from .planes import Plane


@dataclass(frozen=True)
class Origin:
    """What a fill or a prediction was made from; '' for what is not known, or plays no part.

    Attributes:
        annotation: fingerprint of the drawn slices; see `SparseAnnotation.fingerprint`.
        drawn: the drawn slices as text, for example 'axial 3 7 11; coronal 20'.
        image: fingerprint of the image; see `image_fingerprint`.
        run: name of the run; run_content: fingerprint of its models. method: how it was filled.

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

    @classmethod
    def of(
        cls, annotation: SparseAnnotation, image: str, method: str = "", run: str = "", run_content: str = ""
    ) -> Origin:
        """The origin of a result that is made now from an annotation and an image's fingerprint."""
        return cls(annotation.fingerprint(), _slices_as_text(annotation), image, method, run, run_content)

    @classmethod
    def from_facts(cls, facts: Mapping[str, str]) -> Origin:
        """From what `read_facts` found in a result's file; an unknown origin when there is nothing."""
        return cls(**{name: facts.get(fact, "") for name, fact in _FACTS.items()})

    def facts(self) -> dict[str, str]:
        """What `write_image` keeps in the result's file."""
        return {fact: getattr(self, name) for name, fact in _FACTS.items() if getattr(self, name)}

    @property
    def is_known(self) -> bool:
        return bool(self.annotation or self.image or self.run_content)

    def ledger(self) -> Ledger:
        """The slices that were drawn when the result was made, and nothing else of them."""
        ledger = Ledger()
        for plane, index in sorted(_slices_from_text(self.drawn)):
            ledger = ledger.with_state(Plane(plane), int(index), SliceState.DRAWN)
        return ledger

    def without_annotation(self) -> Origin:
        """The same without the drawn slices: for comparing results of several rounds of drawing."""
        return replace(self, annotation="", drawn="")

    def changes(self, now: Origin) -> str:
        """What has changed since the result was made, as a clause ('2 more slices have been drawn since').

        '' when nothing has, and for what is not known of either.
        """
        found = []
        if self.annotation and now.annotation and self.annotation != now.annotation:
            found.append(_drawn_since(self.drawn, now.drawn))
        if self.image and now.image and self.image != now.image:
            found.append("the image has been replaced by another one")
        if self.run_content and now.run_content and self.run_content != now.run_content:
            found.append(f"the run '{now.run or self.run}' has been trained again")
        return " and ".join(found)


_FACTS = {
    "annotation": "annotation",
    "drawn": "drawn slices",
    "image": "image",
    "method": "method",
    "run": "run",
    "run_content": "run content",
}


def run_fingerprint(folder: Path) -> str:
    """From the card and the weights of a run's folder; '' when the run is not there (any more)."""
    card = folder / "card.json"
    try:
        return content_fingerprint([card, *sorted(folder.glob("*/weights.safetensors"))]) if card.is_file() else ""
    except OSError:
        return ""


def stale_sentence(what: str, changes: Mapping[str, str], remedy: str) -> str:
    """One sentence on results that are out of date: `changes` gives the change of each case, `remedy` what to do."""
    cases = [f"'{name}': {change}" for name, change in changes.items()]
    shown = "; ".join(cases[:3]) + (f"; and {len(cases) - 3} more" if len(cases) > 3 else "")
    count = f"of {len(cases)} cases are" if len(cases) > 1 else "of one case is"
    return f"The {what}{'s' if len(cases) > 1 else ''} {count} out of date ({shown}). {remedy}"


def _slices_as_text(annotation: SparseAnnotation) -> str:
    by_plane: dict[Plane, list[int]] = {plane: annotation.ledger.indices(plane) for plane in Plane}
    return "; ".join(f"{plane.value} {' '.join(map(str, found))}" for plane, found in by_plane.items() if found)


def _slices_from_text(text: str) -> set[tuple[str, str]]:
    parts: Sequence[list[str]] = [part.split() for part in text.split(";") if part.split()]
    return {(part[0], index) for part in parts for index in part[1:]}


def _drawn_since(before: str, now: str) -> str:
    old, new = _slices_from_text(before), _slices_from_text(now)
    if old == new or not before:
        return "what is drawn on its slices has changed since"
    found = []
    if new - old:
        count = len(new - old)
        found.append(f"{count} more {'slice has' if count == 1 else 'slices have'} been drawn since")
    if old - new:
        count = len(old - new)
        found.append(f"{count} {'slice is' if count == 1 else 'slices are'} no longer drawn")
    return " and ".join(found)
