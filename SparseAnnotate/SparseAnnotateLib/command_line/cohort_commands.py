"""`create`, `add` and `draw`: make a cohort folder, add scans to it, and draw its slices from references."""

from __future__ import annotations

import argparse
from typing import Any

from ..core import BadInputError, Watch
from ..core.channels import parsed_channels
from ..core.messages import _
from ..core.modalities import parsed_modalities
from ..worker.add_channel_request import AddChannelRequest, add_channel
from ..worker.create_request import parsed_labels
from .dicom_command import dicom_options
from .shared_options import cohort_command, of_options, request_of_options
from .terminal_output import show_table


def add_create(commands) -> None:
    command = cohort_command(
        commands, "create", "make a cohort folder from image files, or add image files to one", show_table, _create
    )
    _scan_options(command)


def add_add(commands) -> None:
    text = "add image files to an existing cohort, as new cases, or as a channel of its cases"
    command = cohort_command(commands, "add", text, show_table, _add)
    _scan_options(command)
    command.add_argument(
        "--channel",
        default="",
        metavar="NAME=ENDING",
        help="add the images to cases that are there, as another channel: its name, and what the file names end with "
        "after the name of the case, e.g. T1=_t1; of DICOM series their description or UID; or NAME "
        "alone, with the cases as --names. Drawn slices stay",
    )
    command.add_argument(
        "--first-channel",
        default="",
        metavar="NAME",
        help="with --channel, if the images of the cohort are no channels with names yet: what these are, e.g. FLAIR",
    )


def _scan_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "images",
        nargs="+",
        metavar="SCANS",
        help="image files (NRRD, NIfTI, MetaImage), folders (all images directly in them), or patterns in quotation "
        "marks ('scans/*.nii.gz'); with --name-from parent also a folder of patient folders with one image in each; or "
        "folders with DICOM series in them or in their folders",
    )
    command.add_argument("--labels", nargs="*", default=[], metavar="VALUE=NAME", help="names of labels, e.g. 1=liver")
    command.add_argument(
        "--references",
        nargs="*",
        default=[],
        help="dense label files, or folders or patterns of them, in the order of the images; it is an error if their "
        "names suggest another order. For DICOM series also DICOM SEG files, in any order",
    )
    command.add_argument(
        "--names",
        nargs="+",
        default=[],
        help="names of the cases, in the order of the images or series (default: see --name-from)",
    )
    command.add_argument(
        "--name-from",
        choices=("file", "parent", "patient"),
        default="file",
        help="file: name cases after their files, or after their folders where files have the same name, and number "
        "those from DICOM (case_001); parent: after the folder of each file; patient: after the patient ID in DICOM "
        "files",
    )
    command.add_argument(
        "--channels",
        nargs="+",
        default=[],
        metavar="NAME=ENDING",
        help="for cases of several images on one grid: the channels, each with what its files' names end with, e.g. "
        "FLAIR=_flair T1=_t1; slices are drawn in the first one. NAME alone, for all channels: each file is 4D and has "
        "all of them, in this order",
    )
    command.add_argument(
        "--modality",
        nargs="+",
        default=[],
        dest="modalities",
        metavar="MODALITY",
        help="what the images are, as DICOM says it: CT, MR, PT ...; with several --channels as NAME=MODALITY. CT is "
        "in Hounsfield units, so all cases are scaled alike (default: CT for a channel called CT; as DICOM files say)",
    )
    command.add_argument(
        "--resample",
        action="store_true",
        help="with --channels: resample a channel that lies on another grid to that of the first, into a new file",
    )
    dicom_options(command)
    import_modes = command.add_mutually_exclusive_group()
    import_modes.add_argument(
        "--copy-images",
        dest="import_mode",
        action="store_const",
        const="copy",
        default="link",
        help="copy images into the cohort folder. By default images are hard-linked there, which takes no disk space "
        "and lets you copy or move the folder as a whole, but a program that writes into such a file changes the "
        "original, too; where links are impossible, images stay where they are",
    )
    import_modes.add_argument(
        "--leave-images",
        dest="import_mode",
        action="store_const",
        const="leave",
        help="keep only the paths of images outside the cohort folder; relative ones if both are in one project folder",
    )


def add_draw(commands) -> None:
    cohort_command(commands, "draw", "copy the references to the recommended slices (for experiments)", show_table)


def _add(options: argparse.Namespace, watch: Watch) -> Any:
    if not options.channel:
        if options.first_channel:
            raise BadInputError(_("'--first-channel' is for '--channel'. Leave it out."))
        return _create(options, watch)
    given = {
        "--labels": options.labels,
        "--references": options.references,
        "--channels": options.channels,
        "--series": options.series,
        "--name-from": options.name_from != "file",
        "--keep-source-paths": options.keep_source_paths,
    }
    unused = next((option for option, value in given.items() if value), None)
    if unused is not None:
        raise BadInputError(_("'{option}' is not for '--channel'. Leave it out.").format(option=unused))
    name = options.channel.partition("=")[0].strip()
    found = parsed_modalities(options.modalities, (name,))
    request = of_options(AddChannelRequest, options, modality=found.get(name, ""))
    return add_channel(request, watch)


def _create(options: argparse.Namespace, watch: Watch) -> Any:
    channels = parsed_channels(options.channels)
    modalities = parsed_modalities(options.modalities, tuple(channels))
    labels = parsed_labels(options.labels)
    return request_of_options(options, watch, labels=labels, channels=channels, modalities=modalities)
