"""Importing image files into a cohort folder, so that it can be copied as a whole: by hard links, or as copies."""

from __future__ import annotations

import filecmp
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import Literal

from .atomic_files import why_not_written, written_atomically
from .cohort_file import stored_path
from .errors import FileWriteError
from .image_fingerprint import image_files
from .images import IMAGE_ENDINGS

ImportMode = Literal["link", "copy", "leave"]
"""What is done with image files outside the cohort folder.

'link': a hard link in the cohort folder (a second name of the same file, which takes no disk space); where the file
system has no hard links, only the path is kept. 'copy': a copy: what is written into one of both leaves the other
as it is. 'leave': only the path is kept.
"""


def import_image(
    path: str | Path, folder: Path, kind: str, stem: str, import_mode: ImportMode, made: list[Path]
) -> str:
    """Import an image file into `folder`/`kind` if `import_mode` asks for it; returns the path for cohort.json.

    Args:
        path: of an image. folder: of the cohort. kind: 'images' or 'references'.
        stem: name of the case's files without extension.
        made: the files that were made are appended to it, for `remove_imported`.

    A header whose voxels lie outside its folder is not imported, because it would not find them. A link to the same
    file that is there already is kept, or replaced by a copy when copies are wanted.

    Raises FileWriteError when a copy cannot be written.
    """
    path = Path(os.path.expanduser(path)).absolute()
    stored = stored_path(folder, path)
    inside = not stored.startswith("..") and not Path(stored).is_absolute()
    if import_mode == "leave" or inside:
        return stored
    files = image_files(path)
    ending = next((e for e in IMAGE_ENDINGS if path.name.lower().endswith(e)), path.suffix)
    if len(files) > 1:
        # A header names its voxel files, so all keep their names and relative places, in a separate folder.
        if not all(file.is_relative_to(path.parent) and ".." not in file.parts for file in files):
            return stored
        target = free_path(folder / kind / stem, lambda place: place.exists())
        places = {file: target / file.relative_to(path.parent) for file in files}
    else:
        target = free_path(folder / kind / f"{stem}{ending}", lambda place: place.exists() and not place.samefile(path))
        places = {path: target}
    for file, place in places.items():
        was_there = place.exists()
        # A link that an earlier attempt left is no copy.
        if was_there and not (import_mode == "copy" and place.samefile(file)):
            continue
        if import_mode == "copy":
            with written_atomically(place) as temporary:
                shutil.copyfile(file, temporary)
            # What was there before stays, also when the import is undone.
            if not was_there:
                made.append(place)
        elif _linked(file, place):
            made.append(place)
        else:
            # All files of an image are imported, or none.
            here = [done for done in places.values() if done in made]
            remove_imported([*here, place], folder)
            del made[len(made) - len(here) :]
            return stored
    return places[path].relative_to(folder).as_posix()


def remove_imported(made: Sequence[Path], folder: Path) -> None:
    """Remove files that were imported into a cohort's `folder`, and folders that are empty then."""
    for path in made:
        with suppress(OSError):
            path.unlink(missing_ok=True)
            for parent in path.relative_to(folder).parents[:-1]:
                (folder / parent).rmdir()


def is_same_image(one: Path, other: Path) -> bool:
    """True when both are the same file, or files with the same content."""
    if not (one.is_file() and other.is_file()):
        return False
    pairs = list(zip_longest(image_files(one), image_files(other)))
    return one.samefile(other) or all(a and b and filecmp.cmp(a, b, shallow=False) for a, b in pairs)


def _linked(file: Path, place: Path) -> bool:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileWriteError(why_not_written(place, error)) from error
    try:
        os.link(file.resolve(), place)
        return True
    except (OSError, NotImplementedError):
        return False


def free_path(place: Path, is_taken: Callable[[Path], bool]) -> Path:
    """The path, or a similar one that no other file has."""
    number = 1
    free = place
    while is_taken(free):
        number += 1
        free = place.with_name(f"{number} {place.name}")
    return free
