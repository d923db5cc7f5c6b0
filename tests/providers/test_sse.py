"""Server-sent events: frames are whole, whatever the chunks; their fields are read as the standard says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.core.errors import ProviderError
from backstay.providers.sse import FrameSplitter, data_of, event_of, write_frame

_line_ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
_payloads = st.text(max_size=20).map(lambda text: text.replace("\n", " ").replace("\r", " ").encode())


def _split(stream: bytes, size: int) -> tuple[list[bytes], bytes]:
    splitter = FrameSplitter()
    frames = [frame for start in range(0, len(stream), size) for frame in splitter.feed(stream[start : start + size])]
    return frames, splitter.finish()


def _says(frames: list[bytes]) -> list[tuple[str | None, bytes]]:
    said = [(event_of(frame), data_of(frame)) for frame in frames]
    return [(event, data) for event, data in said if data is not None]


@given(st.lists(st.tuples(st.none() | st.just("ping"), _payloads), max_size=5), _line_ends, st.integers(1, 40))
def test_events_do_not_depend_on_the_chunks(events: list[tuple[str | None, bytes]], line_end: bytes, size: int) -> None:
    """Any line end, cut anywhere: the same events come out, and not one byte is lost or moved."""
    frames = [
        (b"event: %b%b" % (name.encode(), line_end) if name else b"") + b"data: %b" % data + line_end * 2
        for name, data in events
    ]
    stream = b"".join(frames)
    got, rest = _split(stream, size)
    assert b"".join(got) + rest == stream
    assert _says(got) == events


@given(st.binary(max_size=60), st.integers(1, 20))
def test_no_byte_is_lost(stream: bytes, size: int) -> None:
    """Bytes that are no events pass through as well, in order."""
    frames, rest = _split(stream, size)
    assert b"".join(frames) + rest == stream


def test_every_split_of_a_mixed_stream_gives_the_same_events() -> None:
    """Comments, several data lines and mixed line ends survive a cut at every byte."""
    stream = b": hello\n\nevent: a\r\ndata: 1\r\ndata: 2\r\n\r\ndata:3\r\rdata: 4\n\n\n\ndata: [DONE]\n\n"
    expected = [("a", b"1\n2"), (None, b"3"), (None, b"4"), (None, b"[DONE]")]
    for size in range(1, len(stream) + 1):
        frames, rest = _split(stream, size)
        assert (_says(frames), rest) == (expected, b"")


def test_whole_frames_come_out_as_they_came() -> None:
    """A chunk that is exactly one frame is passed on itself."""
    frame = b'data: {"a": 1}\n\n'
    assert FrameSplitter().feed(frame)[0] is frame


def test_a_frame_without_end_is_bounded() -> None:
    """An event that never ends is refused once it is longer than the bound."""
    splitter = FrameSplitter(max_frame_bytes=100)
    splitter.feed(b"data: " + b"x" * 90)
    with pytest.raises(ProviderError, match="more than 100 bytes"):
        splitter.feed(b"x" * 90)


@pytest.mark.parametrize(
    ("frame", "data"),
    [
        (b"data: x\n\n", b"x"),
        (b"data:x\n\n", b"x"),
        (b"data:  x\n\n", b" x"),
        (b"data\n\n", b""),
        (b"data: a\ndata: b\n\n", b"a\nb"),
        (b"event: e\ndata: x\n\n", b"x"),
        (b"event: e\ndata:a\ndata: b\n\n", b"a\nb"),
        (b"data: x\nevent: e\n\n", b"x"),
        (b"data: x\r\n\r\n", b"x"),
        (b"data: x\rdata: y\n\n", b"x\ny"),
        (b"\xef\xbb\xbfdata: x\n\n", b"x"),
        (b": comment\n\n", None),
        (b"event: ping\n\n", None),
        (b"\n", None),
    ],
)
def test_data_is_read_as_the_standard_says(frame: bytes, data: bytes | None) -> None:
    """One space after the colon belongs to the syntax; several data lines are joined."""
    assert data_of(frame) == data


def test_what_is_written_is_read_back() -> None:
    """A written frame has the event and the data that went into it."""
    frame = write_frame(b'{"a":1}', "error")
    assert (frame, event_of(frame), data_of(frame)) == (b'event: error\ndata: {"a":1}\n\n', "error", b'{"a":1}')
