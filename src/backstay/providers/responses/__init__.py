"""OpenAI's responses API, as a caller's wire and as a provider's."""

from collections.abc import Iterable, Sequence

import msgspec

from backstay.core.chat import ChatEvent, ChatRequest, ChatResponse
from backstay.core.clock import Clock, SystemClock
from backstay.core.errors import BackstayError
from backstay.providers.openai.errors import read_error
from backstay.providers.responses.errors import write_error, write_stream_error
from backstay.providers.responses.items import join_input, said_now
from backstay.providers.responses.request_reader import read_request
from backstay.providers.responses.request_writer import write_request
from backstay.providers.responses.response import Echo, read_response, read_summary, response_of, write_response
from backstay.providers.responses.stream import Progress, ResponsesStreamReader, ResponsesStreamWriter
from backstay.providers.sse import SSE
from backstay.providers.types import Fields, caught_up

__all__ = ["RESPONSES", "ResponsesDialect"]


class ResponsesDialect:
    """The dialect. A response repeats its request, so each call has one of its own, made by ``of_call``."""

    name = "responses"
    framing = SSE
    read_request = staticmethod(read_request)
    write_request = staticmethod(write_request)
    read_response = staticmethod(read_response)
    read_summary = staticmethod(read_summary)
    read_error = staticmethod(read_error)
    write_error = staticmethod(write_error)

    def __init__(self, clock: Clock | None = None, echo: Echo | None = None):
        self._clock = clock or SystemClock()
        self._echo = echo
        self._progress = Progress()
        self.embeddings = None
        self.counter = None

    def of_call(self, fields: Fields, response_id: str | None = None) -> "ResponsesDialect":
        """Return the dialect for one call.

        Args:
            fields: What the caller sent: the response repeats it.
            response_id: The id of a response that is written here; ``None``: the provider's own.
        """
        return ResponsesDialect(self._clock, Echo(fields=fields, response_id=response_id))

    def said_now(self, fields: Fields) -> bytes:
        """Return a request's own input as a JSON list of items. Raises ``InvalidRequest``."""
        return said_now(fields)

    def response_of(self, item_id: str) -> str | None:
        """Return the id of the response that an item written here belongs to; ``None`` for any other item."""
        return response_of(item_id)

    def join_input(self, turns: Iterable[tuple[bytes, bytes]], now: bytes) -> msgspec.Raw:
        """Return the input that holds a whole conversation: of each turn, what was said and answered; what is said now.

        All are JSON lists of items.
        """
        return join_input(turns, now)

    def write_response(self, response: ChatResponse) -> bytes:
        return write_response(response, self._echo or Echo(), now_s=self._clock.now_ns() // 1_000_000_000)

    def stream_reader(self) -> ResponsesStreamReader:
        return ResponsesStreamReader(self._begin())

    def stream_writer(self, request: ChatRequest) -> ResponsesStreamWriter:
        return ResponsesStreamWriter(self._echo or Echo(), self._begin(), self._clock)

    def resumed_writer(self, request: ChatRequest, said: Sequence[ChatEvent]) -> ResponsesStreamWriter:
        """Return a writer that goes on with a stream, with the numbers and items that its provider gave it."""
        passed = self._progress.passed
        writer = self.stream_writer(request)
        if passed is not None:
            writer.stand_behind(passed, said[: passed.events])
            said = said[passed.events :]
        caught_up(writer, said)
        return writer

    def has_all(self, fields: Fields) -> bool:
        """Whether the last stream of a provider that serves this wire itself told the whole answer, if not its end."""
        passed, tools = self._progress.passed, bytes(fields.get("tools", b"null"))
        return passed is not None and passed.has_all(may_call=tools not in (b"null", b"[]"))

    def _begin(self) -> Progress:
        """Begin a stream. Only a call's own dialect remembers it; the shared one has many at once."""
        progress = Progress()
        if self._echo is not None:
            self._progress = progress
        return progress

    def write_stream_error(self, error: BackstayError) -> bytes:
        return write_stream_error(error, self._progress if self._echo is not None else Progress())


RESPONSES = ResponsesDialect()
"""The dialect on the machine's clock."""
