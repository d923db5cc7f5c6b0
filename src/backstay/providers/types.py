"""Owns the nouns of providers: a dialect (pure), a provider (I/O), and one exchange between them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from backstay.core.chat import ChatEvent, ChatRequest, ChatResponse, FinishReason
from backstay.core.embeddings import EmbeddingRequest, EmbeddingResponse
from backstay.core.errors import BackstayError, ProviderError
from backstay.core.usage import Usage

Operation = Literal["chat", "embeddings", "rerank", "count_tokens"]

Fields = dict[str, msgspec.Raw]
"""A request body's top-level fields, each still the JSON text that came: what nobody reads stays untouched."""


class ReplySummary(msgspec.Struct, frozen=True, kw_only=True):
    """What the books need from a finished, successful answer."""

    id: str | None = None
    model: str | None = None
    usage: Usage = Usage()
    finish_reasons: tuple[FinishReason, ...] = ()
    service_tier: str | None = None


class Splitter(Protocol):
    """Cuts a byte stream, however it is chunked, into whole frames. Sans-IO."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Add bytes and return the frames that are whole now. Raises ``ProviderError`` for what cannot be one."""
        ...

    def end(self) -> bytes:
        """Return what is to be taken as the last frame; nothing where there is none.

        Raises:
            ProviderUnreachable: The stream ended inside a frame.
        """
        ...


class Framing(Protocol):
    """How a dialect's streams are cut into frames: server-sent events, or AWS's binary messages."""

    @property
    def content_type(self) -> str: ...

    def splitter(self) -> Splitter: ...

    def spoil(self, frame: bytes) -> bytes:
        """Return the frame, still whole, with data that nobody can read: what a faulty server sends."""
        ...


class StreamReader(Protocol):
    """Reads one stream of a dialect. Sans-IO: frames in, events out."""

    def read(self, frame: bytes) -> list[ChatEvent]:
        """Read one whole frame (a server-sent event up to and including its blank line).

        A frame that is not an event of the dialect (comment, ping, unknown type) gives no events.

        Raises:
            ProviderError: The frame's data is not JSON of the dialect.
        """
        ...

    @property
    def finished(self) -> bool:
        """Whether the dialect's own end of stream was seen (OpenAI ``[DONE]``, Anthropic ``message_stop``,
        Gemini's last ``finishReason``, Bedrock ``metadata``)."""
        ...


class StreamWriter(Protocol):
    """Writes one stream of a dialect. Sans-IO: events in, whole frames out."""

    def write(self, event: ChatEvent) -> bytes: ...

    def end(self) -> bytes:
        """Write what ends a good stream."""
        ...


def caught_up(writer: StreamWriter, said: Sequence[ChatEvent]) -> StreamWriter:
    """Bring a writer to where a stream stands: what it writes of that, the caller has already."""
    for event in said:
        writer.write(event)
    return writer


class EmbeddingsWire(Protocol):
    """One dialect's wire format for embeddings, both ways, without any I/O. Raises as ``Dialect``'s methods do."""

    def read_request(self, fields: Fields) -> EmbeddingRequest: ...

    def write_request(self, request: EmbeddingRequest, model_id: str) -> bytes: ...

    def read_response(self, body: bytes) -> EmbeddingResponse: ...

    def write_response(self, response: EmbeddingResponse, request: EmbeddingRequest) -> bytes: ...

    def read_summary(self, body: bytes) -> ReplySummary: ...


class TokenCounter(Protocol):
    """One dialect's wire format for counting a chat's tokens, both ways. Raises as ``Dialect``'s methods do."""

    def read_request(self, fields: Fields) -> ChatRequest: ...

    def write_request(self, request: ChatRequest, model_id: str) -> bytes: ...

    def read_count(self, body: bytes) -> int: ...

    def write_count(self, tokens: int) -> bytes: ...


class Dialect(Protocol):
    """One vendor's wire format for chats, both ways, without any I/O.

    ``read_*`` turns the dialect's bytes into neutral values, ``write_*`` the reverse. Where the wire has the model and
    the wish for a stream in its URL, whoever reads that gives them as the fields ``model`` and ``stream``.
    """

    name: str

    @property
    def framing(self) -> Framing:
        """How its streams are cut into frames."""
        ...

    @property
    def embeddings(self) -> EmbeddingsWire | None:
        """Its wire for embeddings; ``None``: it has none."""
        ...

    @property
    def counter(self) -> TokenCounter | None:
        """Its wire for counting tokens; ``None``: it has none."""
        ...

    def read_request(self, fields: Fields) -> ChatRequest:
        """Read a caller's request. Raises ``InvalidRequest`` with the path of the field that is wrong."""
        ...

    def write_request(self, request: ChatRequest, model_id: str) -> bytes:
        """Write a provider's request. Raises ``Untranslatable`` with the name of what has no form here."""
        ...

    def read_response(self, body: bytes) -> ChatResponse:
        """Raises ``ProviderError`` if the body is not an answer of this dialect."""
        ...

    def write_response(self, response: ChatResponse) -> bytes: ...

    def read_summary(self, body: bytes) -> ReplySummary:
        """Read only what the books need, skipping the rest: this is on the hot path."""
        ...

    def stream_reader(self) -> StreamReader: ...

    def stream_writer(self, request: ChatRequest) -> StreamWriter: ...

    def resumed_writer(self, request: ChatRequest, said: Sequence[ChatEvent]) -> StreamWriter:
        """Return a writer that goes on with a stream, behind what the caller has seen of it."""
        ...

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError: ...

    def write_error(self, error: BackstayError, *, request_id: str | None = None) -> tuple[int, dict[str, str], bytes]:
        """Return status, extra headers (``retry-after``) and body, so that the vendor's SDK raises the right class."""
        ...

    def write_stream_error(self, error: BackstayError) -> bytes:
        """Write the event that tells the dialect's SDK, inside a stream that has begun, that it failed."""
        ...


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. ``idle_s`` bounds the gap between two pieces of a stream."""

    connect_s: float = 5.0
    first_token_s: float = 60.0
    idle_s: float = 60.0
    total_s: float = 600.0


Body = bytes | tuple[bytes | memoryview, ...]
"""A request's body; a long one as pieces of what the caller sent, which are not copied."""


class ProviderRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One exchange to be had with a provider, in the provider's own dialect."""

    operation: Operation
    model_id: str
    body: Body
    stream: bool = False
    headers: Mapping[str, str] = {}
    """Headers of the caller that the vendor understands: ``anthropic-beta``, ``openai-organization``."""
    dialect: str | None = None
    """Which of the provider's dialects the body is in; ``None``: its first."""
    method: Literal["POST", "GET", "DELETE"] = "POST"
    resource: str | None = None
    """Of ``GET`` and ``DELETE``: the id of what an earlier call left with the provider."""
    timeouts: Timeouts | None = None
    """``None``: the provider's own."""

    @property
    def whole_body(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else b"".join(self.body)


class Exchange(Protocol):
    """An answer whose headers have arrived. Closing it at any moment frees the connection."""

    status: int
    headers: Mapping[str, str]

    async def read(self) -> bytes:
        """Read the whole body. Raises ``ProviderUnreachable`` or ``ProviderTimeout``."""
        ...

    def frames(self) -> AsyncIterator[bytes]:
        """Iterate over the stream's whole frames as they arrive, bytes untouched.

        Raises ``ProviderUnreachable`` when the connection breaks and ``ProviderTimeout`` when it stalls. A body that
        ends between two events just ends: whether that was the end is the dialect's reader to say.
        """
        ...

    async def close(self) -> None: ...


class Provider(Protocol):
    """Somewhere that answers calls in one dialect, or in several of one vendor's."""

    name: str
    dialect: Dialect
    """What it is spoken to in, unless the caller's own dialect is one of ``speaks``."""
    speaks: frozenset[str]
    """The names of all dialects that it takes, that of ``dialect`` among them."""
    price_provider: str | None
    """The provider's id in ``genai-prices``; ``None`` where its models have no public price."""
    is_free: bool
    """Whether its calls cost nothing (it runs here)."""
    problem: str | None
    """Why it cannot answer, in a few words, where that is known without asking."""
    reports_stream_usage: bool
    """Whether an OpenAI stream may be asked for its usage (``stream_options.include_usage``)."""

    async def send(self, request: ProviderRequest) -> Exchange:
        """Start an exchange and return when the answer's status and headers are there, whatever the status.

        Raises ``ProviderUnreachable`` or ``ProviderTimeout``.
        """
        ...

    async def close(self) -> None: ...


def spoken(provider: Provider, wanted: Dialect) -> Dialect:
    """Return the dialect in which a provider is called: the caller's own where it speaks that."""
    return wanted if wanted.name in provider.speaks else provider.dialect
