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
from backstay.providers import Dialect, Exchange, StreamReader

_CONTENT = (TextDelta, ToolUseStarted, ReasoningDelta, RefusalDelta)


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
    """A stream on its way. ``events`` is given, and grows with what is said."""

    def __init__(self, exchange: Exchange, reader: StreamReader, passage: Passage, events: list[ChatEvent]):
        self.events = events
        self._exchange = exchange
        self._reader = reader
        self._passage = passage

    async def pieces(self) -> AsyncIterator[Piece]:
        """Iterate over what the caller gets, as it comes.

        Raises:
            ProviderError: The provider says inside the stream that it failed, or sends what is no event.
            ProviderUnreachable: The stream breaks, or ends before its end.
            ProviderTimeout: It stalls.
        """
        async for frame in self._exchange.frames():
            events = self._reader.read(frame)
            self.events.extend(events)
            has_content = False
            for event in events:
                if isinstance(event, StreamFailed):
                    raise ProviderError(event.message, provider_code=event.code, retryable=True)
                has_content = has_content or isinstance(event, _CONTENT)
            data = self._passage.carry(frame, events)
            if self._reader.finished:
                yield Piece(data + self._passage.end(), has_content, last=True)
                return
            if data:
                yield Piece(data, has_content)
        raise ProviderUnreachable("The provider's stream ended before the answer did.")

    async def close(self) -> None:
        await self._exchange.close()
