"""The request that writes results as DICOM SEG files, which refer to the series that the cases were made from."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .. import __version__
from ..core import BadInputError, CancelledError, Cohort, Provenance, SparseAnnotateError, SparseAnnotation, Watch
from ..core.applied_segmentation import AppliedSegmentation
from ..core.atomic_files import expanded, require_writable_place
from ..core.case_names import file_stem
from ..core.dicom_codes import DEFAULT_CODES, StructureCodes
from ..core.dicom_packages import require_dicom_packages
from ..core.dicom_source import SourceSeries, known_codes, read_source
from ..core.dicom_writing import DicomSegment, algorithm_of, write_segmentation
from ..core.failed_cases import report_failed
from ..core.images import read_facts, read_labels, require_facts
from ..core.messages import _, listed
from ..core.origin import Origin, stale_sentence
from ..core.provenance import filled_by, predicted_by
from ..core.structure_values import masks_by_value, names_from_facts
from ..core.voxel_values import label_counts
from ..interpolation import INTERPOLATORS

_NOT_WRITTEN = (
    _("{count} case was not written (others written: {done}):\n{problems}"),
    _("{count} cases were not written (others written: {done}):\n{problems}"),
)


@dataclass(frozen=True)
class ExportDicomRequest:
    """Write a DICOM SEG file for each case: of its fill, of a run's prediction, of what was applied in Slicer, or of
    its drawn slices alone.

    Attributes:
        out: folder for the files. cases: only these; by default all that have the result.
        run: name of the run. drawn: write the drawn slices and corrections alone.
        applied: write what was applied in Slicer, with what has been drawn since.
        dicom: folder with the series of the cases; None: where they were when the cases were made, if that was kept.
        codes: name of a structure to its codes, as Slicer's terminology tags.
    """

    cohort: str
    out: str
    state: str | None = None
    cases: tuple[str, ...] = ()
    run: str | None = None
    drawn: bool = False
    dicom: str | None = None
    codes: dict[str, str] = field(default_factory=dict)
    applied: bool = False


@dataclass(frozen=True)
class WrittenSegmentation:
    """The file of one case.

    Attributes:
        segments: for each its number, name, code, number of voxels, and how it was made: 'manual', 'semiautomatic' or
            'automatic'.
        notes: sentences on what to know about the file.
    """

    case: str
    path: str
    segments: list[dict[str, str | int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def export_dicom(request: ExportDicomRequest, watch: Watch) -> list[WrittenSegmentation]:
    """Write the files; existing ones of the same cases are replaced.

    Raises:
        BadInputError: when the request cannot be used at all; then nothing has been written.
        PartlyDoneError: when some cases could not be written, after the others have been.
    """
    require_dicom_packages(writes_segmentations=True)
    if sum(map(bool, (request.run, request.drawn, request.applied))) > 1:
        raise BadInputError(
            _("Export one of these: the predictions of a run, what was applied in Slicer, or the drawn slices.")
        )
    cohort = Cohort.open(request.cohort, request.state)
    names = _cases(cohort, request)
    _require_known(request.codes, cohort, request, names)
    require_writable_place(_folder(request))
    codes = known_codes(cohort) | {name: _codes(name, tag) for name, tag in request.codes.items()}
    sources = SourceSeries(cohort, request.dicom, watch.quiet())
    written: list[WrittenSegmentation] = []
    failed: dict[str, SparseAnnotateError] = {}
    for number, name in enumerate(names):
        part = watch.part(number, len(names), f"'{name}': ")
        try:
            written.append(_write(cohort, name, request, codes, sources, part))
        except CancelledError:
            raise
        except SparseAnnotateError as error:
            # One case that cannot be written must not stop the others.
            failed[name] = error
    if failed:
        report_failed(failed, len(written), _NOT_WRITTEN, written)
    return written


def _folder(request: ExportDicomRequest) -> Path:
    return expanded(request.out).absolute()


def _write(
    cohort: Cohort,
    name: str,
    request: ExportDicomRequest,
    codes: Mapping[str, StructureCodes],
    sources: SourceSeries,
    watch: Watch,
) -> WrittenSegmentation:
    series = sources.of(name, watch)
    labels, structures, provenance = _result(cohort, name, request)
    counts = label_counts(labels)
    if not counts:
        raise BadInputError(_("The result of case '{case}' has no labeled voxels.").format(case=name))
    lookup = np.zeros(max(counts) + 1, dtype=np.uint8 if len(counts) < 256 else np.uint16)
    lookup[list(counts)] = np.arange(1, len(counts) + 1)
    segments = []
    for value in counts:
        structure = structures.get(value, str(value))
        how, algorithm = algorithm_of(provenance, labels == value)
        segments.append(DicomSegment(structure, codes.get(structure, DEFAULT_CODES), how, algorithm))
    path = _folder(request) / f"{file_stem(name)}.dcm"
    notes = write_segmentation(path, series, segments, lookup[labels], __version__, watch)
    without = [f"'{one.name}'" for one in segments if one.codes == DEFAULT_CODES]
    note = _(
        "No code is known for {structures}; written as '{default}' (SCT {value}) with the name as label. Give codes "
        "with '--codes'."
    )
    default = DEFAULT_CODES.type
    if without:
        notes.append(note.format(structures=listed(without, 5), default=default.meaning, value=default.value))
    return WrittenSegmentation(
        case=name,
        path=str(path),
        segments=[
            {
                "number": number,
                "name": one.name,
                "code": str(one.codes.type),
                "voxels": counts[value],
                "made": one.algorithm_type.lower(),
            }
            for number, (value, one) in enumerate(zip(counts, segments, strict=True), 1)
        ],
        notes=notes,
    )


def _result(cohort: Cohort, name: str, request: ExportDicomRequest) -> tuple[np.ndarray, Mapping[int, str], Provenance]:
    """Labels, (K, J, I), the names of their values, and where the voxels come from.

    Raises BadInputError when the result is out of date.
    """
    annotation = cohort.annotation(name)
    if request.drawn:
        annotation.require_drawn(name)
        return annotation.drawn_labels(), cohort.labels, Provenance.of(annotation)
    if request.applied:
        return _applied(cohort, name, annotation)
    path = _path_of(cohort, request, name)
    facts = read_facts(path)
    made = Origin.from_facts(facts)
    run = request.run or made.run
    change = made.changes(cohort.origin(name, annotation, run=run, since=path))
    if change:
        what, remedy = (_("prediction"), _("Predict again.")) if request.run else (_("fill"), _("Fill again."))
        raise BadInputError(stale_sentence(what, {name: change}, remedy))
    labels = read_labels(path, annotation.geometry)
    require_facts(path, facts)
    is_model_alone = bool(request.run) and made.method not in INTERPOLATORS
    source = predicted_by(request.run or "") if is_model_alone else filled_by(made.method)
    names = names_from_facts(facts) or cohort.labels
    return labels, names, Provenance.of_result(annotation, source, masks_by_value(labels, names, cohort.labels))


def _applied(
    cohort: Cohort, name: str, annotation: SparseAnnotation
) -> tuple[np.ndarray, Mapping[int, str], Provenance]:
    """What was applied to a case in Slicer, with what has been drawn since; see `_result`."""
    applied = AppliedSegmentation.required(cohort, name)
    now = cohort.origin(name, annotation, since=cohort.applied_path(name))
    change = applied.origin.without_annotation().changes(now)
    if change:
        remedy = _("Open the case in Slicer and apply a result again.")
        raise BadInputError(stale_sentence(_("applied segmentation"), {name: change}, remedy))
    whole = applied.with_drawn(annotation)
    return whole.labels, {**whole.names, **cohort.labels}, whole.provenance


def _path_of(cohort: Cohort, request: ExportDicomRequest, name: str) -> Path:
    if request.applied:
        return cohort.applied_path(name)
    return cohort.prediction_path(request.run, name) if request.run else cohort.fill_path(name)


def _cases(cohort: Cohort, request: ExportDicomRequest) -> list[str]:
    """The cases to write. Raises BadInputError when a requested one, or every one, has no result."""
    if request.drawn:
        unreadable: dict[str, SparseAnnotateError] = {}  # named when the case is written
        has, missing = {*cohort.annotated_cases(failed=unreadable), *unreadable}, _("no drawn slice")
    else:
        has = {case.name for case in cohort.cases if _path_of(cohort, request, case.name).is_file()}
        missing = _("no prediction of the run '{run}'").format(run=request.run) if request.run else _("no fill")
        if request.applied:
            missing = _("nothing applied")
    chosen = [case.name for case in cohort.chosen(request.cases)]
    without = [name for name in chosen if name not in has]
    if without and (request.cases or len(without) == len(chosen)):
        raise BadInputError(
            _("Cannot be written ({reason}): {cases}.").format(
                reason=missing, cases=listed([f"'{name}'" for name in without], 5)
            )
        )
    kept = [name for name in chosen if name in has]
    if not request.cases:
        # Cases that were not made from DICOM cannot be written in any way.
        plain = [name for name in kept if read_source(cohort, name) is None]
        if len(plain) < len(kept):
            kept = [name for name in kept if name not in plain]
            without += plain
    if without:
        shown = listed([f"'{name}'" for name in without], 5)
        logging.getLogger(__name__).warning(f"Left out ({missing}, or not made from DICOM): {shown}.")
    return kept


def _require_known(named: Iterable[str], cohort: Cohort, request: ExportDicomRequest, cases: Sequence[str]) -> None:
    known = dict.fromkeys(cohort.labels.values())
    for case in () if request.drawn else cases:
        known |= dict.fromkeys((names_from_facts(read_facts(_path_of(cohort, request, case))) or {}).values())
    unknown = [f"'{name}'" for name in named if name not in known]
    if unknown:
        raise BadInputError(
            _("There is no structure {unknown}, for which a code is given. There are: {known}.").format(
                unknown=listed(unknown, 3), known=listed([f"'{name}'" for name in known], 10) or _("none")
            )
        )


def _codes(name: str, tag: str) -> StructureCodes:
    found = StructureCodes.from_slicer(tag)
    if found is None:
        raise BadInputError(
            _("The terminology '{tag}' of the structure '{name}' has no category and type.").format(tag=tag, name=name)
        )
    found.require_writable(name)
    return found
