"""`predict`: label the cases of a cohort, or other scans, with a trained run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial

from ..core import DEFAULT_DEVICE, BadInputError, Watch
from ..core.channels import parsed_channels
from ..core.failed_cases import NAMED
from ..core.messages import _, counted
from ..worker import requests
from ..worker.labeling_on_host import PredictorOnHost
from ..worker.predict_files_request import FilePredictions, PredictFilesRequest, predict_files
from ..worker.results_folder import DEFAULT_FORMAT, FORMATS
from .shared_options import DEVICE_HELP, cohort_command, host_options, of_options, request_of_options, require_on
from .terminal_output import show_line, show_notes, show_table

_ROWS = 50
_FOR_FILES = ("--channels", "--name-from", "--format", "--continue", "--overwrite")
_FOR_CASES = ("--cases", "--model-only")


def add_predict(commands) -> None:
    command = cohort_command(
        commands,
        "predict",
        "label the cases of a cohort, or other scans, with a trained run",
        show_predictions,
        _predict,
        needs_cohort=False,
    )
    command.add_argument(
        "--run", required=True, help="name of the run; without COHORT, the folder of the run: COHORT/runs/NAME"
    )
    files = command.add_argument_group("scans that are in no cohort")
    files.add_argument(
        "-i",
        "--scans",
        nargs="+",
        metavar="SCANS",
        help="label these scans instead of cases: files, folders (all images in them), or quoted patterns such as "
        "'scans/*.nii.gz'",
    )
    files.add_argument(
        "-o", "--output", metavar="FOLDER", help="folder for the results, outside the folders of the scans"
    )
    files.add_argument(
        "--name-from",
        choices=("file", "parent"),
        help="file: name results after their scans (default); parent: after the folder of each scan, and also label "
        "the images in the folders directly in a folder of '-i'",
    )
    files.add_argument(
        "--channels",
        nargs="+",
        default=[],
        metavar="NAME=ENDING",
        help="for a run of several channels: what the names of their files end with, e.g. FLAIR=_flair T1=_t1; NAME "
        "alone, for all: each file is 4D and has these channels",
    )
    files.add_argument("--format", help=f"format of the results: {', '.join(FORMATS)} (default: {DEFAULT_FORMAT})")
    files.add_argument(
        "--continue",
        dest="resume",
        action="store_true",
        help="label only scans without a result. It is an error if an existing result was made by another run, with "
        "other options, or from a scan that has changed since; '--overwrite' replaces these, too",
    )
    files.add_argument(
        "--overwrite",
        action="store_true",
        help="replace existing results; without it and '--continue', an existing result is an error",
    )
    prediction_options(command)
    host_options(command)


def prediction_options(command: argparse.ArgumentParser) -> None:
    """The options that change the result of a run: of `predict` and of `submit predict`."""
    command.add_argument("--device", default=DEFAULT_DEVICE, help=DEVICE_HELP)
    command.add_argument("--flips", action="store_true", help="also average over mirrored volumes: slower but better")
    command.add_argument(
        "--models", nargs="+", default=(), help="use only these models of the run: 2d, 3d, final (default: all)"
    )
    command.add_argument("--uncertainty", action="store_true", help="also write volumes of entropy and disagreement")
    command.add_argument(
        "--model-only",
        action="store_true",
        help="label cases with drawn slices by the run alone, too; otherwise run, drawn slices and fill together",
    )
    command.add_argument(
        "--largest-component", action="store_true", help="keep only the largest component of each structure"
    )
    command.add_argument(
        "--smoothing", type=float, default=0.0, metavar="MM", help="smooth outlines by this distance in mm (default: 0)"
    )
    command.add_argument(
        "--keep-stray-pieces",
        dest="stray_pieces",
        action="store_false",
        help="keep pieces far from anything drawn, or in the empty surroundings of an image; otherwise left out",
    )


def _predict(options: argparse.Namespace, watch: Watch) -> list[requests.CaseResult] | FilePredictions:
    _check(options)
    if options.scans is None:
        return request_of_options(options, watch)
    options.show = show_file_predictions
    request = of_options(
        PredictFilesRequest,
        options,
        name_from=options.name_from or "file",
        channels=parsed_channels(options.channels),
        format=DEFAULT_FORMAT if options.format is None else options.format,
    )
    require_on(options)
    if options.on is None:
        return predict_files(request, watch)
    return predict_files(request, watch, partial(PredictorOnHost, options.on, options.allow_copying))


def _check(options: argparse.Namespace) -> None:
    """Raise BadInputError for options that do not go together."""
    if options.scans is None and options.output is None and options.cohort is None:
        raise BadInputError(_("Name a cohort, or scans with '-i' and a folder for the results with '-o'."))
    if options.scans is None and options.output is not None:
        raise BadInputError(
            _("Name the scans with '-i', or leave out '-o': the results of a cohort's cases are kept in the cohort.")
        )
    if options.scans is not None and options.output is None:
        raise BadInputError(_("Name a folder for the results with '-o'."))
    if options.scans is None:
        values = [options.channels, options.name_from, options.format, options.resume, options.overwrite]
        _refuse(_FOR_FILES, values, _("'{option}' is only for scans that are named with '-i'. Leave it out."))
        return
    values = [options.cases, options.model_only]
    _refuse(_FOR_CASES, values, _("'{option}' is only for the cases of a cohort. Leave it out, or leave out '-i'."))
    if options.cohort is None and options.state is not None:
        raise BadInputError(_("'--state' is only for a cohort. Leave it out, or name the cohort of the run."))


def _refuse(names: Sequence[str], given: Sequence[object], sentence: str) -> None:
    for name, value in zip(names, given, strict=True):
        if value:
            raise BadInputError(sentence.format(option=name))


def show_predictions(rows: Sequence[requests.CaseResult]) -> None:
    """A table of the cases, how good the answers are, and notes on each."""
    shown = ("case", "path", "seconds", "slices_drawn", "density")
    show_table([{name: getattr(row, name) for name in shown} for row in rows])
    for summary in dict.fromkeys(row.summary for row in rows if row.summary):
        show_line(summary)
    show_notes((row.case, sentence) for row in rows for sentence in row.notes)


def show_file_predictions(found: FilePredictions) -> None:
    """A table of the scans if there are not too many, how many were labeled, and what there is to say of each."""
    if len(found.scans) <= _ROWS:
        shown = ("name", "outcome", "seconds", "path")
        show_table([{name: getattr(row, name) for name in shown} for row in found.scans])
    outcomes = [row.outcome for row in found.scans]
    done = counted(outcomes.count("labeled"), _("{count} scan was labeled"), _("{count} scans were labeled"))
    if "kept" in outcomes:
        done += f", {outcomes.count('kept')} had been labeled before"
    names = ", ".join(f"{value} {name}" for value, name in found.labels.items())
    show_line(f"{done}. Results: {found.folder}. Labels: {names}.")
    notes = [(row.name, sentence) for row in found.scans for sentence in row.notes]
    if outcomes.count("failed") > NAMED:  # otherwise the error names all
        notes += [(row.name, row.problem) for row in found.scans if row.problem]
    show_notes(notes, most=_ROWS)
