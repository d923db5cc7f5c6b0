"""Owns the life of a model call: from top to bottom, the same for every wire."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import TypeVar

import msgspec

from backstay.budgets import Escrow
from backstay.cache import Cache, Hit, Lead
from backstay.conversations import Conversations
from backstay.core.clock import Clock
from backstay.core.errors import BackstayError, Draining
from backstay.core.money import NanoUSD, usd
from backstay.gateway.answering import Answering
from backstay.gateway.attempt import Answer, Call
from backstay.gateway.conversation import take_up
from backstay.gateway.limiting import limit_headers, pass_limits, settle_limits
from backstay.gateway.looping import find_loop, meet_loop
from backstay.gateway.once import answer_once, keep_answer, while_wanted
from backstay.gateway.order import order_targets
from backstay.gateway.recall import Leavable, hand_in, read_hit, recall
from backstay.gateway.recording import Recording
from backstay.gateway.resolve import Models, Resolved, resolve
from backstay.gateway.room import Room
from backstay.gateway.settle import settle
from backstay.gateway.shadows import Shadows
from backstay.gateway.spending import Spending, begin_spending
from backstay.gateway.stream import Piece
from backstay.gateway.types import Headers, Incoming, Sink
from backstay.health import Fleet
from backstay.idempotency import Claims, KeptAnswer
from backstay.ledger import PriceBook
from backstay.limits import Limiter
from backstay.loops import Loops
from backstay.store import Journal, JournalFull
from backstay.tracing import Span

_log = logging.getLogger("backstay.gateway")

_JSON = (b"content-type", b"application/json")
_SSE_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
_T = TypeVar("_T")
_FREE = (b"x-backstay-cost-usd", usd(NanoUSD(0)).encode())


class Gateway(msgspec.Struct, kw_only=True):
    """What every call of one worker shares. ``models`` and ``prices`` are replaced as one when the policy changes."""

    models: Models
    prices: PriceBook
    journal: Journal
    clock: Clock
    fleet: Fleet = msgspec.field(default_factory=Fleet)
    room: Room = msgspec.field(default_factory=Room)
    chance: random.Random = msgspec.field(default_factory=random.Random)
    """For jitter and shares of traffic."""
    observe: Callable[[Span], None]
    """Called with each finished call's span: metrics."""
    conversations: Conversations | None = None
    """Where responses are kept, for callers who go on from them by id; ``None``: none are."""
    limiter: Limiter | None = None
    """``None`` limits nobody."""
    claims: Claims | None = None
    """``None``: idempotency keys are not looked at."""
    escrow: Escrow | None = None
    """``None``: there are no budgets."""
    loops: Loops | None = None
    """``None``: nobody looks for them."""
    cache: Cache | None = None
    shadows: Shadows | None = None
    """``None``: semantic hits are not checked."""
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
    if incoming.idempotency_key is not None and gateway.claims is not None:
        await while_wanted(recording, sink, partial(_call_once, gateway, gateway.claims, recording))
        return
    lead = await _recorded(gateway, recording, sink, partial(_call, gateway, recording, sink))
    if lead is not None:
        await _lead(gateway, recording, lead, sink)


async def _call(gateway: Gateway, recording: Recording, sink: Sink) -> Lead | None:
    """Answer a call, unless it leads others: then its lead is returned, and nobody was asked yet."""
    admit(gateway)
    request = await _understand(gateway, recording)
    found = await _look_up(gateway, recording, request)
    if isinstance(found, Lead):
        return found
    if isinstance(found, Hit):
        await _give(gateway, recording, found, sink)
    else:
        await _ask(gateway, recording, request, None, sink)
    return None


async def _call_once(gateway: Gateway, claims: Claims, recording: Recording, sink: Sink) -> None:
    """Take a call with an idempotency key, as a repeat where it is one."""

    async def answer() -> None:
        admit(gateway)
        recording.request = resolve(gateway.models, recording.incoming)
        make, repeat = partial(_make, gateway, recording, sink), partial(_repeat, gateway, recording, sink)
        await answer_once(claims, recording, make, repeat)

    await _recorded(gateway, recording, sink, answer)


async def _make(gateway: Gateway, recording: Recording, sink: Sink) -> None:
    """Make a call that holds a claim, in the claim's own task: who loses it must stop the provider's call.

    Others that ask the same may wait for it, but it does not outlive its claim for them: the next of them asks.
    """
    request = await _understand(gateway, recording)
    found = await _look_up(gateway, recording, request)
    if isinstance(found, Hit):
        await _give(gateway, recording, found, sink)
    else:
        await _ask(gateway, recording, request, found, sink)


async def _lead(gateway: Gateway, recording: Recording, lead: Lead, sink: Sink) -> None:
    """Ask for all who ask the same, and go on without the caller while any of them waits."""
    assert recording.request is not None
    leavable = Leavable(sink)

    ask = partial(_ask, gateway, recording, recording.request, lead, leavable)
    try:
        await lead.carry(_recorded(gateway, recording, leavable, ask))
    except asyncio.CancelledError:
        leavable.gone = True
        raise


async def _recorded(
    gateway: Gateway, recording: Recording, sink: Sink, answer: Callable[[], Awaitable[_T]]
) -> _T | None:
    """Answer, and record and tell what goes wrong: nothing is raised but cancellation."""
    gateway.open_calls += 1
    try:
        return await answer()
    except Exception as problem:  # noqa: BLE001 - the edge of a call: whatever went wrong, it is recorded and answered
        error = problem if isinstance(problem, BackstayError) else _unforeseen(problem)
        recording.fail(error)
        settle_and_record(gateway, recording)
        await _tell(recording, error, sink)
        return None
    except asyncio.CancelledError:
        recording.status = "cancelled"
        settle_and_record(gateway, recording)
        raise
    finally:
        gateway.open_calls -= 1


async def _understand(gateway: Gateway, recording: Recording) -> Resolved:
    """Read what is asked of whom, on the responses wire with the conversation that it goes on from."""
    if recording.incoming.dialect.name == "responses" and gateway.conversations is not None:
        await take_up(gateway.conversations, recording)
    recording.request = resolve(gateway.models, recording.incoming)
    return recording.request


async def _look_up(gateway: Gateway, recording: Recording, request: Resolved) -> Hit | Lead | None:
    """Find a kept answer, as far as the caller's limits allow."""
    if gateway.limiter is not None:
        await pass_limits(gateway.limiter, recording)
    if gateway.cache is None or request.model.cache is None:
        return None
    found = await recall(gateway.cache, request.model.cache, recording)
    recording.missed = isinstance(found, Lead)
    return found


async def _ask(gateway: Gateway, recording: Recording, request: Resolved, lead: Lead | None, sink: Sink) -> None:
    """Ask the model and answer; and hand the answer in where others may want it."""
    try:
        if gateway.loops is not None and (loop := find_loop(gateway.loops, recording)) is not None:
            await meet_loop(loop, recording)
        write_intent = partial(reserve, gateway, recording)
        spending = recording.spending = begin_spending(gateway.escrow, gateway.prices, recording, write_intent)
        if spending is not None and gateway.escrow is not None:
            recording.holder = gateway.escrow.holder
        answering = route(gateway, recording, request, spending, lead)
        if spending is None:
            write_intent()
        answer = await answering.answer()
        if answer.is_stream:
            await _relay(gateway, recording, answering.pieces(answer), lead, sink)
        else:
            await _reply(gateway, recording, answer, lead, sink)
    except Exception as problem:
        if lead is not None:
            lead.fail(problem if isinstance(problem, BackstayError) else BackstayError())
        raise
    finally:
        if lead is not None:
            lead.fail()


async def _repeat(gateway: Gateway, recording: Recording, sink: Sink, kept: KeptAnswer) -> None:
    """Give the answer of an earlier call with this key again, at no cost."""
    recording.http_status = 200
    settle_and_record(gateway, recording)
    headers = [(name.encode(), value.encode("latin-1")) for name, value in kept.headers]
    headers += [*_call_headers(recording), _FREE]
    headers += [(b"idempotency-replayed", b"true"), (b"x-backstay-origin-trace-id", kept.trace_id.encode())]
    await _give_whole(sink, headers, kept.body or b"", is_stream=kept.is_stream)


async def _give(gateway: Gateway, recording: Recording, hit: Hit, sink: Sink) -> None:
    """Answer with what is kept, once it is recorded: it costs nothing."""
    body, stream = read_hit(recording, hit)
    recording.hit, recording.output, recording.http_status = hit, body, 200
    if hit.kind == "stale":
        recording.degraded = "cache_stale"
    kind = [_JSON] if stream is None else _SSE_HEADERS
    headers = [*kind, *_call_headers(recording), _FREE]
    given = body if stream is None else stream
    await keep_answer(recording, headers, given, is_stream=stream is not None)
    settle_and_record(gateway, recording)
    await _give_whole(sink, headers, given, is_stream=stream is not None)
    if gateway.shadows is not None and hit.kind == "semantic":
        gateway.shadows.consider(recording, hit)


async def _give_whole(sink: Sink, headers: Headers, body: bytes, *, is_stream: bool) -> None:
    if is_stream:
        await sink.begin(200, headers)
        await sink.write(body, end=True)
    else:
        await sink.reply(200, headers, body)


def admit(gateway: Gateway) -> None:
    """Refuse a call that this worker could not finish or could not account for.

    Raises:
        Draining: The worker is shutting down.
        JournalFull: There is no room on the disk for its record.
    """
    if gateway.draining:
        raise Draining()
    gateway.journal.require_room()


def route(
    gateway: Gateway,
    recording: Recording,
    request: Resolved,
    spending: Spending | None = None,
    lead: Lead | None = None,
) -> Answering:
    """Choose the targets that the call may go to, best first.

    Raises:
        NoCapableTarget: None can do what it asks.
    """
    incoming = recording.incoming
    targets = order_targets(
        request, incoming, fleet=gateway.fleet, prices=gateway.prices, at_ns=recording.at_ns, chance=gateway.chance
    )
    limit_s = request.model.total_s
    if incoming.deadline_s is not None:
        limit_s = min(limit_s, incoming.deadline_s)
    call = Call(
        incoming=incoming,
        request=request,
        recording=recording,
        fleet=gateway.fleet,
        room=gateway.room,
        clock=gateway.clock,
        give_up_at_s=recording.started_ns * 1e-9 + limit_s,
        spending=spending,
        lead=lead,
    )
    return Answering(call, targets, gateway.chance)


def reserve(gateway: Gateway, recording: Recording) -> None:
    """Write the intent into the journal, before any provider is called; again, when more is reserved for the call."""
    gateway.journal.append("intent", bytes.fromhex(recording.call_id), recording.intent())


def settle_and_record(gateway: Gateway, recording: Recording) -> None:
    """Price the call and write it into the journal: from here on it is in the books. Only the first time counts."""
    if recording.written:
        return
    recording.written = True
    recording.close()
    settle(gateway.prices, recording)
    if recording.spending is not None:
        recording.charges = recording.spending.settle()
    settle_limits(recording)
    span = recording.root()
    parts = recording.frame(span, capture=gateway.capture and recording.origin_id is None)
    try:
        gateway.journal.append("call", bytes.fromhex(recording.call_id), parts)
    except JournalFull:
        # Neither disk nor memory takes more. The caller gets the answer all the same; the log is what is left of it.
        _log.critical("Call %s, cost %s nano-USD, is not in the books.", recording.call_id, span.cost_nanousd)
    if recording.claim is not None:
        recording.claim.end()
    gateway.observe(span)
    if recording.incoming.observe is not None:
        recording.incoming.observe(span)


async def _reply(gateway: Gateway, recording: Recording, answer: Answer, lead: Lead | None, sink: Sink) -> None:
    """Answer as a whole, once it is recorded and handed in to the cache: its caller may leave before the end."""
    recording.output, recording.http_status = answer.body, 200
    if recording.keeper is not None or recording.claim is not None:
        await _keep(recording, [_JSON, *_route_headers(recording)], answer.body, is_stream=False)
    settle_and_record(gateway, recording)
    if lead is not None:
        hand_in(lead, recording)
    headers = [_JSON, *_call_headers(recording)]
    cost = recording.cost_nanousd
    if cost is not None:
        headers.append((b"x-backstay-cost-usd", usd(cost).encode()))
    await sink.reply(200, headers, answer.body)


async def _relay(
    gateway: Gateway, recording: Recording, stream: AsyncGenerator[Piece], lead: Lead | None, sink: Sink
) -> None:
    """Pass a stream on piece by piece. The last piece waits for the record, and for the cache."""
    recording.http_status = 200
    headers = [*_SSE_HEADERS, *_call_headers(recording)]
    async with aclosing(stream) as pieces:
        await sink.begin(200, headers)
        async for piece in pieces:
            if piece.last:
                await _keep(recording, headers, piece.data, is_stream=True)
                settle_and_record(gateway, recording)
                if lead is not None:
                    hand_in(lead, recording)
            elif recording.claim is not None:
                recording.claim.add(piece.data)
            await sink.write(piece.data, end=piece.last)


async def _keep(recording: Recording, headers: Headers, last: bytes, *, is_stream: bool) -> None:
    """Keep a good answer where it may be asked for again: first for who goes on from it, then for repeats."""
    if recording.keeper is not None:
        await recording.keeper.keep(last, is_stream=is_stream)
    await keep_answer(recording, headers, last, is_stream=is_stream)


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
    await sink.reply(status, [_JSON, *extra, *_route_headers(recording)], body)


def _call_headers(recording: Recording) -> Headers:
    name = b"request-id" if recording.incoming.dialect.name == "anthropic" else b"x-request-id"
    return [(name, recording.trace_id.encode()), *_route_headers(recording)]


def _route_headers(recording: Recording) -> Headers:
    """Say where the call was recorded, how many tries it took, and who answered last."""
    headers = [(b"x-backstay-trace-id", recording.trace_id.encode())]
    if recording.attempts:
        headers.append((b"x-backstay-attempts", b"%d" % len(recording.attempts)))
        headers.append((b"x-backstay-target", recording.attempts[-1].target.name.encode("latin-1", "replace")))
    if recording.hit is not None:
        headers += recording.hit.headers()
    elif recording.missed:
        headers.append((b"x-backstay-cache", b"miss"))
    if recording.degraded is not None:
        headers.append((b"x-backstay-degraded", recording.degraded.encode()))
    headers += limit_headers(recording)
    return headers
