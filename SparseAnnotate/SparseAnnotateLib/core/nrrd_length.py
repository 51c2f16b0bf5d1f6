"""Whether the voxels of a NRRD file are complete: attached (.nrrd) or in separate files (.nhdr)."""

from __future__ import annotations

import math
import re
from pathlib import Path

from .messages import _
from .nrrd_checksum import checksum_differs
from .packed_stream import bzip2_length, gzip_length
from .voxel_files import named_files

NRRD_ENDINGS = (".nrrd", ".nhdr")
_LONGEST_HEADER, _HEADER_CHUNK = 1 << 20, 1 << 13
_BYTES = (
    (r"(u?int8(_t)?|(un)?signed char|uchar|char)", 1),
    (r"(u?int16(_t)?|((un)?signed )?short( int)?|ushort)", 2),
    (r"(u?int32(_t)?|((un)?signed )?int|uint|float)", 4),
    (r"(u?int64(_t)?|((un)?signed )?long ?long( int)?|u?longlong|double)", 8),
)


def nrrd_damage(path: Path) -> str:
    """What is wrong with a NRRD file, as a clause; '' when it is complete. Raises OSError.

    Headers of a kind that is not checked here are left to ITK.
    """
    if checksum_differs(path):
        return _("its checksum does not match: the file has changed since SparseAnnotate wrote it")
    fields, start = nrrd_header(path)
    files, expected = _named_files(path, fields), _expected_bytes(fields)
    if files is None or expected is None:
        return ""
    for file in files:
        if not file.is_file():
            return _("the file '{file}', which contains its voxels, is missing").format(file=file)
    lines, skipped = _whole_number(fields, "lineskip"), _whole_number(fields, "byteskip")
    packing = fields.get("encoding", "").lower()
    length = 0
    for file in files:
        size = file.stat().st_size - (start if file == path else 0)
        if packing == "raw":
            length += size - max(skipped, 0)
        elif packing in ("gzip", "gz", "bzip2", "bz2"):
            with open(file, "rb") as content:
                content.seek(start if file == path else 0)
                for _line in range(lines):
                    content.readline()
                each = expected // len(files) + max(skipped, 0)
                found, problem = gzip_length(content, each) if packing.startswith("gz") else bzip2_length(content)
            if problem:
                return problem
            length += found - max(skipped, 0)
        else:
            return ""
    return "" if length >= expected else _("the file is shorter than its header says")


def nrrd_files(path: Path) -> list[Path] | None:
    """The files that hold the voxels; None when the header cannot be understood. Raises OSError."""
    return _named_files(path, nrrd_header(path)[0])


def nrrd_header(path: Path) -> tuple[dict[str, str], int]:
    """The fields, with names in lower case without blanks, and where the voxels begin; 'list' is a list of files."""
    content, end = b"", None
    with open(path, "rb") as file:
        while end is None and len(content) < _LONGEST_HEADER and (chunk := file.read(_HEADER_CHUNK)):
            content += chunk
            end = re.search(rb"\r?\n\r?\n", content)
    start = end.end() if end else len(content)
    lines = content[: end.start() if end else None].decode("utf-8", "replace").splitlines()
    fields: dict[str, str] = {}
    for number, line in enumerate(lines):
        name, colon, text = line.partition(": ")
        if colon and not line.startswith("#") and ":=" not in line[: len(name) + 2]:
            name = name.lower().replace(" ", "")
            fields[name] = text.strip()
            if name == "datafile" and text.upper().startswith("LIST"):
                fields["list"] = "\n".join(lines[number + 1 :])
                break
    return fields, start


def _named_files(path: Path, fields: dict[str, str]) -> list[Path] | None:
    name = fields.get("datafile")
    if name is None:
        return [path]
    words = name.split()
    pattern, numbers = (words[0], words[1:4]) if "%" in name else (name, None)
    return named_files(path.parent, pattern, numbers, fields.get("list"))


def _expected_bytes(fields: dict[str, str]) -> int | None:
    sizes = fields.get("sizes", "").split()
    kind = fields.get("type", "").lower()
    size = next((size for pattern, size in _BYTES if re.fullmatch(pattern, kind)), None)
    if not sizes or size is None or not all(re.fullmatch(r"[0-9]{1,18}", word) for word in sizes):
        return None
    return math.prod(map(int, sizes)) * size


def _whole_number(fields: dict[str, str], name: str) -> int:
    text = fields.get(name, "0")
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else 0
