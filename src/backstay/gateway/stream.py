"""Owns a streamed answer on its way: a provider's frames in, the caller's frames out, and what was said remembered."""

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from backstay.core.chat import (
    ChatEvent,
    ChatRequest,
    ReasoningDelta,
    RefusalDelta,
    StreamFailed,
    TextDelta,
    ToolUseStarted,
    UsageReported,
)
from backstay.core.errors import ProviderError, ProviderUnreachable
from backstay.gateway.recording import Attempt
from backstay.providers import Dialect, Exchange, StreamReader

_CONTENT = (TextDelta, ToolUseStarted, ReasoningDelta, RefusalDelta)

_MOST_MALFORMED = 8
"""Events that may be no JSON before a stream is given up."""


class Passage(Protocol):
    """How frames of the target's dialect become bytes for the caller."""

    def carry(self, frame: bytes, events: list[ChatEvent]) -> bytes: ...

    def end(self) -> bytes: ...


class Untouched:
    """Same dialect on both sides: bytes pass as they came.

    The one exception: where the gateway itself asked for usage at the end of an OpenAI stream, that frame is kept back.
    """

    def __init__(self, *, hide_usage: bool):
        self._hide_usage = hide_usage

    def carry(self, frame: bytes, events: list[ChatEvent]) -> bytes:
        if self._hide_usage and len(events) == 1 and isinstance(events[0], UsageReported):
            return b""
        return frame

    def end(self) -> bytes:
        return b""


class Translated:
    """Different dialects: each event is written anew."""

    def __init__(self, caller: Dialect, request: ChatRequest):
        self._writer = caller.stream_writer(request)

    def carry(self, frame: bytes, events: list[ChatEvent]) -> bytes:
        return b"".join([self._writer.write(event) for event in events])

    def end(self) -> bytes:
        return self._writer.end()


class Piece(msgspec.Struct, frozen=True):
    """Bytes for the caller. ``last`` marks those with which the stream is complete."""

    data: bytes
    has_content: bool
    last: bool = False


class OpenStream:
    """A stream on its way. The attempt's ``events`` grow with what is said."""

    def __init__(self, exchange: Exchange, reader: StreamReader, passage: Passage, attempt: Attempt):
        self._attempt = attempt
        self._exchange = exchange
        self._reader = reader
        self._passage = passage
        self._has_content = False

    async def pieces(self) -> AsyncIterator[Piece]:
        """Iterate over what the caller gets, as it comes.

        Raises:
            ProviderError: The provider says inside the stream that it failed, or sends too much that is no event.
            ProviderUnreachable: The stream breaks, or ends before its end.
            ProviderTimeout: It stalls.
        """
        has_content = False
        async for frame in self._exchange.frames():
            events = self._read(frame)
            self._attempt.events.extend(events)
            for event in events:
                if isinstance(event, StreamFailed):
                    raise ProviderError(event.message, provider_code=event.code, retryable=True)
                has_content = has_content or isinstance(event, _CONTENT)
            self._has_content = self._has_content or has_content
            data = b"" if events is _MALFORMED else self._passage.carry(frame, events)
            if self._reader.finished:
                yield Piece(data + self._passage.end(), has_content, last=True)
                return
            if data:  # content that is held back comes with a later piece
                yield Piece(data, has_content)
                has_content = False
        raise ProviderUnreachable("The provider's stream ended before the answer did.")

    def _read(self, frame: bytes) -> list[ChatEvent]:
        """Read a frame. One that is no event is left out, as long as the stream goes on and is worth it.

        Before the first content, it is worth nothing yet: another target can still give a whole answer.
        """
        try:
            return self._reader.read(frame)
        except ProviderError:
            self._attempt.malformed_events += 1
            if not self._has_content or self._attempt.malformed_events > _MOST_MALFORMED:
                raise
            return _MALFORMED

    async def close(self) -> None:
        await self._exchange.close()


_MALFORMED: list[ChatEvent] = []
