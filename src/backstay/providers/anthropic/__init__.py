"""Anthropic's messages API."""

from collections.abc import Sequence

from backstay.core.chat import ChatEvent, ChatRequest, ChatResponse
from backstay.core.clock import Clock, SystemClock
from backstay.providers.anthropic.errors import read_error, write_error, write_stream_error
from backstay.providers.anthropic.request_reader import read_request
from backstay.providers.anthropic.request_writer import DEFAULT_MAX_TOKENS, write_request
from backstay.providers.anthropic.response import read_response, read_summary, write_response
from backstay.providers.anthropic.stream import AnthropicStreamReader, AnthropicStreamWriter
from backstay.providers.anthropic.token_count import AnthropicCounter
from backstay.providers.sse import SSE
from backstay.providers.types import StreamWriter, caught_up

__all__ = ["ANTHROPIC", "DEFAULT_MAX_TOKENS", "AnthropicDialect"]


class AnthropicDialect:
    """The dialect. Its answers do not say when they were made: ``clock`` does, when they are read."""

    name = "anthropic"
    framing = SSE
    read_request = staticmethod(read_request)
    write_request = staticmethod(write_request)
    write_response = staticmethod(write_response)
    read_summary = staticmethod(read_summary)
    read_error = staticmethod(read_error)
    write_error = staticmethod(write_error)
    write_stream_error = staticmethod(write_stream_error)

    def __init__(self, clock: Clock | None = None):
        self._clock = clock or SystemClock()
        self.embeddings = None
        self.counter = AnthropicCounter()

    def read_response(self, body: bytes) -> ChatResponse:
        return read_response(body, self._clock)

    def stream_reader(self) -> AnthropicStreamReader:
        return AnthropicStreamReader(self._clock)

    def stream_writer(self, request: ChatRequest) -> AnthropicStreamWriter:
        return AnthropicStreamWriter()

    def resumed_writer(self, request: ChatRequest, said: Sequence[ChatEvent]) -> StreamWriter:
        return caught_up(self.stream_writer(request), said)


ANTHROPIC = AnthropicDialect()
"""The dialect on the machine's clock."""
