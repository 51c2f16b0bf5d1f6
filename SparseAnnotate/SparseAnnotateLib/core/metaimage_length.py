"""Whether a MetaImage (.mha, .mhd) is complete. ITK reads damaged compressed voxels without an error."""

from __future__ import annotations

import math
import re
from pathlib import Path

from .messages import _
from .packed_stream import zlib_length
from .voxel_files import named_files

META_ENDINGS = (".mha", ".mhd")
_BYTES = {
    "MET_CHAR": 1,
    "MET_UCHAR": 1,
    "MET_SHORT": 2,
    "MET_USHORT": 2,
    "MET_INT": 4,
    "MET_UINT": 4,
    "MET_LONG": 4,
    "MET_ULONG": 4,
    "MET_LONG_LONG": 8,
    "MET_ULONG_LONG": 8,
    "MET_FLOAT": 4,
    "MET_DOUBLE": 8,
}
_LONGEST_HEADER = 1 << 16
_FIELD = re.compile(r"\s*(?P<name>[^=:\s]+)\s*[=:][=:\s]*(?P<text>.*)", re.DOTALL)


def metaimage_damage(path: Path) -> str:
    """What is wrong with the voxels of a MetaImage, as a clause; '' when they are complete.

    Headers of a kind that is not checked here are left to ITK. Raises OSError.
    """
    fields, start = metaimage_header(path)
    files = _named_files(path, fields)
    expected = _expected_bytes(fields)
    if files is None or expected is None or fields.get("BinaryData", "True").lower() == "false":
        return ""
    for file in files:
        if not file.is_file():
            return _("the file '{file}', which contains its voxels, is missing").format(file=file)
    if is_packed_metaimage(fields):
        if len(files) != 1:
            return ""
        most = packed_metaimage_length(fields)
        if most is None and files[0] == path:
            return _("its header does not say how long its compressed voxels are (CompressedDataSize)")
        with open(files[0], "rb") as stream:
            stream.seek(start if files[0] == path else 0)
            length, problem = zlib_length(stream, most)
        return problem or ("" if length >= expected else _("it contains fewer voxels than its header says"))
    skipped = _whole_number(fields.get("HeaderSize", "")) or 0
    length = sum(file.stat().st_size - skipped for file in files) - (start if files[0] == path else 0)
    return "" if length >= expected else _("the file is shorter than its header says")


def metaimage_files(path: Path) -> list[Path] | None:
    """The files that hold the voxels; None when the header cannot be understood. Raises OSError."""
    return _named_files(path, metaimage_header(path)[0])


def metaimage_header(path: Path) -> tuple[dict[str, str], int]:
    """The fields, and where the content after them begins; the field 'LIST' holds a list of file names."""
    with open(path, "rb") as file:
        content = file.read(_LONGEST_HEADER)
    fields: dict[str, str] = {}
    place = 0
    while place < len(content) and "ElementDataFile" not in fields:
        end = content.find(b"\n", place)
        end = len(content) if end < 0 else end
        field = _FIELD.fullmatch(content[place:end].decode("latin-1"))
        if field:
            fields[field["name"]] = field["text"].strip()
        place = end + 1
    if fields.get("ElementDataFile", "").upper().startswith("LIST"):
        fields["LIST"] = content[place:].decode("utf-8", "replace").strip()
    return fields, place


def is_packed_metaimage(fields: dict[str, str]) -> bool:
    """Whether the voxels are compressed, as ITK understands this field."""
    return fields.get("CompressedData", "")[:1] in ("T", "t", "1")


def packed_metaimage_length(fields: dict[str, str]) -> int | None:
    """Bytes of the compressed voxels; None when the header does not say it. Without it ITK unpacks the whole file."""
    return _whole_number(fields.get("CompressedDataSize", ""))


def _named_files(path: Path, fields: dict[str, str]) -> list[Path] | None:
    name = fields.get("ElementDataFile")
    if name is None:
        return None
    if name in ("LOCAL", "Local", "local"):
        return [path]
    words = name.rsplit(" ", 3)
    pattern, numbers = (words[0], words[1:]) if "%" in name else (name, None)
    return named_files(path.parent, pattern, numbers, fields.get("LIST"))


def _expected_bytes(fields: dict[str, str]) -> int | None:
    words = fields.get("DimSize", "").split()
    sizes = [number for number in map(_whole_number, words) if number is not None]
    size = _BYTES.get(fields.get("ElementType", "").removesuffix("_ARRAY"))
    if not sizes or len(sizes) < len(words) or size is None:
        return None
    return math.prod(sizes) * size * (_whole_number(fields.get("ElementNumberOfChannels", "1")) or 1)


def _whole_number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None
