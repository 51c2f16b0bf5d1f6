"""The request that corrects a case at a point, and its answer with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ..core import BadInputError, CancelledError, Cohort, SparseAnnotateError, SparseAnnotation, Watch
from ..core.added_corrections import AddedCorrection, not_followed_sentence, with_correction
from ..core.corrections import Stroke
from ..core.images import read_facts, read_labels, write_image
from ..core.messages import _, listed
from ..core.origin import Origin, belongs_to, together
from ..core.structure_values import names_from_facts
from ..interpolation.corrected_fill import enter_certainty
from ..interpolation.correcting import correct as spread
from ..interpolation.seen_channels import StructureImage, image_of_structure
from .answers import image_of_case

_CONFIDENCE = 90  # percent, of a result without a file of it


@dataclass(frozen=True)
class CorrectRequest:
    """Say of the voxels around a point that they are a structure, or that they are not.

    Attributes:
        cohort, state, case: which case.
        structure: its name.
        at: (R, A, S) of the point, mm.
        outside: True for 'this is not it'.
        radius: of the ball around the point, mm; 0: two in-plane pixels.
        seconds: what the correction took; 0 when it is not known.
        run: correct the stored result of this run; '': the fill.
        clear: remove all corrections of the case instead.
        only: 'store' the correction, and do not change a result; or let the result 'follow' from the last correction,
            which is stored already, and is number `last` (from 1) of those off the drawn slices. So a host can do what
            follows, and the correction is here whatever happens to the connection.
    """

    cohort: str
    case: str
    structure: str = ""
    at: tuple[float, ...] = ()
    outside: bool = False
    radius: float = 0.0
    seconds: float = 0.0
    run: str = ""
    clear: bool = False
    only: Literal["", "store", "follow"] = ""
    last: int = 0
    state: str | None = None


@dataclass(frozen=True)
class CorrectResult:
    """What a correction did.

    Attributes:
        case: which. corrections: how many the case has now. voxels: of this one.
        changed: voxels of the result that have another label now. path: the result; '' when it was not changed.
        notes: sentences.
    """

    case: str
    corrections: int
    voxels: int
    changed: int
    path: str
    notes: tuple[str, ...] = ()


def correct(request: CorrectRequest, watch: Watch) -> CorrectResult:
    """Store a correction in the cohort, and spread it into the stored result if that is up to date.

    Raises BadInputError when the point is outside the volume or on a drawn slice, or the structure is not known.
    """
    cohort = Cohort.open(request.cohort, request.state)
    if request.clear:
        return _cleared(cohort, request.case)
    if request.only == "follow":
        return _followed(cohort, request, watch)
    image, before = cohort.image_fingerprint(request.case, ()), cohort.annotation(request.case)
    value = _value(cohort, request.structure)
    stroke = Stroke.ball(before.geometry, request.at, value, not request.outside, request.radius, request.seconds)
    added = with_correction(before, stroke)
    # First of all: whatever happens to the result, the correction stays.
    if not cohort.add_correction(request.case, stroke, image):
        # It is in `before` already: the result may follow from it, or not yet.
        before, again = _last_of(cohort.annotation(request.case))
        added = replace(again, notes=added.notes)
    stored = CorrectResult(request.case, _count(added.annotation), len(added.stroke.voxels), 0, "", added.notes)
    return stored if request.only == "store" else _with_result(cohort, request, before, added, stored, watch)


def _count(annotation: SparseAnnotation) -> int:
    return len(annotation.corrections.strokes) if annotation.corrections is not None else 0


def _with_result(
    cohort: Cohort,
    request: CorrectRequest,
    before: SparseAnnotation,
    added: AddedCorrection,
    stored: CorrectResult,
    watch: Watch,
) -> CorrectResult:
    """Spread a correction that is stored: what that did, after what storing it did."""
    path, changed = "", 0
    try:
        path, changed, note = _spread(cohort, request, before, added, watch)
    except CancelledError:
        raise
    except SparseAnnotateError as error:
        note = not_followed_sentence(error.message)
    return replace(stored, changed=changed, path=path, notes=(*stored.notes, *([note] if note else [])))


def _followed(cohort: Cohort, request: CorrectRequest, watch: Watch) -> CorrectResult:
    """Let the stored result follow from the last correction that is stored."""
    after = cohort.annotation(request.case)
    if not _count(after) or _count(after) != request.last:
        raise BadInputError(_("Corrections of '{case}' were made or removed meanwhile.").format(case=request.case))
    before, added = _last_of(after)
    stored = CorrectResult(request.case, request.last, len(added.stroke.voxels), 0, "")
    return _with_result(cohort, request, before, added, stored, watch)


def _last_of(after: SparseAnnotation) -> tuple[SparseAnnotation, AddedCorrection]:
    """What was known before the last correction, and that correction; there must be one."""
    corrections = after.corrections
    assert corrections is not None
    *earlier, stroke = corrections.strokes
    before = replace(after, corrections=replace(corrections, strokes=tuple(earlier)) if earlier else None)
    return before, AddedCorrection(after, stroke, ())


def _cleared(cohort: Cohort, case: str) -> CorrectResult:
    cohort.case(case)
    if not cohort.corrections_path(case).is_file():
        raise BadInputError(_("'{case}' has no corrections.").format(case=case))
    # Without reading them: this is also the way out of a damaged file.
    cohort.save_corrections(case, None)
    note = _("The corrections were removed.")
    again = _("Results that were made with them are out of date: fill or predict again.")
    return CorrectResult(case, 0, 0, 0, "", (f"{note} {again}",))


def _value(cohort: Cohort, structure: str) -> int:
    values = {name: value for value, name in cohort.labels.items()}
    if not structure:
        raise BadInputError(_("Name the structure that the correction is of."))
    if structure not in values:
        known = listed([f"'{name}'" for name in values], 8)
        raise BadInputError(
            _("The cohort has no structure '{structure}'. It has: {known}.").format(
                structure=structure, known=known or _("none")
            )
        )
    return values[structure]


def _spread(
    cohort: Cohort,
    request: CorrectRequest,
    before: SparseAnnotation,
    added: AddedCorrection,
    watch: Watch,
) -> tuple[str, int, str]:
    """Change the stored result: its path, the number of voxels with another label, and why it was not changed."""
    case, run, after, stroke = request.case, request.run, added.annotation, added.stroke
    path = cohort.prediction_path(run, case) if run else cohort.fill_path(case)
    sure_path = cohort.uncertainty_path(run, case, "confidence") if run else cohort.fill_confidence_path(case)
    kind = _("prediction") if run else _("fill")
    if not path.is_file():
        return "", 0, _("There is no {kind} yet. The next one will have the correction.").format(kind=kind)
    facts = read_facts(path)
    origin = Origin.from_facts(facts)

    def changes(annotation: SparseAnnotation) -> str:
        return origin.changes(cohort.origin(case, annotation, method=origin.method, run=origin.run, since=path))

    if change := changes(before):
        if not changes(after):
            return str(path), 0, ""  # it has taken the correction in already
        sentence = _("The {kind} is out of date ({change}) and was not changed. The next one will have the correction.")
        return "", 0, sentence.format(kind=kind, change=change)
    has_sure = sure_path.is_file() and belongs_to(sure_path, path)
    if sure_path.is_file() and not has_sure and not run:
        sentence = _(
            "The {kind} was not changed, because its confidence belongs to another one. The next one takes the "
            "correction in."
        )
        return "", 0, sentence.format(kind=kind)
    labels = read_labels(path, after.geometry)
    if has_sure:
        confidence = read_labels(sure_path, after.geometry).astype(np.uint8)
    else:
        confidence = np.full(after.geometry.shape, _CONFIDENCE, dtype=np.uint8)
    if stroke.value > np.iinfo(labels.dtype).max:
        labels = labels.astype(np.uint16)
    note = ""
    if run and not has_sure:
        # Without its confidence, it is not known how far the correction reaches; of a run that predicts alone, a new
        # prediction would not follow it either.
        before_it = labels.copy()
        after.restore_drawn(labels)
        changed = int(np.count_nonzero(labels != before_it))
        if sure_path.is_file():
            note = _(
                "Only the voxels of the correction were changed, because the confidence of the prediction belongs to "
                "another one. Predict the case again for an answer with the correction."
            )
        else:
            note = _("The prediction is by the run alone: only the voxels of the correction were changed.")
    else:
        try:
            channels = image_of_case(cohort, case)
            image: StructureImage | None = channels
            if channels.ndim > 3:
                image = image_of_structure(channels, after, stroke.value)[0]
        except BadInputError as error:
            image, note = None, _("Corrected without using the image. {problem}").format(problem=error.message)
        changed = spread(labels, confidence, image, after, stroke, watch).changed
        # The result may have structures of a run, of which the drawn slices say nothing.
        enter_certainty(after.with_more_names(names_from_facts(facts) or {}), labels, confidence)
    new_facts = {**facts, **cohort.origin(case, after, method=origin.method, run=origin.run).facts()}
    new_facts |= together(labels, confidence)
    # The confidence first: labels that are up to date never have that of an earlier answer.
    if has_sure:
        write_image(sure_path, confidence, after.geometry, facts=read_facts(sure_path) | new_facts)
    write_image(path, labels, after.geometry, facts=new_facts)
    return str(path), changed, note
