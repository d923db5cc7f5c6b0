"""OpenAI's chat completions and embeddings, as OpenAI and every compatible server speak them."""

from collections.abc import Sequence

from backstay.core.chat import ChatEvent, ChatRequest
from backstay.providers.openai.embeddings import OpenAIEmbeddings
from backstay.providers.openai.errors import read_error, write_error, write_stream_error
from backstay.providers.openai.request_reader import read_request
from backstay.providers.openai.request_writer import Quirks, write_request
from backstay.providers.openai.response import read_embeddings_summary, read_response, read_summary, write_response
from backstay.providers.openai.stream import OpenAIStreamReader, OpenAIStreamWriter
from backstay.providers.sse import SSE
from backstay.providers.types import StreamWriter, caught_up

__all__ = ["OPENAI", "OpenAIDialect", "Quirks", "read_embeddings_summary"]


class OpenAIDialect:
    """The dialect, with the quirks of one server."""

    name = "openai"
    framing = SSE
    read_request = staticmethod(read_request)
    read_response = staticmethod(read_response)
    write_response = staticmethod(write_response)
    read_summary = staticmethod(read_summary)
    read_error = staticmethod(read_error)
    write_error = staticmethod(write_error)
    write_stream_error = staticmethod(write_stream_error)

    def __init__(self, quirks: Quirks | None = None):
        self.quirks = quirks or Quirks()
        self.embeddings = OpenAIEmbeddings()
        self.counter = None

    def write_request(self, request: ChatRequest, model_id: str) -> bytes:
        return write_request(request, model_id, self.quirks)

    def stream_reader(self) -> OpenAIStreamReader:
        return OpenAIStreamReader()

    def stream_writer(self, request: ChatRequest) -> OpenAIStreamWriter:
        return OpenAIStreamWriter(request)

    def resumed_writer(self, request: ChatRequest, said: Sequence[ChatEvent]) -> StreamWriter:
        return caught_up(self.stream_writer(request), said)


OPENAI = OpenAIDialect()
"""The dialect as OpenAI speaks it."""
