"""Google's Gemini API, as Google AI Studio and Vertex AI speak it."""

from collections.abc import Sequence

from backstay.core.chat import ChatEvent, ChatRequest, ChatResponse
from backstay.core.clock import Clock, SystemClock
from backstay.providers.gemini.embeddings import GeminiEmbeddings
from backstay.providers.gemini.errors import read_error, write_error, write_stream_error
from backstay.providers.gemini.request_reader import read_request
from backstay.providers.gemini.request_writer import write_request
from backstay.providers.gemini.response import read_response, read_summary, write_response
from backstay.providers.gemini.stream import GeminiStreamReader, GeminiStreamWriter
from backstay.providers.gemini.token_count import GeminiCounter
from backstay.providers.sse import SSE
from backstay.providers.types import StreamWriter, caught_up

__all__ = ["GEMINI", "VERTEX", "GeminiDialect"]


class GeminiDialect:
    """The dialect. Its answers do not say when they were made: ``clock`` does, when they are read."""

    name = "gemini"
    framing = SSE
    read_request = staticmethod(read_request)
    write_request = staticmethod(write_request)
    write_response = staticmethod(write_response)
    read_summary = staticmethod(read_summary)
    read_error = staticmethod(read_error)
    write_error = staticmethod(write_error)
    write_stream_error = staticmethod(write_stream_error)

    def __init__(self, clock: Clock | None = None, *, is_vertex: bool = False):
        """``is_vertex``: Vertex AI has no batch of embeddings, and another form of counting."""
        self._clock = clock or SystemClock()
        self.embeddings = None if is_vertex else GeminiEmbeddings()
        self.counter = GeminiCounter(wraps=not is_vertex)

    def read_response(self, body: bytes) -> ChatResponse:
        return read_response(body, self._clock)

    def stream_reader(self) -> GeminiStreamReader:
        return GeminiStreamReader(self._clock)

    def stream_writer(self, request: ChatRequest) -> GeminiStreamWriter:
        return GeminiStreamWriter()

    def resumed_writer(self, request: ChatRequest, said: Sequence[ChatEvent]) -> StreamWriter:
        return caught_up(self.stream_writer(request), said)


GEMINI = GeminiDialect()
"""The dialect as Google AI Studio speaks it."""

VERTEX = GeminiDialect(is_vertex=True)
"""The dialect as Vertex AI speaks it."""
