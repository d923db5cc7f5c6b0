"""Owns the life of a model call: one function that reads top to bottom, the same for every wire."""

import asyncio
import logging
from collections.abc import Callable

import msgspec

from backstay.cache import Cache, Hit, Lead
from backstay.core.clock import Clock
from backstay.core.errors import BackstayError, Draining
from backstay.core.money import NanoUSD, usd
from backstay.gateway.attempt import Answer, Call, attempt_targets
from backstay.gateway.recall import Leavable, hand_in, read_hit, recall
from backstay.gateway.recording import Recording
from backstay.gateway.resolve import Models, resolve
from backstay.gateway.settle import settle
from backstay.gateway.types import Headers, Incoming, Sink
from backstay.ledger import PriceBook
from backstay.store import Journal, JournalFull
from backstay.tracing import Span

_log = logging.getLogger("backstay.gateway")

_SSE_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


class Gateway(msgspec.Struct, kw_only=True):
    """What every call of one worker shares. ``models`` and ``prices`` are replaced as one when the policy changes."""

    models: Models
    prices: PriceBook
    journal: Journal
    clock: Clock
    observe: Callable[[Span], None]
    """Called with each finished call's span: metrics."""
    cache: Cache | None = None
    capture: bool = True
    """Whether traces keep the text of requests and answers."""
    draining: bool = False
    open_calls: int = 0


async def call(gateway: Gateway, incoming: Incoming, sink: Sink) -> None:
    """Take one model call from admission to its record.

    The record is in the journal before the caller gets the last byte, whatever happens: an answer, an error, a stream
    that breaks, a caller that goes away (then this is cancelled). Every error is answered in the caller's dialect.

    Raises:
        asyncio.CancelledError: The caller went away, or the worker ends. What was received is recorded and priced.
    """
    recording = Recording(incoming, gateway.clock)
    gateway.open_calls += 1
    try:
        admit(gateway)
        recording.request = resolve(gateway.models, incoming)
        found = await recall(gateway.cache, recording) if gateway.cache else None
        if isinstance(found, Hit):
            await _give(gateway, recording, found, sink)
            return
    except Exception as problem:  # noqa: BLE001 - the edge of a call: whatever went wrong, it is recorded and answered
        await _failed(gateway, recording, problem, sink)
        return
    except asyncio.CancelledError:
        _cancelled(gateway, recording)
        raise
    finally:
        gateway.open_calls -= 1
    if found is None:
        await _ask(gateway, recording, None, sink)
        return
    recording.missed = True
    leavable = Leavable(sink)
    try:
        await found.carry(_ask(gateway, recording, found, leavable))
    except asyncio.CancelledError:
        leavable.gone = True
        raise


async def _ask(gateway: Gateway, recording: Recording, lead: Lead | None, sink: Sink) -> None:
    """Ask the model, answer, record; and hand the answer in where others may want it."""
    assert recording.request is not None
    answer: Answer | None = None
    gateway.open_calls += 1
    try:
        reserve(gateway, recording)
        answer = await attempt_targets(
            Call(incoming=recording.incoming, request=recording.request, recording=recording, clock=gateway.clock)
        )
        await (_reply if answer.stream is None else _relay)(gateway, recording, answer, sink)
        if lead is not None:
            hand_in(lead, recording)
    except Exception as problem:  # noqa: BLE001 - the edge of a call, as above
        error = await _failed(gateway, recording, problem, sink)
        if lead is not None:
            lead.fail(error)
    except asyncio.CancelledError:
        _cancelled(gateway, recording)
        raise
    finally:
        gateway.open_calls -= 1
        if lead is not None:
            lead.fail()
        if answer is not None and answer.stream is not None:
            await answer.stream.close()


async def _failed(gateway: Gateway, recording: Recording, problem: Exception, sink: Sink) -> BackstayError:
    error = problem if isinstance(problem, BackstayError) else _unforeseen(problem)
    recording.fail(error)
    settle_and_record(gateway, recording)
    await _tell(recording, error, sink)
    return error


def _cancelled(gateway: Gateway, recording: Recording) -> None:
    recording.status = "cancelled"
    settle_and_record(gateway, recording)


async def _give(gateway: Gateway, recording: Recording, hit: Hit, sink: Sink) -> None:
    """Answer with what is kept, once it is recorded: it costs nothing."""
    body, stream = read_hit(recording, hit)
    recording.hit, recording.output, recording.http_status = hit, body, 200
    settle_and_record(gateway, recording)
    headers = [*_call_headers(recording), *hit.headers(), (b"x-backstay-cost-usd", usd(NanoUSD(0)).encode())]
    if stream is None:
        await sink.reply(200, [(b"content-type", b"application/json"), *headers], body)
    else:
        await sink.begin(200, [*_SSE_HEADERS, *headers])
        await sink.write(stream, end=True)


def admit(gateway: Gateway) -> None:
    """Refuse a call that this worker could not finish or could not account for.

    Raises:
        Draining: The worker is shutting down.
        JournalFull: There is no room on the disk for its record.
    """
    if gateway.draining:
        raise Draining()
    gateway.journal.require_room()


def reserve(gateway: Gateway, recording: Recording) -> None:
    """Write the intent into the journal, before any provider is called."""
    gateway.journal.append("intent", bytes.fromhex(recording.call_id), recording.intent())


def settle_and_record(gateway: Gateway, recording: Recording) -> None:
    """Price the call and write it into the journal: from here on it is in the books. Only the first time counts."""
    if recording.written:
        return
    recording.written = True
    recording.close()
    settle(gateway.prices, recording)
    span = recording.root()
    parts = recording.frame(span, capture=gateway.capture)
    try:
        gateway.journal.append("call", bytes.fromhex(recording.call_id), parts)
    except JournalFull:
        # Neither disk nor memory takes more. The caller gets the answer all the same; the log is what is left of it.
        _log.critical("Call %s, cost %s nano-USD, is not in the books.", recording.call_id, span.cost_nanousd)
    gateway.observe(span)


async def _reply(gateway: Gateway, recording: Recording, answer: Answer, sink: Sink) -> None:
    """Answer as a whole, once it is recorded."""
    recording.output, recording.http_status = answer.body, answer.status
    settle_and_record(gateway, recording)
    headers = [(b"content-type", b"application/json"), *_call_headers(recording)]
    cost = recording.cost_nanousd
    if cost is not None:
        headers.append((b"x-backstay-cost-usd", usd(cost).encode()))
    await sink.reply(answer.status, headers, answer.body)


async def _relay(gateway: Gateway, recording: Recording, answer: Answer, sink: Sink) -> None:
    """Pass a stream on piece by piece. The last piece waits for the record."""
    recording.http_status = answer.status
    await sink.begin(answer.status, [*_SSE_HEADERS, *_call_headers(recording)])
    async for piece in answer.pieces():
        if piece.last:
            settle_and_record(gateway, recording)
        await sink.write(piece.data, end=piece.last)


def _unforeseen(problem: Exception) -> BackstayError:
    _log.error("A call failed inside the gateway.", exc_info=problem)
    return BackstayError()


async def _tell(recording: Recording, error: BackstayError, sink: Sink) -> None:
    dialect = recording.incoming.dialect
    if sink.begun:
        await sink.write(dialect.write_stream_error(error), end=True)
        return
    status, headers, body = dialect.write_error(error, request_id=recording.trace_id)
    extra = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    trace = (b"x-backstay-trace-id", recording.trace_id.encode())
    await sink.reply(status, [(b"content-type", b"application/json"), *extra, trace], body)


def _call_headers(recording: Recording) -> Headers:
    trace_id = recording.trace_id.encode()
    name = b"request-id" if recording.incoming.dialect.name == "anthropic" else b"x-request-id"
    missed = [(b"x-backstay-cache", b"miss")] if recording.missed else []
    return [(b"x-backstay-trace-id", trace_id), (name, trace_id), *missed]
