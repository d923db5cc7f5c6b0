"""Owns one try at one target: the request in the target's dialect, and its answer in the caller's."""

import asyncio
from collections.abc import AsyncIterator

import msgspec

from backstay.cache import Lead
from backstay.core.chat import ChatRequest
from backstay.core.clock import Clock
from backstay.core.errors import InvalidRequest, ProviderError, ProviderTimeout
from backstay.core.usage import NO_USAGE
from backstay.gateway import asides
from backstay.gateway.body import write_pieces
from backstay.gateway.naming import NamingReader, named
from backstay.gateway.prompt_caching import mark_fields, mark_request, takes_breakpoints
from backstay.gateway.recording import Recording
from backstay.gateway.resolve import Resolved
from backstay.gateway.room import Room
from backstay.gateway.seam import Interrupted, Resumed, go_on
from backstay.gateway.settle import estimate_tokens, estimate_usage
from backstay.gateway.spending import Hold, Spending
from backstay.gateway.stream import OpenStream, Passage, Piece, Translated, Untouched
from backstay.gateway.tries import Reason
from backstay.gateway.trying import Trying
from backstay.gateway.types import Incoming, Target
from backstay.health import Fleet
from backstay.providers import (
    DIALECTS,
    Body,
    Dialect,
    Exchange,
    Fields,
    ProviderRequest,
    ReplySummary,
    Timeouts,
    spoken,
)
from backstay.providers.counting import OUTPUT_LIMITS
from backstay.providers.thoughts import without_foreign_thoughts

_OUTPUT_FIELD = {"openai": "max_completion_tokens", "responses": "max_output_tokens"}

_LONG_BYTES = 1024 * 1024
"""Bodies from here on are sent as pieces of what came; for shorter ones a copy costs less."""


class Answer(msgspec.Struct, kw_only=True):
    """A target's good answer in the caller's dialect: whole, or as a stream of which ``held`` has come already."""

    trying: Trying | None = None
    """``None``: no target gave it."""
    body: bytes = b""
    is_stream: bool = False
    stream: OpenStream | None = None
    held: list[Piece] = []
    rest: AsyncIterator[Piece] | None = None

    def end(self, error: BaseException | None = None) -> None:
        """Note how it ended; ``None``: well."""
        if self.trying is not None:
            self.trying.end(error)

    async def close(self) -> None:
        """Let go of the provider."""
        if self.stream is not None:
            await self.stream.close()


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What every try of one call shares."""

    incoming: Incoming
    request: Resolved
    recording: Recording
    fleet: Fleet
    room: Room
    clock: Clock
    give_up_at_s: float
    """In monotonic seconds."""
    spending: Spending | None = None
    lead: Lead | None = None
    """Where the model's answers are kept: the duty to ask for all who ask the same."""

    def now_s(self) -> float:
        """Tell the monotonic time in seconds."""
        return self.clock.monotonic_ns() * 1e-9


async def try_target(call: Call, target: Target, reason: Reason, broken: Interrupted | None = None) -> Answer:
    """Make one try.

    Args:
        broken: A stream that broke after the caller had seen some of it, to be gone on with.

    Raises:
        Untranslatable: The target cannot take the request: it was not asked, and nothing was reserved for it.
        BackstayError: It failed. Nothing of it was passed on, and nothing of it is open any more.
    """
    is_counted_here = _is_counted_here(call, target)
    body = b"" if is_counted_here else _body(call, target, broken, None)
    hold = await _reserve(call, target, reason, broken)
    if hold is not None and hold.output_limit is not None:
        body = _body(call, target, broken, hold.output_limit)
    trying = Trying(call.recording, call.fleet, call.room, target, reason)
    if hold is not None:
        hold.attempt = trying.attempt
    if broken is not None:
        trying.attempt.seam = len(broken.text)
    try:
        return _count_tokens(call, trying) if is_counted_here else await _try(call, target, trying, broken, body)
    except BaseException as failure:
        trying.end(failure)
        raise


async def _reserve(call: Call, target: Target, reason: Reason, broken: Interrupted | None) -> Hold | None:
    """Reserve what the try may cost. Raises ``BudgetExhausted`` if that does not fit."""
    if call.spending is None:
        return None
    more_bytes = len(broken.text.encode()) if broken is not None else 0
    for_s = call.give_up_at_s - call.now_s()
    return await call.spending.reserve(target, more_bytes=more_bytes, for_s=for_s, beside=reason == "hedge")


async def _try(call: Call, target: Target, trying: Trying, broken: Interrupted | None, body: Body) -> Answer:
    exchange = await target.provider.send(_provider_request(call, target, body))
    trying.attempt.http_status = exchange.status
    trying.headers_came(exchange.headers)
    try:
        if exchange.status >= 400:
            raise spoken(target.provider, call.incoming.dialect).read_error(
                exchange.status, exchange.headers, await exchange.read()
            )
        if call.request.stream:
            return await _open_stream(call, target, trying, exchange, broken)
        return _whole(call, target, trying, await exchange.read())
    except BaseException:
        await exchange.close()
        raise


def _provider_request(call: Call, target: Target, body: Body) -> ProviderRequest:
    incoming = call.incoming
    dialect = spoken(target.provider, incoming.dialect).name
    return ProviderRequest(
        dialect=dialect,
        operation=incoming.operation,
        model_id=target.model_id,
        body=body,
        stream=call.request.stream,
        headers=incoming.forward if dialect == incoming.dialect.name else {},
        timeouts=_timeouts(call, target.timeouts),
    )


def _body(call: Call, target: Target, broken: Interrupted | None, output_limit: int | None) -> Body:
    native = spoken(target.provider, call.incoming.dialect).name == call.incoming.dialect.name
    return (_native_body if native else _translated_body)(call, target, broken, output_limit)


def _timeouts(call: Call, timeouts: Timeouts) -> Timeouts:
    """Shrink the target's limits to the time that is left for the call."""
    left_s = call.give_up_at_s - call.now_s()
    if left_s >= timeouts.total_s - 0.01:
        return timeouts
    left_s = max(left_s, 0.001)
    return Timeouts(
        connect_s=min(timeouts.connect_s, left_s),
        first_token_s=min(timeouts.first_token_s, left_s),
        idle_s=min(timeouts.idle_s, left_s),
        total_s=left_s,
    )


def _native_body(call: Call, target: Target, broken: Interrupted | None, output_limit: int | None) -> Body:
    """Write the caller's own fields with the target's name for the model: every other byte of a value is as it came."""
    asked = without_foreign_thoughts(call.request.fields, call.incoming.dialect.name)
    fields: Fields = {**asked, "model": msgspec.Raw(msgspec.json.encode(target.model_id))}
    if broken is not None:
        fields = go_on(fields, broken, target)
    if output_limit is not None:
        fields[_output_field(call)] = msgspec.Raw(b"%d" % output_limit)
    if _is_marked(call, target):
        fields = mark_fields(fields)
    if _adds_usage(call, target):
        options = {**_stream_options(call), "include_usage": msgspec.Raw(b"true")}
        fields["stream_options"] = msgspec.Raw(msgspec.json.encode(options))
    return msgspec.json.encode(fields) if len(call.incoming.body) < _LONG_BYTES else write_pieces(fields)


def _output_field(call: Call) -> str:
    """Name the field that limits the answer: the caller's own, or its dialect's."""
    given = (name for name in OUTPUT_LIMITS if name in call.request.fields)
    return next(given, _OUTPUT_FIELD.get(call.incoming.dialect.name, "max_tokens"))


def _is_marked(call: Call, target: Target) -> bool:
    """Whether the gateway places breakpoints for the provider's prompt cache."""
    return (
        call.request.model.route.prompt_cache
        and call.incoming.operation == "chat"
        and takes_breakpoints(target, spoken(target.provider, call.incoming.dialect))
    )


def _adds_usage(call: Call, target: Target) -> bool:
    """Whether the gateway must ask for the usage that an OpenAI stream leaves out unless asked."""
    return (
        call.request.stream
        and call.incoming.dialect.name == "openai"
        and target.provider.reports_stream_usage
        and bytes(_stream_options(call).get("include_usage", b"")) != b"true"
    )


def _stream_options(call: Call) -> Fields:
    """Read the caller's own ``stream_options``. Raises ``InvalidRequest`` if they are no object."""
    raw = call.request.fields.get("stream_options", msgspec.Raw(b"null"))
    try:
        return msgspec.json.decode(raw, type=Fields | None) or {}
    except msgspec.DecodeError:
        raise InvalidRequest("stream_options must be an object.", param="stream_options") from None


def neutral_request(call: Call) -> ChatRequest:
    """Read the caller's request into neutral form. Raises ``InvalidRequest``."""
    return call.incoming.dialect.read_request(call.request.fields)


def _translated_body(call: Call, target: Target, broken: Interrupted | None, output_limit: int | None) -> bytes:
    if call.incoming.operation != "chat":
        return asides.write_request(call.incoming, call.request.fields, target)
    request = neutral_request(call)
    if output_limit is not None:
        request = msgspec.structs.replace(request, max_output_tokens=output_limit)
    if broken is not None:
        request = broken.go_on(request, target)
    if _is_marked(call, target):
        request = mark_request(request)
    return spoken(target.provider, call.incoming.dialect).write_request(request, target.model_id)


def _is_counted_here(call: Call, target: Target) -> bool:
    if call.incoming.operation != "count_tokens":
        return False
    dialect = spoken(target.provider, call.incoming.dialect)
    return dialect.name != call.incoming.dialect.name and not dialect.counter


def _count_tokens(call: Call, trying: Trying) -> Answer:
    """Estimate the tokens of a request whose target has no endpoint for it, from the size of what it says."""
    fields: Fields = {"max_tokens": msgspec.Raw(b"1"), **call.request.fields}  # a count needs no limit, a message does
    request = call.incoming.dialect.read_request(fields)
    said = msgspec.json.encode((request.messages, request.tools))
    trying.attempt.summary = ReplySummary()
    trying.end()
    return Answer(trying=trying, body=msgspec.json.encode({"input_tokens": estimate_tokens(len(said))}))


def _whole(call: Call, target: Target, trying: Trying, body: bytes) -> Answer:
    wanted = call.incoming.dialect
    dialect = spoken(target.provider, wanted)
    trying.attempt.summary = _summary(call, dialect, body)
    if dialect.name != wanted.name and call.incoming.operation == "chat":
        answer = named(dialect.read_response(body), call_id=call.recording.call_id, model_id=target.model_id)
        body = wanted.write_response(answer)
    elif dialect.name != wanted.name:
        body = asides.write_answer(call.incoming, call.request.fields, target, body)
    trying.end()
    return Answer(trying=trying, body=body)


def _summary(call: Call, dialect: Dialect, body: bytes) -> ReplySummary:
    if call.incoming.operation == "chat":
        return dialect.read_summary(body)
    return asides.read_summary(call.incoming, dialect, body)


async def _open_stream(
    call: Call, target: Target, trying: Trying, exchange: Exchange, broken: Interrupted | None
) -> Answer:
    """Wait for the first content. What comes before it is held back, so that another target may still take over."""
    passage = _passage(call, target, broken)
    dialect = spoken(target.provider, call.incoming.dialect)
    if broken is not None:  # the call's own dialect tells of errors from where the caller's stream stands
        dialect = DIALECTS[dialect.name]
    reader = NamingReader(dialect.stream_reader(), call_id=call.recording.call_id, model_id=target.model_id)
    stream = OpenStream(exchange, reader, passage, trying.attempt)
    pieces = stream.pieces()
    held: list[Piece] = []
    waited_s = call.now_s() - trying.attempt.started_ns * 1e-9
    try:
        # A provider that says at once that it will answer, and then nothing, has not begun to.
        async with asyncio.timeout(max(0.0, _timeouts(call, target.timeouts).first_token_s - waited_s)):
            async for piece in pieces:
                held.append(piece)
                if piece.has_content or piece.last:
                    break
    except TimeoutError:
        raise ProviderTimeout(f"{target.name} began a stream and said nothing in time.") from None
    except ProviderError as error:
        error.retryable = True
        raise
    trying.first_piece()
    call.recording.said = passage.said if isinstance(passage, Resumed) else trying.attempt.events
    return Answer(trying=trying, is_stream=True, stream=stream, held=held, rest=pieces)


def _passage(call: Call, target: Target, broken: Interrupted | None) -> Passage:
    wanted = call.incoming.dialect
    if broken is not None:
        return _resumed(call, broken)
    if spoken(target.provider, wanted).name == wanted.name:
        return Untouched(hide_usage=_adds_usage(call, target))
    return Translated(wanted, neutral_request(call))


def end_broken(call: Call, broken: Interrupted) -> Piece:
    """Write the end of a stream whose answer was complete when it broke."""
    resumed = _resumed(call, broken)
    data = resumed.finish(estimate_usage(call.recording, broken.said, NO_USAGE))
    call.recording.said = resumed.said
    return Piece(data, False, last=True)


def _resumed(call: Call, broken: Interrupted) -> Resumed:
    return Resumed(call.incoming.dialect.resumed_writer(neutral_request(call), broken.said), broken)
