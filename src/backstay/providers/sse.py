"""Owns server-sent events as bytes: a stream split into whole frames, and what a frame says. No I/O.

Source: WHATWG HTML, section 9.2 "Server-sent events" (2026-08): a line ends with LF, CR LF or CR; a blank line ends an
event; one space after a field's colon is not part of its value; several ``data`` lines are joined by LF.
"""

import re

from backstay.core.errors import ProviderError, ProviderUnreachable

MAX_FRAME_BYTES = 32 * 1024 * 1024
"""Longest event taken, in bytes: an inline image of a multimodal answer fits."""

_END = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)")
_LONGEST_END = 4
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class FrameSplitter:
    """Cuts a byte stream, however it is chunked, into whole events, each with its closing blank line."""

    __slots__ = ("_buffer", "_max_bytes")

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES):
        self._buffer = bytearray()
        self._max_bytes = max_frame_bytes

    def feed(self, chunk: bytes) -> list[bytes]:
        """Add bytes and return the events that are whole now.

        Raises:
            ProviderError: An event is longer than the bound.
        """
        if not self._buffer and chunk.endswith(b"\n\n") and b"\r" not in chunk:
            if chunk.find(b"\n\n") == len(chunk) - 2:
                return [chunk]
            return [part + b"\n\n" for part in chunk[:-2].split(b"\n\n")]
        return self._feed_slowly(chunk)

    def _feed_slowly(self, chunk: bytes) -> list[bytes]:
        buffer = self._buffer
        searched = max(0, len(buffer) - _LONGEST_END)
        buffer += chunk
        frames: list[bytes] = []
        start = 0
        while (end := _END.search(buffer, max(start, searched))) is not None:
            frames.append(bytes(buffer[start : end.end()]))
            start = end.end()
        del buffer[:start]
        if len(buffer) > self._max_bytes:
            raise ProviderError(f"The provider sent an event of more than {self._max_bytes} bytes.")
        return frames

    def finish(self) -> bytes:
        """Return what came after the last whole event, at the end of the stream; empty where nothing did."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def end(self) -> bytes:
        """Return the last event, if the stream ended without its blank line, as some servers do; else nothing.

        Raises:
            ProviderUnreachable: The stream ended inside an event.
        """
        rest = self.finish()
        if not rest or rest.isspace():
            return b""
        if rest.endswith((b"\n", b"\r")):
            return rest + b"\n"
        raise ProviderUnreachable("The provider's stream ended inside an event.")


class SseFraming:
    """Server-sent events, as a way to cut streams into frames."""

    content_type = "text/event-stream; charset=utf-8"

    def splitter(self) -> FrameSplitter:
        return FrameSplitter()

    def spoil(self, frame: bytes) -> bytes:
        """Cut an event's data in half, so that it is a whole event but not JSON."""
        end = frame.index(b"\n\n")
        start = frame.index(b"data: ")
        return frame[: (start + 6 + end) // 2] + frame[end:]


SSE = SseFraming()


def data_of(frame: bytes) -> bytes | None:
    """Return an event's data; ``None`` where it has none (a comment, a keep-alive)."""
    start = 0
    if frame.startswith(b"event: "):
        start = frame.find(b"\n") + 1
    # The two usual forms: one line of data, alone or after one line with the event's name.
    if frame.startswith(b"data: ", start) and frame.find(b"\n", start) == len(frame) - 2 and b"\r" not in frame:
        return frame[start + 6 : -2]
    found = [value for name, value in _fields(frame) if name == b"data"]
    return b"\n".join(found) if found else None


def event_of(frame: bytes) -> str | None:
    """Return an event's name; ``None`` where it has none."""
    found = [value for name, value in _fields(frame) if name == b"event"]
    return found[-1].decode("utf-8", "replace") if found else None


def write_frame(data: bytes, event: str | None = None) -> bytes:
    """Write one event. ``data`` must not hold a line end (JSON text never does)."""
    if event is None:
        return b"data: %b\n\n" % data
    return b"event: %b\ndata: %b\n\n" % (event.encode(), data)


def _fields(frame: bytes) -> list[tuple[bytes, bytes]]:
    fields: list[tuple[bytes, bytes]] = []
    for line in frame.removeprefix(_BYTE_ORDER_MARK).splitlines():
        name, _, value = line.partition(b":")
        fields.append((name, value.removeprefix(b" ")))
    return fields
