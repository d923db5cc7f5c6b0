"""Owns AWS's binary event streams: a byte stream split into whole messages, what a message says, and writing them.

A message is: its length and that of its headers (4 bytes each), the CRC-32 of those 8 bytes, the headers, the payload,
and the CRC-32 of everything before. No I/O. Written here because it is short, stable, and the dialect must not need
``botocore``, which takes 25 MB of memory.
Source: https://smithy.io/2.0/aws/amazon-eventstream.html and botocore 1.44.8, ``eventstream.py`` (2026-11).
"""

import struct
from collections.abc import Iterator, Mapping
from zlib import crc32

import msgspec

from backstay.core.errors import ProviderError, ProviderUnreachable, ProviderUnreadable

MAX_MESSAGE_BYTES = 32 * 1024 * 1024
"""Longest message taken, in bytes. AWS sends up to 24 MiB of payload."""

_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
_LENGTH = struct.Struct(">H")
_SHORTEST = _PRELUDE.size + _CRC.size
_TEXT, _BYTES = 7, 6
_FIXED_BYTES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Header types whose values have a length that goes without saying: booleans, numbers, a time, a UUID."""


class Event(msgspec.Struct, frozen=True):
    """What one message says. Headers that are not texts are left out: no AWS service needs them to be understood."""

    headers: Mapping[str, str]
    payload: bytes


class MessageSplitter:
    """Cuts a byte stream, however it is chunked, into whole messages."""

    __slots__ = ("_buffer", "_max_bytes")

    def __init__(self, max_message_bytes: int = MAX_MESSAGE_BYTES):
        self._buffer = bytearray()
        self._max_bytes = max_message_bytes

    def feed(self, chunk: bytes) -> list[bytes]:
        """Add bytes and return the messages that are whole now.

        Raises:
            ProviderError: A length is damaged or out of bounds: what follows cannot be told apart any more.
        """
        buffer = self._buffer
        buffer += chunk
        frames: list[bytes] = []
        start = 0
        while len(buffer) - start >= _PRELUDE.size:
            end = start + self._length(start)
            if len(buffer) < end:
                break
            frames.append(bytes(buffer[start:end]))
            start = end
        del buffer[:start]
        return frames

    def _length(self, start: int) -> int:
        size, headers_size, checksum = _PRELUDE.unpack_from(self._buffer, start)
        if crc32(self._buffer[start : start + 8]) != checksum:
            raise _damaged("a length does not fit its checksum")
        if size > self._max_bytes:
            raise ProviderError(f"The provider sent an event of more than {self._max_bytes} bytes.")
        if size < _SHORTEST + headers_size:
            raise _damaged("a length is too short")
        return size

    def end(self) -> bytes:
        """Return nothing: a message is whole or none. Raises ``ProviderUnreachable`` if the stream broke in one."""
        if self._buffer:
            raise ProviderUnreachable("The provider's stream ended inside an event.")
        return b""


class EventStreamFraming:
    """AWS's event streams, as a way to cut streams into frames."""

    content_type = "application/vnd.amazon.eventstream"

    def splitter(self) -> MessageSplitter:
        return MessageSplitter()

    def spoil(self, frame: bytes) -> bytes:
        """Cut an event's payload in half, its checksums right, so that it is a whole event but not JSON."""
        event = read_event(frame)
        return write_event(event.payload[: len(event.payload) // 2], event.headers)


EVENT_STREAM = EventStreamFraming()


def read_event(frame: bytes) -> Event:
    """Read a whole message.

    Raises:
        ProviderError: It is damaged. Another try may bring a good one.
    """
    size, headers_size, _ = _PRELUDE.unpack_from(frame)
    (checksum,) = _CRC.unpack_from(frame, size - _CRC.size)
    if crc32(memoryview(frame)[: -_CRC.size]) != checksum:
        raise _damaged("an event does not fit its checksum")
    payload_at = _PRELUDE.size + headers_size
    try:
        headers = dict(_read_headers(frame, payload_at))
    except (IndexError, KeyError, struct.error, UnicodeDecodeError):
        raise _damaged("an event's headers are malformed") from None
    return Event(headers, frame[payload_at : -_CRC.size])


def _read_headers(frame: bytes, end: int) -> Iterator[tuple[str, str]]:
    at = _PRELUDE.size
    while at < end:
        name_end = at + 1 + frame[at]
        name, kind = frame[at + 1 : name_end].decode(), frame[name_end]
        at = name_end + 1
        if kind in (_TEXT, _BYTES):
            (length,) = _LENGTH.unpack_from(frame, at)
            at += _LENGTH.size + length
            if kind == _TEXT:
                yield name, frame[at - length : at].decode()
        else:
            at += _FIXED_BYTES[kind]


def write_event(payload: bytes, headers: Mapping[str, str]) -> bytes:
    """Write a message, all headers as texts."""
    written = b"".join(
        bytes((len(name.encode()),))
        + name.encode()
        + bytes((_TEXT,))
        + _LENGTH.pack(len(value.encode()))
        + value.encode()
        for name, value in headers.items()
    )
    lengths = struct.pack(">II", _SHORTEST + len(written) + len(payload), len(written))
    message = b"%b%b%b%b" % (lengths, _CRC.pack(crc32(lengths)), written, payload)
    return message + _CRC.pack(crc32(message))


def _damaged(what: str) -> ProviderError:
    return ProviderUnreadable(f"The provider's stream is damaged: {what}.")
