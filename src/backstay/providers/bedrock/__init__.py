"""Amazon Bedrock's Converse and ConverseStream: one API for every model that is sold there."""

from collections.abc import Mapping, Sequence

from backstay.core.chat import ChatEvent, ChatRequest, ChatResponse
from backstay.core.clock import Clock, SystemClock
from backstay.core.errors import BackstayError, ProviderError
from backstay.providers.bedrock.errors import read_error, write_error, write_stream_error
from backstay.providers.bedrock.request_reader import read_request
from backstay.providers.bedrock.request_writer import write_request
from backstay.providers.bedrock.response import read_response, read_summary, write_response
from backstay.providers.bedrock.stream import BedrockStreamReader, BedrockStreamWriter
from backstay.providers.event_stream import EVENT_STREAM
from backstay.providers.types import Fields, ReplySummary, StreamWriter, caught_up

__all__ = ["BEDROCK", "BedrockDialect"]


class BedrockDialect:
    """The dialect. Its answers say neither who gave them nor when: ``clock`` does, when they are read."""

    name = "bedrock"
    framing = EVENT_STREAM

    def __init__(self, clock: Clock | None = None):
        self._clock = clock or SystemClock()
        self.embeddings = None
        self.counter = None

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

    def stream_reader(self) -> BedrockStreamReader:
        return BedrockStreamReader(self._clock)

    def stream_writer(self, request: ChatRequest) -> BedrockStreamWriter:
        return BedrockStreamWriter()

    def resumed_writer(self, request: ChatRequest, said: Sequence[ChatEvent]) -> StreamWriter:
        return caught_up(self.stream_writer(request), said)

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        return read_error(status, headers, body)

    def write_error(self, error: BackstayError, *, request_id: str | None = None) -> tuple[int, dict[str, str], bytes]:
        return write_error(error, request_id=request_id)

    def write_stream_error(self, error: BackstayError) -> bytes:
        return write_stream_error(error)


BEDROCK = BedrockDialect()
"""The dialect on the machine's clock."""
