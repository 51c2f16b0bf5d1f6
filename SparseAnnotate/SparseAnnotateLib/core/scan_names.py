"""The names of results made from scans that are in no cohort."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .case_names import name_collisions, usable_case_name
from .decathlon import case_name
from .errors import BadInputError
from .messages import _


def scan_names(paths: Sequence[Path], from_folders: bool = False, stems: Sequence[str] | None = None) -> list[str]:
    """A name for the result of each file: the file's name without ending or, `from_folders`, its folder's name.

    `stems`: other names than the files', for scans of several files. The name of one result does not depend on which
    others there are. Raises BadInputError when two are the same.
    """
    if from_folders:
        stems = [Path(os.path.abspath(path)).parent.name for path in paths]
    elif stems is None:
        stems = [case_name(path) for path in paths]
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
