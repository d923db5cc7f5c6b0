"""OpenAI's chat completions and embeddings, as OpenAI and every compatible server speak them."""

from collections.abc import Mapping, Sequence

from backstay.core.chat import ChatEvent, ChatRequest, ChatResponse
from backstay.core.errors import BackstayError, ProviderError
from backstay.providers.openai.embeddings import OpenAIEmbeddings
from backstay.providers.openai.errors import read_error, write_error, write_stream_error
from backstay.providers.openai.request_reader import read_request
from backstay.providers.openai.request_writer import Quirks, write_request
from backstay.providers.openai.response import read_embeddings_summary, read_response, read_summary, write_response
from backstay.providers.openai.stream import OpenAIStreamReader, OpenAIStreamWriter
from backstay.providers.sse import SSE
from backstay.providers.types import Fields, ReplySummary, StreamWriter, caught_up

__all__ = ["OPENAI", "OpenAIDialect", "Quirks", "read_embeddings_summary"]


class OpenAIDialect:
    """The dialect, with the quirks of one server."""

    name = "openai"
    framing = SSE

    def __init__(self, quirks: Quirks | None = None):
        self.quirks = quirks or Quirks()
        self.embeddings = OpenAIEmbeddings()
        self.counter = None

    def read_request(self, fields: Fields) -> ChatRequest:
        return read_request(fields)

    def write_request(self, request: ChatRequest, model_id: str) -> bytes:
        return write_request(request, model_id, self.quirks)

    def read_response(self, body: bytes) -> ChatResponse:
        return read_response(body)

    def write_response(self, response: ChatResponse) -> bytes:
        return write_response(response)

    def read_summary(self, body: bytes) -> ReplySummary:
        return read_summary(body)

    def stream_reader(self) -> OpenAIStreamReader:
        return OpenAIStreamReader()

    def stream_writer(self, request: ChatRequest) -> OpenAIStreamWriter:
        return OpenAIStreamWriter(request)

    def resumed_writer(self, request: ChatRequest, said: Sequence[ChatEvent]) -> StreamWriter:
        return caught_up(self.stream_writer(request), said)

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        return read_error(status, headers, body)

    def write_error(self, error: BackstayError, *, request_id: str | None = None) -> tuple[int, dict[str, str], bytes]:
        return write_error(error, request_id=request_id)

    def write_stream_error(self, error: BackstayError) -> bytes:
        return write_stream_error(error)


OPENAI = OpenAIDialect()
"""The dialect as OpenAI speaks it."""
