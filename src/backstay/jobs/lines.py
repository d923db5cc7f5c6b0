"""Owns the lines of a batch's file: cut from its pieces, read, or refused with a reason. Pure."""

from collections.abc import Iterator
from typing import Any

import msgspec

from backstay.jobs.types import Failure

_MOST_ID_CHARACTERS = 512


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line that is a call."""

    number: int
    custom_id: str
    body: bytes


class BadLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line that is none."""

    number: int
    custom_id: str | None
    failure: Failure


class _Shape(msgspec.Struct, frozen=True):
    custom_id: str
    url: str
    body: msgspec.Raw
    method: str = "POST"


_read = msgspec.json.Decoder(_Shape)
_read_top = msgspec.json.Decoder(dict[str, msgspec.Raw])


class LineCutter:
    """Cuts pieces of a file into lines, whose ends may fall anywhere. A line that is too long is only counted."""

    def __init__(self, longest_bytes: int):
        self._longest_bytes = longest_bytes
        self._rest: list[bytes] = []
        self._rest_bytes = 0

    def feed(self, piece: bytes) -> Iterator[bytes | None]:
        """Yield the lines that are whole now, without their ends; ``None`` in the place of one that is too long."""
        *whole, rest = piece.split(b"\n")
        for part in whole:
            yield self._take(part)
        self._hold(rest)

    def end(self) -> Iterator[bytes | None]:
        """Yield the last line, where it has no end."""
        if self._rest_bytes:
            yield self._take(b"")

    def _take(self, part: bytes) -> bytes | None:
        self._hold(part)
        line = None if self._rest_bytes > self._longest_bytes else b"".join(self._rest).removesuffix(b"\r")
        self._rest.clear()
        self._rest_bytes = 0
        return line

    def _hold(self, part: bytes) -> None:
        self._rest_bytes += len(part)
        if self._rest_bytes > self._longest_bytes:
            self._rest.clear()
        else:
            self._rest.append(part)


class LineReader:
    """Reads the lines of one file, in order, for one endpoint."""

    def __init__(self, endpoint: str, longest_bytes: int):
        self._endpoint = endpoint
        self._longest_bytes = longest_bytes
        self._seen: set[str] = set()
        self.number = 0
        """Of the last line, from 1, blank ones counted."""

    def read(self, text: bytes | None) -> Line | BadLine | None:
        """Read the next line; ``None`` for a blank one."""
        self.number += 1
        if text is None:
            return self._bad(None, "line_too_long", f"it is longer than {self._longest_bytes:,} bytes")
        if self.number == 1:
            text = text.removeprefix(b"\xef\xbb\xbf")
        if not text.strip():
            return None
        try:
            line = _read.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return self._bad(_custom_id(text), "invalid_line", f"it is not a request: {error}")
        return self._judge(line)

    def _judge(self, line: _Shape) -> Line | BadLine:
        custom_id = line.custom_id
        if not custom_id or len(custom_id) > _MOST_ID_CHARACTERS:
            return self._bad(None, "invalid_custom_id", f"custom_id must have 1 to {_MOST_ID_CHARACTERS} characters")
        if custom_id in self._seen:
            return self._bad(custom_id, "duplicate_custom_id", f"custom_id {custom_id!r} stands on an earlier line too")
        self._seen.add(custom_id)
        if line.method != "POST":
            return self._bad(custom_id, "invalid_method", f"method must be POST, not {line.method!r}")
        if line.url != self._endpoint:
            return self._bad(custom_id, "mismatched_url", f"url must be the batch's endpoint, {self._endpoint}")
        try:
            fields = _read_top.decode(line.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return self._bad(custom_id, "invalid_body", f"its body must be an object: {error}")
        if bytes(fields.get("stream", b"false")) not in (b"false", b"null"):
            return self._bad(custom_id, "invalid_body", "a line of a batch cannot be streamed: leave `stream` out")
        return Line(number=self.number, custom_id=custom_id, body=bytes(line.body))

    def _bad(self, custom_id: str | None, code: str, reason: str) -> BadLine:
        failure = Failure(code=code, message=f"Line {self.number}: {reason}.", line=self.number)
        return BadLine(number=self.number, custom_id=custom_id, failure=failure)


def _custom_id(text: bytes) -> str | None:
    """Find out whose line it is that is not a request, if it says so."""
    try:
        found: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    custom_id: Any = found.get("custom_id") if isinstance(found, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return custom_id if isinstance(custom_id, str) and custom_id else None
