"""Owns the tries of one call: target after target until one answers, each left in the recording with its reason."""

from collections.abc import AsyncIterator

import msgspec

from backstay.core.chat import ChatRequest
from backstay.core.clock import Clock
from backstay.core.errors import BackstayError, InvalidRequest, ProviderError, Untranslatable
from backstay.gateway.recording import Attempt, Recording
from backstay.gateway.resolve import Resolved
from backstay.gateway.settle import estimate_tokens
from backstay.gateway.stream import OpenStream, Passage, Piece, Translated, Untouched
from backstay.gateway.types import Incoming, Target
from backstay.providers import (
    Dialect,
    Exchange,
    Fields,
    ProviderRequest,
    ReplySummary,
    read_embeddings_summary,
    spoken,
)


class Answer(msgspec.Struct, kw_only=True):
    """A target's good answer in the caller's dialect: whole, or as a stream of which ``held`` has come already."""

    attempt: Attempt
    status: int = 200
    body: bytes = b""
    stream: OpenStream | None = None
    held: list[Piece] = []
    rest: AsyncIterator[Piece] | None = None

    async def pieces(self) -> AsyncIterator[Piece]:
        """Iterate over the whole stream: what was held back, then the rest as it comes."""
        assert self.rest is not None
        for piece in self.held:
            yield piece
        async for piece in self.rest:
            yield piece


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What every try of one call shares."""

    incoming: Incoming
    request: Resolved
    recording: Recording
    clock: Clock


async def attempt_targets(call: Call) -> Answer:
    """Try the model's targets in order until one answers.

    A target is given up for the next one when it fails before it has said anything and its error is one that another
    target may not have (`retryable`), or when it cannot express the request.

    Raises:
        BackstayError: The last target's error.
    """
    error: BackstayError = InvalidRequest("The model has no target.", param="model")
    for target in call.request.model.targets:
        attempt = call.recording.begin_attempt(target)
        try:
            if _is_counted_here(call, target):
                return _count_tokens(call, attempt)
            return await _try(call, target, attempt)
        except BackstayError as failure:
            call.recording.end_attempt(attempt, failure)
            error = failure
            if not (failure.retryable or isinstance(failure, Untranslatable)):
                break
    raise error


async def _try(call: Call, target: Target, attempt: Attempt) -> Answer:
    exchange = await target.provider.send(_provider_request(call, target))
    attempt.http_status = exchange.status
    try:
        if exchange.status >= 400:
            raise spoken(target.provider, call.incoming.dialect).read_error(
                exchange.status, exchange.headers, await exchange.read()
            )
        if call.request.stream:
            return await _open_stream(call, target, attempt, exchange)
        return _whole(call, target, attempt, await exchange.read())
    except BaseException:
        await exchange.close()
        raise


def _provider_request(call: Call, target: Target) -> ProviderRequest:
    incoming, request = call.incoming, call.request
    dialect = spoken(target.provider, incoming.dialect).name
    native = dialect == incoming.dialect.name
    return ProviderRequest(
        dialect=dialect,
        operation=incoming.operation,
        model_id=target.model_id,
        body=_native_body(call, target) if native else _translated_body(call, target),
        stream=request.stream,
        headers=incoming.forward if native else {},
        timeouts=request.model.timeouts,
    )


def _native_body(call: Call, target: Target) -> bytes:
    """Write the caller's own fields with the target's name for the model: every other byte of a value is as it came."""
    fields: Fields = {**call.request.fields, "model": msgspec.Raw(msgspec.json.encode(target.model_id))}
    if _adds_usage(call, target):
        options = {**_stream_options(call), "include_usage": msgspec.Raw(b"true")}
        fields["stream_options"] = msgspec.Raw(msgspec.json.encode(options))
    return msgspec.json.encode(fields)


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


def _neutral(call: Call) -> ChatRequest:
    return call.incoming.dialect.read_request(call.request.fields)


def _translated_body(call: Call, target: Target) -> bytes:
    dialect = target.provider.dialect
    if call.incoming.operation != "chat":
        raise Untranslatable(f"{target.name} cannot answer {call.incoming.path}.", param="model")
    return dialect.write_request(_neutral(call), target.model_id)


def _is_counted_here(call: Call, target: Target) -> bool:
    return call.incoming.operation == "count_tokens" and call.incoming.dialect.name not in target.provider.speaks


def _count_tokens(call: Call, attempt: Attempt) -> Answer:
    """Estimate the tokens of a request whose target has no endpoint for it, from the size of what it says."""
    fields: Fields = {"max_tokens": msgspec.Raw(b"1"), **call.request.fields}  # a count needs no limit, a message does
    request = call.incoming.dialect.read_request(fields)
    said = msgspec.json.encode((request.messages, request.tools))
    attempt.summary = ReplySummary()
    return Answer(attempt=attempt, body=msgspec.json.encode({"input_tokens": estimate_tokens(len(said))}))


def _whole(call: Call, target: Target, attempt: Attempt, body: bytes) -> Answer:
    wanted = call.incoming.dialect
    dialect = spoken(target.provider, wanted)
    attempt.summary = _summary(call, dialect, body)
    if dialect.name != wanted.name:
        body = wanted.write_response(dialect.read_response(body))
    return Answer(attempt=attempt, body=body)


def _summary(call: Call, dialect: Dialect, body: bytes) -> ReplySummary:
    if call.incoming.operation == "embeddings":
        return read_embeddings_summary(body)
    if call.incoming.operation == "count_tokens":
        return ReplySummary()
    return dialect.read_summary(body)


async def _open_stream(call: Call, target: Target, attempt: Attempt, exchange: Exchange) -> Answer:
    """Wait for the first content. What comes before it is held back, so that another target may still take over."""
    wanted = call.incoming.dialect
    dialect = spoken(target.provider, wanted)
    passage: Passage
    if dialect.name == wanted.name:
        passage = Untouched(hide_usage=_adds_usage(call, target))
    else:
        passage = Translated(wanted, _neutral(call))
    stream = OpenStream(exchange, dialect.stream_reader(), passage, attempt.events)
    pieces = stream.pieces()
    held: list[Piece] = []
    try:
        async for piece in pieces:
            held.append(piece)
            if piece.has_content or piece.last:
                break
    except ProviderError as error:
        error.retryable = True
        raise
    attempt.first_token_ns = call.clock.monotonic_ns()
    return Answer(attempt=attempt, stream=stream, held=held, rest=pieces)
