"""AWS's event streams: messages are whole, whatever the chunks; what is damaged is refused; botocore agrees."""

import struct
from typing import Any
from zlib import crc32

import aws_sdk
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.core.errors import ProviderError, ProviderUnreachable
from backstay.providers.event_stream import EVENT_STREAM, Event, MessageSplitter, read_event, write_event

_texts = st.text(max_size=20)
_headers = st.dictionaries(st.sampled_from([":event-type", ":message-type", "x"]), _texts, max_size=3)
_events = st.lists(st.tuples(st.binary(max_size=60), _headers), max_size=5)

RECORDED = bytes.fromhex(
    "0000003d0000002007fd8396"  # lengths 61 and 32, and their checksum
    "0c636f6e74656e742d74797065070010" + b"application/json".hex() + "7b27666f6f273a27626172277d" + "8d9c08b1"
)
"""A message of AWS's own test vectors. Source: botocore 1.44.8, tests/unit/test_eventstream.py, "json payload with one
string header" (2026-11)."""


def _split(stream: bytes, size: int) -> list[bytes]:
    splitter = MessageSplitter()
    frames = [frame for start in range(0, len(stream), size) for frame in splitter.feed(stream[start : start + size])]
    assert splitter.end() == b""
    return frames


def test_a_recorded_message_is_read_and_written() -> None:
    """AWS's own example is read as AWS says, and written byte for byte."""
    event = read_event(RECORDED)
    assert event == Event({"content-type": "application/json"}, b"{'foo':'bar'}")
    assert write_event(event.payload, event.headers) == RECORDED


@given(_events, st.integers(1, 90))
def test_messages_do_not_depend_on_the_chunks(events: list[tuple[bytes, dict[str, str]]], size: int) -> None:
    """Cut anywhere, the same messages come out, and each says what was written."""
    frames = [write_event(payload, headers) for payload, headers in events]
    got = _split(b"".join(frames), size)
    assert got == frames
    assert [read_event(frame) for frame in got] == [Event(headers, payload) for payload, headers in events]


@given(_events)
def test_botocore_reads_the_same(events: list[tuple[bytes, dict[str, str]]]) -> None:
    """AWS's own parser understands what is written here."""
    buffer: Any = aws_sdk.eventstream.EventStreamBuffer()
    buffer.add_data(b"".join(write_event(payload, headers) for payload, headers in events))
    assert [(message.payload, message.headers) for message in buffer] == events


def test_headers_that_are_no_texts_are_passed_over() -> None:
    """Booleans, numbers, bytes, times and UUIDs stand between the headers that matter."""
    others = b"".join(
        bytes((1,)) + b"h" + bytes((kind,)) + value
        for kind, value in (
            (0, b""), (1, b""), (2, b"1"), (3, b"12"), (4, b"1234"), (5, b"12345678"), (6, b"\x00\x02ab"),
            (8, b"12345678"), (9, b"0123456789abcdef"),
        )
    )  # fmt: skip
    plain = write_event(b"{}", {":event-type": "metadata"})
    frame = _with_headers(others + plain[12:-6])
    assert _split(frame, 7) == [frame]
    assert read_event(frame) == Event({":event-type": "metadata"}, b"{}")


def _with_headers(headers: bytes) -> bytes:

    lengths = struct.pack(">II", 16 + len(headers) + 2, len(headers))
    message = lengths + struct.pack(">I", crc32(lengths)) + headers + b"{}"
    return message + struct.pack(">I", crc32(message))


@given(st.integers(0, len(RECORDED) - 1), st.integers(1, 255))
def test_no_damage_goes_unseen(place: int, flip: int) -> None:
    """A single wrong byte, wherever it is, is an error that another try may mend: never a wrong event."""
    damaged = bytearray(RECORDED)
    damaged[place] ^= flip
    with pytest.raises(ProviderError, match="damaged") as error:
        for frame in MessageSplitter().feed(bytes(damaged)):
            read_event(frame)
    assert error.value.retryable


def test_a_stream_that_ends_inside_a_message_is_broken() -> None:
    """What is not whole is not an event."""
    splitter = MessageSplitter()
    assert splitter.feed(RECORDED + RECORDED[:-1]) == [RECORDED]
    with pytest.raises(ProviderUnreachable, match="ended inside an event"):
        splitter.end()


def test_long_messages_are_bounded() -> None:
    """The length alone is enough to refuse a message."""
    with pytest.raises(ProviderError, match="more than 60 bytes"):
        MessageSplitter(max_message_bytes=60).feed(RECORDED[:12])


def test_a_spoiled_message_is_whole_but_says_nothing() -> None:
    """The simulator's malformed events pass every checksum."""
    spoiled = EVENT_STREAM.spoil(RECORDED)
    assert _split(spoiled, 5) == [spoiled]
    assert read_event(spoiled).payload == b"{'foo'"
