"""Amazon Bedrock's Converse and ConverseStream: one API for every model that is sold there."""

from collections.abc import Sequence

from backstay.core.chat import ChatEvent, ChatRequest, ChatResponse
from backstay.core.clock import Clock, SystemClock
from backstay.providers.bedrock.errors import read_error, write_error, write_stream_error
from backstay.providers.bedrock.request_reader import read_request
from backstay.providers.bedrock.request_writer import write_request
from backstay.providers.bedrock.response import read_response, read_summary, write_response
from backstay.providers.bedrock.stream import BedrockStreamReader, BedrockStreamWriter
from backstay.providers.event_stream import EVENT_STREAM
from backstay.providers.types import StreamWriter, caught_up

__all__ = ["BEDROCK", "BedrockDialect"]


class BedrockDialect:
    """The dialect. Its answers say neither who gave them nor when: ``clock`` does, when they are read."""

    name = "bedrock"
    framing = EVENT_STREAM
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
        self.counter = None

    def read_response(self, body: bytes) -> ChatResponse:
        return read_response(body, self._clock)

    def stream_reader(self) -> BedrockStreamReader:
        return BedrockStreamReader(self._clock)

    def stream_writer(self, request: ChatRequest) -> BedrockStreamWriter:
        return BedrockStreamWriter()

    def resumed_writer(self, request: ChatRequest, said: Sequence[ChatEvent]) -> StreamWriter:
        return caught_up(self.stream_writer(request), said)


BEDROCK = BedrockDialect()
"""The dialect on the machine's clock."""
