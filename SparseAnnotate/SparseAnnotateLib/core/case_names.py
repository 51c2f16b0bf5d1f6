"""Names of cases and runs, and of their files: one rule that works on every file system."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from .errors import BadInputError
from .messages import _, listed

LONGEST_STEM = 120
"""Bytes (UTF-8) of a file name without added words and extensions; file systems allow 255 in all."""

_FORBIDDEN = '<>:"/\\|?*'
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])\s*(\..*)?", re.IGNORECASE)
_SHORTENED = re.compile(r".*~[0-9a-f]{12}", re.DOTALL)
_DEEPEST = 6
_NAMED = 3


def normal_name(text: str) -> str:
    """The name in Unicode form NFC, for comparing: macOS stores accents apart from their letters."""
    return unicodedata.normalize("NFC", text)


def collision_key(text: str) -> str:
    """A key that is equal for names that Windows or macOS treat as the same file."""
    return normal_name(normal_name(text).casefold())


def name_problem(name: str) -> str | None:
    """Why a case or run cannot have this name, as a clause ("the name is empty"); None when it can."""
    if not name.strip():
        return _("the name is empty")
    bad = next((c for c in name if c in _FORBIDDEN or not _can_be_shown(c)), None)
    if bad is not None:
        if bad in _FORBIDDEN:
            return _("the name contains '{character}', which not every system allows in file names").format(
                character=bad
            )
        return _("the name contains the unprintable character {code}").format(code=f"U+{ord(bad):04X}")
    if name != name.strip() or name.startswith(".") or name.endswith("."):
        return _("the name begins or ends with a blank or a dot, which not every system allows in file names")
    if _RESERVED.fullmatch(name):
        return _("Windows reserves this name")
    return None


def check_name(name: str, what: str = _("A case")) -> None:
    """Raise BadInputError, starting with `what`, when a case or run cannot have this name."""
    problem = name_problem(name)
    if problem:
        raise BadInputError(
            _("{what} cannot be called '{name}': {problem}. Choose another name.").format(
                what=what, name=name, problem=problem
            )
        )


def usable_case_name(text: str) -> str:
    """A valid case name close to any text, such as the name of a file or a node; never empty, of any length."""
    plain = "".join(" " if c.isspace() else c for c in normal_name(text))
    plain = "".join("_" if c in _FORBIDDEN else c for c in plain if c in _FORBIDDEN or _can_be_shown(c))
    plain = re.sub(r" +", " ", plain).strip(" .")
    return plain if name_problem(plain) is None else f"case {plain}".strip()


def file_stem(name: str) -> str:
    """The name of a case's files without extension: the case's name, or its beginning and a hash when it is long.

    Names that differ on every file system, even ones that ignore case, give stems that do. To tell files of one case
    apart, use folders rather than suffixes: another case's name could end with the suffix.

    Raises BadInputError when files cannot have this name.
    """
    plain = normal_name(name)
    check_name(plain)
    if len(plain.encode()) <= LONGEST_STEM and not _SHORTENED.fullmatch(plain):
        return plain
    suffix = "~" + hashlib.sha256(collision_key(plain).encode()).hexdigest()[:12]
    beginning = plain.encode()[: LONGEST_STEM - len(suffix)].decode(errors="ignore").rstrip(" .")
    return beginning + suffix


def name_collisions(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of names that are the same file on some system: equal, or differing in case or Unicode form only."""
    first: dict[str, str] = {}
    found = []
    for name in names:
        key = collision_key(name)
        if key in first:
            found.append((first[key], name))
        first.setdefault(key, name)
    return found


def names_of_files(paths: Sequence[str | Path], stems: Sequence[str], from_folder: bool = False) -> list[str]:
    """A case name for each image file: its stem; where several are equal, the folders in which they differ.

    Args:
        paths: of the images. stems: their names without the ending.
        from_folder: always name the cases by their folders.

    Raises BadInputError when names and folders of two files are the same, or Windows reserves a name.
    """
    parts = [[stem, *reversed(Path(path).absolute().parts[1:-1])] for path, stem in zip(paths, stems, strict=True)]
    chosen = [part[1] if from_folder and len(part) > 1 else part[0] for part in parts]
    for path, text in zip(paths, chosen, strict=True):
        if _RESERVED.fullmatch(normal_name(text).strip()):
            raise BadInputError(
                _(
                    "The case of '{path}' cannot be called '{name}': Windows reserves this name. Name it with "
                    "'--names', or rename the file."
                ).format(path=path, name=text)
            )
    names = [usable_case_name(text) for text in chosen]
    groups: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        groups.setdefault(collision_key(name), []).append(number)
    for group in groups.values():
        if len(group) > 1:
            distinct = _distinct_names([parts[n] for n in group], [paths[n] for n in group])
            for number, name in zip(group, distinct, strict=True):
                names[number] = name
    if name_collisions(names):
        names = _distinct_names(parts, paths)
    return names


def _distinct_names(parts: Sequence[Sequence[str]], paths: Sequence[str | Path]) -> list[str]:
    """The shortest distinct names, from each file's name and the folders it lies in (innermost first)."""
    depth = min(_DEEPEST, *(len(part) for part in parts))
    for count in range(1, depth + 1):
        for levels in combinations(range(depth), count):
            names = [usable_case_name(" ".join(part[level] for level in reversed(levels))) for part in parts]
            if not name_collisions(names):
                return names
    one, other = name_collisions([part[0] for part in parts])[0]
    if one == other:
        same = [str(Path(path).absolute()) for path, part in zip(paths, parts, strict=True) if part[0] == one]
        if len(set(same)) == 1:
            raise BadInputError(
                _("The image '{path}' was given {count} times. Name it once.").format(path=same[0], count=len(same))
            )
        files = listed([f"'{path}'" for path, part in zip(paths, parts, strict=True) if part[0] == one], _NAMED)
        raise BadInputError(
            _("Several images are named '{name}': {files}. Rename them, or name the cases with '--names'.").format(
                name=one, files=files
            )
        )
    raise BadInputError(
        _(
            "The names of the images '{one}' and '{other}' differ in upper and lower case or spelling only: on "
            "Windows and macOS their files would have the same name. Rename them, or name the cases with '--names'."
        ).format(one=one, other=other)
    )


def _can_be_shown(character: str) -> bool:
    # Joiners and the like (Cf) are part of words in Persian and Hindi; the rest of C are controls and surrogates, which
    # stand for bytes that are not text.
    kind = unicodedata.category(character)
    return kind not in ("Cc", "Cs", "Cn", "Co", "Zl", "Zp")
