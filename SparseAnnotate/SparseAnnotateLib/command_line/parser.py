"""The parser of the command line: its subcommands, in the order in which `--help` lists them."""

from __future__ import annotations

import argparse

from .. import __version__
from .accept_image_command import add_accept_image
from .cohort_commands import add_add, add_create, add_draw
from .correct_command import add_correct
from .dicom_command import add_export_dicom
from .environment_command import add_environment
from .evaluate_command import add_evaluate
from .examples import example_text
from .exchange_commands import add_export_bundle, add_export_nnunet, add_import_bundle, add_import_nnunet
from .fill_command import add_fill
from .host_commands import add_host_command
from .import_drawn_command import add_import_drawn
from .job_commands import add_cancel, add_job, add_jobs, add_logs, add_submit
from .predict_command import add_predict
from .report_command import add_report
from .selection_commands import add_agreement, add_picture, add_plan, add_recommend
from .training_commands import add_curves, add_slice, add_train

COMMANDS = (
    add_create,
    add_add,
    add_plan,
    add_recommend,
    add_picture,
    add_draw,
    add_import_drawn,
    add_accept_image,
    add_fill,
    add_correct,
    add_train,
    add_curves,
    add_slice,
    add_predict,
    add_submit,
    add_jobs,
    add_logs,
    add_cancel,
    add_job,
    add_evaluate,
    add_agreement,
    add_report,
    add_export_dicom,
    add_export_nnunet,
    add_import_nnunet,
    add_export_bundle,
    add_import_bundle,
    add_host_command,
    add_environment,
)


def parser() -> argparse.ArgumentParser:
    """The subcommands and their options; `function` of the options does the work, and `show` shows its result."""
    found = argparse.ArgumentParser(
        prog="sparse-annotate",
        description="Draw a few slices of your 3D scans and get the whole cohort segmented.",
    )
    found.add_argument("--version", action="version", version=f"sparse-annotate {__version__}")
    commands = found.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add_command in COMMANDS:
        add_command(commands)
    for name, command in commands.choices.items():
        command.epilog = example_text(name)
        command.formatter_class = argparse.RawDescriptionHelpFormatter
        command.set_defaults(command_parser=command)
    return found
