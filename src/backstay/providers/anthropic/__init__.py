"""Anthropic's messages API."""

from collections.abc import Mapping, Sequence

from backstay.core.chat import ChatEvent, ChatRequest, ChatResponse
from backstay.core.clock import Clock, SystemClock
from backstay.core.errors import BackstayError, ProviderError
from backstay.providers.anthropic.errors import read_error, write_error, write_stream_error
from backstay.providers.anthropic.request_reader import read_request
from backstay.providers.anthropic.request_writer import DEFAULT_MAX_TOKENS, write_request
from backstay.providers.anthropic.response import read_response, read_summary, write_response
from backstay.providers.anthropic.stream import AnthropicStreamReader, AnthropicStreamWriter
from backstay.providers.anthropic.token_count import AnthropicCounter
from backstay.providers.sse import SSE
from backstay.providers.types import Fields, ReplySummary, StreamWriter, caught_up

__all__ = ["ANTHROPIC", "DEFAULT_MAX_TOKENS", "AnthropicDialect"]


class AnthropicDialect:
    """The dialect. Its answers do not say when they were made: ``clock`` does, when they are read."""

    name = "anthropic"
    framing = SSE

    def __init__(self, clock: Clock | None = None):
        self._clock = clock or SystemClock()
        self.embeddings = None
        self.counter = AnthropicCounter()

    def read_request(self, fields: Fields) -> ChatRequest:
        return read_request(fields)

    def write_request(self, request: ChatRequest, model_id: str) -> bytes:
        return write_request(request, model_id)

    def read_response(self, body: bytes) -> ChatResponse:
        return read_response(body, self._clock)

    def write_response(self, response: ChatResponse) -> bytes:
        return write_response(response)

    def read_summary(self, body: bytes) -> ReplySummary:
        return read_summary(body)

    def stream_reader(self) -> AnthropicStreamReader:
        return AnthropicStreamReader(self._clock)

    def stream_writer(self, request: ChatRequest) -> AnthropicStreamWriter:
        return AnthropicStreamWriter()

    def resumed_writer(self, request: ChatRequest, said: Sequence[ChatEvent]) -> StreamWriter:
        return caught_up(self.stream_writer(request), said)

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        return read_error(status, headers, body)

    def write_error(self, error: BackstayError, *, request_id: str | None = None) -> tuple[int, dict[str, str], bytes]:
        return write_error(error, request_id=request_id)

    def write_stream_error(self, error: BackstayError) -> bytes:
        return write_stream_error(error)


ANTHROPIC = AnthropicDialect()
"""The dialect on the machine's clock."""
