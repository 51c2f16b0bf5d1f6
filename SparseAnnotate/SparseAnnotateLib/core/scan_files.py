"""Files, folders and patterns that a user gives, as the image files they stand for."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from .decathlon import is_left_by_macos
from .dicom_files import files_in, is_dicom_file, is_named_like_dicom
from .errors import BadInputError
from .given_paths import GivenPath
from .images import IMAGE_ENDINGS
from .messages import _, capitalized, counted
from .permissions import exists

_LOG = logging.getLogger(__name__)
_PATTERN_CHARACTERS = "*?["
_MOST_SEARCHED = 1000  # files of a folder without images, for DICOM
_DICOM_ENDINGS = (".dcm", ".ima")
_ARCHIVE_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".rar")


def image_files(given: Sequence[str | GivenPath], one_per_folder: bool = False) -> tuple[str, ...]:
    """The image files that paths and patterns stand for, in the order given, those of a folder or pattern by name.

    A folder stands for the images directly in it. Files in it, or matched by a pattern, that do not end like an image
    are skipped, and how many is logged. A single file is taken whatever its name.

    Args:
        given: files, folders, and patterns as in 'scans/*.nii.gz' ('**' also matches folders in folders).
        one_per_folder: cases are to be named after folders. So a folder stands for the one image in it, or in each of
            its subfolders.

    Raises BadInputError when a folder or pattern stands for no image, or a folder for several with `one_per_folder`.
    """
    found: list[str] = []
    skipped: list[str] = []
    for number, one in enumerate(given, 1):
        path = os.path.expanduser(one)
        if os.path.isdir(path):
            found += _images_in_folder(_as_given(one, number, len(given)), one_per_folder, skipped)
        elif not os.path.exists(path) and any(c in path for c in _PATTERN_CHARACTERS):
            found += _images_of_pattern(path, one_per_folder, skipped)
        elif os.path.isfile(path) and _is_archive(path):
            raise BadInputError(
                _("{archive} cannot be read: unpack it, and give the folder.").format(
                    archive=capitalized(_as_given(one, number, len(given)).called(_("archive")))
                )
            )
        else:
            found.append(path)
    if skipped:
        _LOG.warning(
            counted(
                len(skipped),
                "Skipped {count} file that does not end like an image{example}.",
                "Skipped {count} files that do not end like an image{example}.",
                example=_example(skipped),
            )
        )
    return tuple(found)


def scans_to_label(given: Sequence[str], one_per_folder: bool = False) -> list[Path]:
    """The same for scans that are labeled: each once.

    Raises BadInputError also when one does not exist, or is a DICOM file: its result would be named after it, and such
    names often name the patient.
    """
    for number, path in enumerate(given, 1):
        file = os.path.expanduser(path)
        if os.path.isfile(file) and not _is_image(file) and _may_be_dicom(file):
            raise BadInputError(
                _(
                    "{file} is not labeled by itself, because its result would be named after it, and names of DICOM "
                    "files often name the patient. A DICOM series, also one in a single file, becomes a cohort with "
                    "'sparse-annotate create': label that with 'sparse-annotate predict COHORT --run RUN'."
                ).format(file=capitalized(_as_given(path, number, len(given)).called(_("DICOM file"))))
            )
    found = {os.path.abspath(path): Path(path) for path in reversed(image_files(given, one_per_folder))}
    if not found:
        raise BadInputError(_("Name at least one scan to label."))
    for scan in found.values():
        if not exists(scan):
            raise BadInputError(_("The file or folder '{path}' does not exist.").format(path=scan))
    return list(reversed(found.values()))


def _as_given(path: str | GivenPath, number: int, count: int) -> GivenPath:
    return path if isinstance(path, GivenPath) else GivenPath(os.path.expanduser(path), number, count)


@dataclass
class _Content:
    """What is in a folder, by name; hidden files and those that macOS leaves are left out."""

    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)


def _content(folder: str) -> _Content:
    content = _Content()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or is_left_by_macos(entry.name):
                    continue
                kind = content.images if _is_image(entry.name) else content.others
                (content.folders if entry.is_dir() else kind).append(os.path.join(folder, entry.name))
    except OSError as error:
        raise BadInputError(
            _("The folder '{folder}' cannot be read ({reason}).").format(folder=folder, reason=error.strerror)
        ) from error
    for names in (content.images, content.others, content.folders):
        names.sort()
    return content


def _images_in_folder(given: GivenPath, one_per_folder: bool, skipped: list[str]) -> list[str]:
    folder = given.path
    content = _content(folder)
    if not one_per_folder:
        if not content.images:
            raise _no_images(given, content)
        skipped += content.others
        return content.images
    inner = {name: _content(name) for name in content.folders}
    inner = {name: parts for name, parts in inner.items() if parts.images}
    if content.images and inner:
        raise BadInputError(
            _(
                "'{folder}' has images directly in it and in its subfolders, so it is unclear which folders to name "
                "the cases after. Give the subfolders, or a pattern such as '{pattern}'."
            ).format(folder=folder, pattern=os.path.join(folder, "*", Path(next(iter(inner.values())).images[0]).name))
        )
    if not content.images and not inner:
        raise _no_images(given, content)
    chosen = inner or {folder: content}
    for name, parts in chosen.items():
        if len(parts.images) > 1:
            raise _several_images(folder, name, parts.images)
        skipped += parts.others
    skipped += content.others if inner else []
    return [parts.images[0] for parts in chosen.values()]


def _images_of_pattern(pattern: str, one_per_folder: bool, skipped: list[str]) -> list[str]:
    matched = sorted(path for path in glob.glob(pattern, recursive=True) if not is_left_by_macos(path))
    files = [path for path in matched if not os.path.isdir(path)]
    images = [path for path in files if _is_image(path)]
    if images:
        skipped += [path for path in files if not _is_image(path)]
        return images
    if files:
        raise BadInputError(
            counted(
                len(files),
                _("'{pattern}' matches {count} file, which does not end like an image{example}. {endings}"),
                _("'{pattern}' matches {count} files, none of which ends like an image{example}. {endings}"),
                pattern=pattern,
                example=_example(files),
                endings=_endings_sentence(files),
            )
        )
    if not matched:
        raise BadInputError(
            _("No file matches the pattern '{pattern}'. Check the folder and the ending of the files.").format(
                pattern=pattern
            )
        )
    folders = [GivenPath(path, number, len(matched), True) for number, path in enumerate(matched, 1)]
    return [image for folder in folders for image in _images_in_folder(folder, one_per_folder, skipped)]


def _example(files: Sequence[str]) -> str:
    """One of the files, to append to a sentence; '' for DICOM files and archives, which often name the patient."""
    shown = next((path for path in files if not is_named_like_dicom(path) and not _is_archive(path)), None)
    if shown is None or _may_be_dicom(shown):
        return ""
    if len(files) == 1:
        return f": '{shown}'"
    return _(", for example '{file}'").format(file=shown)


def _may_be_dicom(path: str) -> bool:
    """Whether a file is DICOM or named so, and its path is not to be shown: it often names the patient."""
    is_open = os.path.isfile(path) and os.access(path, os.R_OK)
    return is_named_like_dicom(path) or (is_open and is_dicom_file(path))


def _no_images(given: GivenPath, content: _Content) -> BadInputError:
    folder = given.path
    has_dicom = any(map(_may_be_dicom, islice(files_in(folder), _MOST_SEARCHED)))
    shown = given.shown if has_dicom else _("the folder '{folder}'").format(folder=folder)
    message = _("{folder} has no images directly in it.").format(folder=capitalized(shown))
    if content.others and not any(map(is_dicom_file, content.others)):
        message += " " + _neither_sentence(content.others)
    message += " " + _endings_sentence(content.others, has_dicom)
    inner = [images for images in (_content(name).images for name in content.folders) if images]
    if not inner:
        return BadInputError(message)
    first = inner[0][0]
    hint = _("Its subfolders have images: give one of them, such as '{inner}'.").format(inner=os.path.dirname(first))
    if len(inner) > 1 and os.path.basename(first) in map(os.path.basename, inner[1]):
        hint += " " + _("Or give a pattern for one file in each, such as '{pattern}'.").format(
            pattern=os.path.join(folder, "*", os.path.basename(first))
        )
    return BadInputError(message + " " + hint)


def _neither_sentence(files: Sequence[str]) -> str:
    """That files are neither images nor DICOM; names of DICOM files, which may be those of patients, are not shown."""
    alike = sum(map(is_named_like_dicom, files))
    if alike:
        damaged = _("It may be damaged: copy it again.") if alike == 1 else _("They may be damaged: copy them again.")
        one, many = _("{count} of them is named like a DICOM file"), _("{count} of them are named like DICOM files")
        return counted(
            len(files),
            _("Its {count} file is neither an image nor DICOM, although it is named like a DICOM file. {damaged}"),
            _("Its {count} files are neither images nor DICOM, although {named}. {damaged}"),
            named=counted(alike, one, many),
            damaged=damaged,
        )
    shown = next((path for path in files if not _is_archive(path)), None)
    if shown is None:
        return counted(
            len(files),
            _("Its {count} file is neither an image nor DICOM."),
            _("Its {count} files are neither images nor DICOM."),
        )
    return counted(
        len(files),
        _("Its {count} file, '{example}', is neither an image nor DICOM."),
        _("Its {count} files, such as '{example}', are neither images nor DICOM."),
        example=os.path.basename(shown),
    )


def _several_images(given: str, folder: str, images: Sequence[str]) -> BadInputError:
    pattern = folder if folder == given else os.path.join(given, "*")
    return BadInputError(
        _(
            "The folder '{folder}' has {count} images, so a case cannot be named after it. Give the one to use, with "
            "a pattern such as '{pattern}'."
        ).format(folder=folder, count=len(images), pattern=os.path.join(pattern, os.path.basename(images[0])))
    )


def _endings_sentence(files: Sequence[str], has_dicom: bool = False) -> str:
    """What images end in, and what to do with other files; `has_dicom`: some are DICOM, whatever they are named."""
    sentence = _("Images end in {endings}.").format(endings=", ".join(IMAGE_ENDINGS))
    if has_dicom or any(name.lower().endswith(_DICOM_ENDINGS) for name in files):
        return sentence + " " + _("DICOM series become a cohort with 'sparse-annotate create'.")
    count = sum(map(_is_archive, files))
    if not count:
        return sentence
    archives = counted(
        count,
        _("{count} file is an archive: unpack it, and give the folder."),
        _("{count} files are archives: unpack them, and give the folders."),
    )
    return f"{sentence} {archives}"


def _is_archive(path: str) -> bool:
    """Whether a file is named like an archive; that of a DICOM export often has the name of the patient."""
    return path.lower().endswith(_ARCHIVE_ENDINGS)


def _is_image(path: str) -> bool:
    return path.lower().endswith(IMAGE_ENDINGS)
