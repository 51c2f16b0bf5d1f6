"""The checksum in the JSON files written here, which tells a flipped bit from an edit.

It is the last field of the file, a CRC-32 of its bytes computed with the eight digits set to 0. People edit such files,
and scripts write them again, without updating the checksum; such files must still be read. So a file that does not
match its checksum is only refused when a single flipped bit explains the difference: the CRC is linear, so the
difference (the 'syndrome') tells which bit that would be, and an edit looks like one only about once in 100,000 times.
"""

from __future__ import annotations

import re
import zlib

FIELD = "checksum"
_NO_DIGITS = b"00000000"
_FOUND = re.compile(rb'"checksum": "(.{8})"', re.DOTALL)
_POLYNOMIAL = 0xEDB88320


def with_checksum(text: str) -> str:
    """Indented JSON text of an object with the checksum as its last field; other text unchanged."""
    body, brace, _ = text.rpartition("\n}")
    if not brace or not text.startswith("{"):
        return text
    content = f'{body},\n  "{FIELD}": "{_NO_DIGITS.decode()}"\n}}\n'
    digits = f"{zlib.crc32(content.encode('utf-8')):08x}"
    return f'{body},\n  "{FIELD}": "{digits}"\n}}\n'


def flipped_bit(content: bytes) -> int | None:
    """Index of the byte with a single flipped bit in a JSON file; None when the checksum matches, or after an edit."""
    found = None
    for found in _FOUND.finditer(content):  # noqa: B007  (the last one)
        pass
    if found is None:
        return None
    place, digits = found.start(1), found.group(1)
    own = zlib.crc32(content[:place] + _NO_DIGITS + content[found.end(1) :])
    right = f"{own:08x}".encode("ascii")
    if digits == right:
        return None
    wrong = [n for n in range(8) if digits[n] != right[n]]
    if len(wrong) == 1 and (digits[wrong[0]] ^ right[wrong[0]]).bit_count() == 1:
        return place + wrong[0]
    try:
        return _place_of_bit(own ^ int(digits, 16), len(content))
    except ValueError:
        return None


def _place_of_bit(syndrome: int, length: int) -> int | None:
    """Index of the byte in which one flipped bit changes the CRC of `length` bytes by `syndrome`, or None."""
    table = [_after_byte(value) for value in range(256)]
    value_of = {remainder >> 24: value for value, remainder in enumerate(table)}
    single_bits = {table[1 << bit] for bit in range(8)}
    for place in range(length - 1, -1, -1):
        if syndrome in single_bits:
            return place
        # One byte back: what was it before this byte went through the CRC?
        value = value_of[syndrome >> 24]
        syndrome = ((syndrome ^ table[value]) << 8 | value) & 0xFFFFFFFF
    return None


def _after_byte(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
    return value
