"""Owns the size of an inline image, read from its header alone: nothing is decoded, whatever it claims to be. Pure."""

import base64
import binascii
import re
from collections.abc import Iterator
from typing import NamedTuple

_HEAD = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_SEGMENTS = 64
"""Of a JPEG before its frame: profiles and previews come in pieces of 64 KB."""
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of a JPEG's frame, which has its size. Source: ITU T.81, table B.1."""


class Size(NamedTuple):
    """Pixels, as they are stored: a camera may ask for them to be turned."""

    width: int
    height: int


def read_size(text: str) -> Size | None:
    """Read the size of a PNG, JPEG or WebP, in base64 or as a ``data:`` URL of it.

    Returns:
        ``None`` for anything else, for GIFs (whose frames may be larger than their screen), and for damaged ones.
    """
    found = _HEAD.match(text)
    if found is None and text[:5].lower() == "data:":
        return None
    data = _Base64(text, found.end() if found is not None else 0)
    try:
        head = data.read(0, 32)
        if head.startswith(_PNG) and head[12:16] == b"IHDR":
            size = Size(int.from_bytes(head[16:20]), int.from_bytes(head[20:24]))
        elif head.startswith(b"RIFF") and head[8:12] == b"WEBP":
            size = _webp(head)
        elif head.startswith(b"\xff\xd8"):
            size = _jpeg(data)
        else:
            return None
    except (ValueError, IndexError):  # not base64, or cut off
        return None
    return size if size is not None and size.width > 0 and size.height > 0 else None


class _Base64:
    """Bytes in base64, of which only those are decoded that are read."""

    def __init__(self, text: str, begin: int):
        self._text = text
        self._begin = begin

    def read(self, start: int, length: int) -> bytes:
        """Return some bytes; fewer at the end. Raises ``ValueError`` if it is not base64 there."""
        first = start // 3
        last = -(-(start + length) // 3)
        group = self._text[self._begin + first * 4 : self._begin + last * 4]
        if not group.isascii() or group[:-4].count("="):
            raise binascii.Error("not base64 without breaks")
        group = group.rstrip("=")
        decoded = base64.b64decode(group + "=" * (-len(group) % 4), validate=True)
        return decoded[start - first * 3 :][:length]


def _webp(head: bytes) -> Size | None:
    """Source: RFC 9649: 2.6 and 2.7 (lossy), 3.4 (lossless), 2.7.1 (extended)."""
    match head[12:16]:
        case b"VP8X":
            return Size(1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little"))
        case b"VP8L" if head[20] == 0x2F:
            bits = int.from_bytes(head[21:25], "little")
            return Size(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
        case b"VP8 " if head[23:26] == b"\x9d\x01\x2a":
            return Size(int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF)
        case _:
            return None


def _jpeg(data: _Base64) -> Size | None:
    """Go from segment to segment up to the picture; of several frames, the largest sides count."""
    sizes = list(_frames(data))
    return Size(max(size.width for size in sizes), max(size.height for size in sizes)) if sizes else None


def _frames(data: _Base64) -> Iterator[Size]:
    place = 2
    for _ in range(_MOST_SEGMENTS):
        marker = data.read(place, 9)
        if marker[0] != 0xFF:
            raise ValueError("no marker where one must be")
        if marker[1] in (0xDA, 0xD9):
            return
        if marker[1] == 0xFF:  # a fill byte
            place += 1
            continue
        if marker[1] in _FRAMES:
            yield Size(int.from_bytes(marker[7:9]), int.from_bytes(marker[5:7]))
        place += 2 + int.from_bytes(marker[2:4])
    raise ValueError("its picture does not begin")
