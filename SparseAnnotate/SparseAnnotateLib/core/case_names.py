"""What a case or a run may be called, and what its files are called: one rule for every file system."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from .errors import BadInputError
from .messages import _

LONGEST_STEM = 120
"""Bytes (UTF-8) of a file's name without the words and endings that are added to it: 255 in all, and short folders."""

_FORBIDDEN = '<>:"/\\|?*'
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])\s*(\..*)?", re.IGNORECASE)
_SHORTENED = re.compile(r".*~[0-9a-f]{12}", re.DOTALL)
_DEEPEST = 6


def normal_name(text: str) -> str:
    """The name as it is compared: macOS hands out accents apart from their letters, others as one character."""
    return unicodedata.normalize("NFC", text)


def same_on_some_system(text: str) -> str:
    """A key that is equal for names that Windows or macOS would take for one file."""
    return normal_name(normal_name(text).casefold())


def name_problem(name: str) -> str | None:
    """Why a case or run cannot be called so, as the end of a sentence that begins with the name; None when it can."""
    if not name.strip():
        return "is empty"
    bad = next((c for c in name if c in _FORBIDDEN or not _can_be_shown(c)), None)
    if bad is not None:
        shown = f"'{bad}'" if bad in _FORBIDDEN else f"the unprintable character U+{ord(bad):04X}"
        return f"holds {shown}, which cannot be part of a file name on every system"
    if name != name.strip() or name.startswith(".") or name.endswith("."):
        return "begins or ends with a blank or a dot, which file names cannot on every system"
    if _RESERVED.fullmatch(name):
        return "is a name that Windows keeps for itself"
    return None


def check_name(name: str, what: str = "A case") -> None:
    """Raise BadInputError, a sentence beginning with `what`, when a case or run cannot be called so."""
    problem = name_problem(name)
    if problem:
        raise BadInputError(
            _("{what} cannot be called '{name}': the name {problem}. Choose another name.").format(
                what=what, name=name, problem=problem
            )
        )


def usable_case_name(text: str) -> str:
    """A name for a case that comes close to any text: a file's name, a node's name; never empty, of any length."""
    plain = "".join(" " if c.isspace() else c for c in normal_name(text))
    plain = "".join("_" if c in _FORBIDDEN else c for c in plain if c in _FORBIDDEN or _can_be_shown(c))
    plain = re.sub(r" +", " ", plain).strip(" .")
    return plain if name_problem(plain) is None else f"case {plain}".strip()


def file_stem(name: str) -> str:
    """What the files of a case are called, without their ending: its name, or its beginning and a mark when it is long.

    Different names give different stems, on file systems that do not tell 'A' from 'a' as well if the names differ
    there. What is added to a stem must not be what another case's name may end with: put it into a folder.

    Raises BadInputError when no file can be called so.
    """
    plain = normal_name(name)
    check_name(plain)
    if len(plain.encode()) <= LONGEST_STEM and not _SHORTENED.fullmatch(plain):
        return plain
    mark = "~" + hashlib.sha256(same_on_some_system(plain).encode()).hexdigest()[:12]
    beginning = plain.encode()[: LONGEST_STEM - len(mark)].decode(errors="ignore").rstrip(" .")
    return beginning + mark


def twins(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of names that are one file on some system: equal, or differing in upper and lower case or spelling."""
    first: dict[str, str] = {}
    found = []
    for name in names:
        key = same_on_some_system(name)
        if key in first:
            found.append((first[key], name))
        first.setdefault(key, name)
    return found


def names_of_files(paths: Sequence[str | Path], stems: Sequence[str], from_folder: bool = False) -> list[str]:
    """A name for the case of each image file: its stem; where several are equal, the folders that tell them apart.

    Args:
        paths: of the images. stems: their names without the ending.
        from_folder: name each case by its folder in any case.

    Raises BadInputError when files cannot be told apart by their names and folders, or Windows forbids a name.
    """
    parts = [[stem, *reversed(Path(path).absolute().parts[1:-1])] for path, stem in zip(paths, stems, strict=True)]
    chosen = [part[1] if from_folder and len(part) > 1 else part[0] for part in parts]
    for path, text in zip(paths, chosen, strict=True):
        if _RESERVED.fullmatch(normal_name(text).strip()):
            raise BadInputError(
                _(
                    "The case of '{path}' cannot be called '{text}': the name is one that Windows keeps for itself. "
                    "Name it with '--names', or rename the file."
                ).format(path=path, text=text)
            )
    names = [usable_case_name(text) for text in chosen]
    groups: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        groups.setdefault(same_on_some_system(name), []).append(number)
    for group in groups.values():
        if len(group) > 1:
            for number, name in zip(group, _told_apart([parts[n] for n in group]), strict=True):
                names[number] = name
    if twins(names):
        names = _told_apart(parts)
    return names


def _told_apart(parts: Sequence[Sequence[str]]) -> list[str]:
    """The shortest names, from a file's name and the folders it lies in (innermost first), that differ for all."""
    depth = min(_DEEPEST, *(len(part) for part in parts))
    for count in range(1, depth + 1):
        for levels in combinations(range(depth), count):
            names = [usable_case_name(" ".join(part[level] for level in reversed(levels))) for part in parts]
            if not twins(names):
                return names
    one, other = twins([part[0] for part in parts])[0]
    why = "" if one == other else f" and '{other}', which differ in upper and lower case or spelling only"
    raise BadInputError(
        _(
            "Several images are named '{one}'{why}: Windows and macOS would take their files for one. "
            "Rename them, or name the cases with '--names'."
        ).format(one=one, why=why)
    )


def _can_be_shown(character: str) -> bool:
    # Joiners and the like (Cf) are part of words in Persian and Hindi; the rest of C are controls and halves of signs.
    # Bytes that were no text arrive as such halves (surrogates).
    kind = unicodedata.category(character)
    return kind not in ("Cc", "Cs", "Cn", "Co", "Zl", "Zp")
