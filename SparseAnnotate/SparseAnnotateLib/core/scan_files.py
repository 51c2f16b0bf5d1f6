"""Image files named on a command line (files, folders, patterns), and the names of results made from them."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from .case_names import name_collisions, usable_case_name
from .decathlon import case_name, is_left_by_macos
from .errors import BadInputError
from .images import IMAGE_ENDINGS
from .messages import _


def scan_files(given: Sequence[str], in_sub_folders: bool = False) -> list[Path]:
    """The image files, each once, in the order given; those of a folder are sorted by name.

    Args:
        given: files; folders, for all images in them; patterns with '*', '?', '[...]' and '**', for all that match.
        in_sub_folders: of a folder, also the images in the folders directly in it.

    Whether files can be read as images is not checked. Raises BadInputError when something does not exist or is empty.
    """
    found: dict[str, Path] = {}
    for text in given:
        for path in _matching(os.path.expanduser(text)):
            for image in _images_of(path, in_sub_folders) if path.is_dir() else [path]:
                found.setdefault(os.path.abspath(image), image)
    if not found:
        raise BadInputError(_("Name at least one scan to label."))
    return list(found.values())


def scan_names(paths: Sequence[Path], from_folders: bool = False) -> list[str]:
    """A name for the result of each file: the file's name without ending or, `from_folders`, its folder's name.

    The name of one result does not depend on which others there are. Raises BadInputError when two are the same.
    """
    stems = [Path(os.path.abspath(path)).parent.name if from_folders else case_name(path) for path in paths]
    names = [usable_case_name(stem) for stem in stems]
    if name_collisions(names):
        raise BadInputError(_same_names(paths, names, from_folders))
    return names


def _same_names(paths: Sequence[Path], names: Sequence[str], from_folders: bool) -> str:
    pairs = name_collisions(names)
    one, other = pairs[0]
    first = names.index(one)
    second = next(place for place, name in enumerate(names) if name == other and place != first)
    template = (
        _(
            "The results for '{one}' and '{other}' would both be named '{name}', after their folder. Name one scan of "
            "each folder, for example with a pattern such as '*/T1.nii.gz'."
        )
        if from_folders
        else _(
            "The results for '{one}' and '{other}' would both be named '{name}'. With '--name-from parent' each result "
            "is named after the folder of its scan. Scans in the same folder can be labeled into different folders."
        )
    )
    return template.format(one=paths[first], other=paths[second], name=one)


def _matching(text: str) -> list[Path]:
    if os.path.lexists(text):  # also a file whose name looks like a pattern
        return [Path(text)]
    if not glob.has_magic(text):
        raise BadInputError(_("The file or folder '{path}' does not exist.").format(path=text))
    matches = [Path(match) for match in sorted(glob.glob(text, recursive=True))]
    if not matches:
        raise BadInputError(_("No file matches '{pattern}'.").format(pattern=text))
    # A pattern such as '**' also matches other files, and the folders that the images are in.
    images = [m for m in matches if m.name.lower().endswith(IMAGE_ENDINGS) and not m.is_dir()]
    return [image for image in images if not is_left_by_macos(image)] or matches


def _images_of(folder: Path, in_sub_folders: bool) -> list[Path]:
    images, folders = _listed(folder)
    if in_sub_folders:
        images += [image for sub_folder in folders for image in _listed(sub_folder)[0]]
    if images:
        return images
    if any(_listed(sub_folder)[0] for sub_folder in folders):
        raise BadInputError(
            _(
                "There is no image in the folder '{folder}' itself, only in folders in it. With '--name-from parent' "
                "these are labeled, and each result is named after the folder of its scan."
            ).format(folder=folder)
        )
    raise BadInputError(
        _(
            "There is no image in the folder '{folder}'. Names of images end in {endings}. Convert DICOM series first."
        ).format(folder=folder, endings=", ".join(IMAGE_ENDINGS))
    )


def _listed(folder: Path) -> tuple[list[Path], list[Path]]:
    """The images and the folders in a folder, by name, without hidden ones. Raises BadInputError."""
    try:
        with os.scandir(folder) as entries:
            # A link that leads nowhere counts as a file: reading it gives an error that names it.
            kinds = sorted((entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise BadInputError(
            _("The folder '{folder}' cannot be read ({reason}).").format(folder=folder, reason=error.strerror)
        ) from error
    images = [folder / name for name, is_folder in kinds if not is_folder and name.lower().endswith(IMAGE_ENDINGS)]
    return images, [folder / name for name, is_folder in kinds if is_folder]
