"""Which case each mask file belongs to, judged by its name alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..core import BadInputError, Cohort
from ..core.case_names import collision_key, file_stem, usable_case_name
from ..core.decathlon import case_name
from ..core.messages import _, capitalized, listed
from .dicom_masks import DicomMasks
from .reference_order import NamesAlike


@dataclass
class MatchedMasks:
    """Masks by the names of their cases, and by file why the others belong to none."""

    of_case: dict[str, str] = field(default_factory=dict)
    problems: dict[str, BadInputError] = field(default_factory=dict)


def matched_masks(cohort: Cohort, paths: Sequence[str], dicom: DicomMasks | None = None) -> MatchedMasks:
    """Match mask files with cases by name.

    A mask belongs to the case of its name ('s1.nrrd' to 's1'); else to the one whose name it begins with, followed by
    other than a letter or digit ('s1_seg.nrrd'); else to the only one that begins with its name ('s1.nrrd' to
    's1_0000'). A mask in a folder named like a case ('s1/seg.nrrd') belongs to that case. When this leaves several
    cases, or gives a case several masks, they are not matched.

    `dicom`: knows how to call those that are DICOM SEG files.
    """
    by_key = {collision_key(file_stem(case.name)): case.name for case in cohort.cases}
    by_key |= {collision_key(case.name): case.name for case in cohort.cases}
    alike = NamesAlike(list(by_key))
    found = MatchedMasks()
    several: dict[str, list[str]] = {}
    for path in dict.fromkeys(paths):
        names = _cases_of(path, alike, by_key)
        if len(names) == 1:
            several.setdefault(names[0], []).append(path)
            continue
        if names:
            problem = _("{mask} could belong to several cases by its name: {cases}. Name it like its case.")
        else:
            problem = _("No case has the name of {mask}. Name the file, or its folder, like its case.")
        cases, mask = listed([f"'{name}'" for name in names], 3), _shown(path, dicom)
        found.problems[_key(path, found, dicom)] = BadInputError(
            problem.format(mask=capitalized(mask) if names else mask, cases=cases)
        )
    for name, masks in several.items():
        if len(masks) == 1:
            found.of_case[name] = masks[0]
        else:
            found.problems[name] = BadInputError(
                _(
                    "The case '{case}' has several masks by their names: {masks}. Give one; put masks of single "
                    "structures together in one file first."
                ).format(case=name, masks=listed([dicom.shown(mask) if dicom else f"'{mask}'" for mask in masks], 3))
            )
    return found


def _shown(path: str, dicom: DicomMasks | None) -> str:
    return _("the mask '{path}'").format(path=path) if dicom is None else dicom.shown_mask(path)


def _key(path: str, found: MatchedMasks, dicom: DicomMasks | None) -> str:
    """What a mask that belongs to no case is called in `problems`."""
    if dicom is not None and dicom.has(path):
        return dicom.key(path)
    short = "/".join(Path(path).parts[-2:])
    return path if short in found.problems else short


def _key_like_a_case(text: str, by_key: Collection[str]) -> str:
    """The key of a name, or of the case's name that is made from it where a case cannot have it as it is."""
    key = collision_key(text)
    return key if key in by_key else collision_key(usable_case_name(text))


def _cases_of(path: str, alike: NamesAlike, by_key: dict[str, str]) -> list[str]:
    own, folder = (_key_like_a_case(name, by_key) for name in (case_name(path), Path(path).absolute().parent.name))
    beginnings = alike.beginnings(own)
    keys = [own] if own in by_key else beginnings[-1:] or alike.continuations(own)
    if folder in by_key:
        keys = [*keys, folder]
    return list(dict.fromkeys(by_key[key] for key in keys))
