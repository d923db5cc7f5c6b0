"""Owns the journal's format: how one entry is framed, and how frames are told from damage.

A frame is: u32 length of what follows the checksum, u32 CRC-32 of it, u8 kind, 8 bytes id, u8 number of parts, and for
each part u32 length and its bytes. Numbers are little-endian. The kinds are bytes that UTF-8 text never has, so that a
reader which lost its place among damage finds the next frame fast.
"""

import re
import struct
from collections.abc import Sequence
from typing import Literal
from zlib import crc32

import msgspec

EntryKind = Literal["intent", "call"]
"""``intent``: a call is about to be sent to a provider. ``call``: what came of it."""

ID_BYTES = 8
HEAD_BYTES = 8
"""Length and checksum."""
_LONG_BYTES = 64 * 1024
"""Frames from here on are not copied into one piece; for shorter ones that costs less than many pieces."""

_CODES: dict[EntryKind, int] = {"intent": 0xFE, "call": 0xFD}
_KINDS: dict[int, EntryKind] = {code: kind for kind, code in _CODES.items()}
_ANY_CODE = re.compile(b"[\xfd\xfe]")
_HEAD = struct.Struct("<II")
_OPENING = struct.Struct("<B8sB")
_SIZE = struct.Struct("<I")


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One entry as it stands in a segment. ``end``: the offset behind it."""

    kind: EntryKind
    entry_id: bytes
    parts: tuple[bytes, ...]
    end: int


class Damaged(ValueError):
    """The bytes at this place are not a frame."""


def encode_frame(kind: EntryKind, entry_id: bytes, parts: Sequence[bytes]) -> bytes:
    """Frame one entry. Raises ``ValueError`` if the id is not 8 bytes long or there are more than 255 parts."""
    return b"".join(frame_pieces(kind, entry_id, parts))


def frame_pieces(kind: EntryKind, entry_id: bytes, parts: Sequence[bytes]) -> list[bytes]:
    """Frame one entry as pieces that belong one behind the other: what is long is not copied. Raises as above."""
    if len(entry_id) != ID_BYTES or len(parts) > 255:
        raise ValueError(f"an entry has an id of {ID_BYTES} bytes and at most 255 parts")
    size = _OPENING.size + _SIZE.size * len(parts) + sum(map(len, parts))
    pieces = [_OPENING.pack(_CODES[kind], entry_id, len(parts))]
    for part in parts:
        pieces += (_SIZE.pack(len(part)), part)
    if size < _LONG_BYTES:
        body = b"".join(pieces)
        return [_HEAD.pack(size, crc32(body)) + body]
    checksum = 0
    for piece in pieces:
        checksum = crc32(piece, checksum)
    return [_HEAD.pack(size, checksum), *pieces]


def frame_size(data: bytes, start: int) -> int:
    """Return how many bytes the frame at ``start`` claims to have, its head included. Fewer than 8 bytes: 8."""
    if len(data) - start < HEAD_BYTES:
        return HEAD_BYTES
    return HEAD_BYTES + _HEAD.unpack_from(data, start)[0]


def read_frame(data: bytes, start: int) -> Frame:
    """Read the frame at ``start``.

    Raises:
        Damaged: It is not whole, or its checksum does not fit.
    """
    end = start + frame_size(data, start)
    if end > len(data) or end - start < HEAD_BYTES + _OPENING.size:
        raise Damaged("the frame is not whole")
    body = memoryview(data)[start + HEAD_BYTES : end]
    if crc32(body) != _HEAD.unpack_from(data, start)[1] or body[0] not in _KINDS:
        raise Damaged("the checksum does not fit")
    code, entry_id, count = _OPENING.unpack_from(body)
    parts: list[bytes] = []
    place = _OPENING.size
    for _ in range(count):
        (size,) = _SIZE.unpack_from(body, place)
        place += _SIZE.size
        parts.append(bytes(body[place : place + size]))
        place += size
    return Frame(kind=_KINDS[code], entry_id=entry_id, parts=tuple(parts), end=end)


def find_frame(data: bytes, start: int) -> int:
    """Return the offset of the first good frame at or behind ``start``; the length of ``data`` if there is none."""
    for match in _ANY_CODE.finditer(data, start + HEAD_BYTES):
        place = match.start() - HEAD_BYTES
        try:
            read_frame(data, place)
        except Damaged:
            continue
        return place
    return len(data)
