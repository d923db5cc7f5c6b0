"""Owns the step between a call and the cache: what it asks, giving a kept answer, and handing a new one in."""

import asyncio
import logging

from backstay.cache import Cache, CachePolicy, Hit, Lead, build_ask, replay
from backstay.core.chat import ChatResponse
from backstay.core.errors import DeadlineExceeded
from backstay.gateway.recording import Recording
from backstay.gateway.types import Headers, Sink
from backstay.providers import DIALECTS, accumulate

_log = logging.getLogger(__name__)


async def recall(cache: Cache, policy: CachePolicy, recording: Recording) -> Hit | Lead | None:
    """Find a kept answer, or become who asks for all; ``None`` where the call passes by the cache.

    Raises:
        DeadlineExceeded: The caller waits no longer, and somebody else still asks.
    """
    request, incoming = recording.request, recording.incoming
    assert request is not None
    if incoming.dialect.name == "responses":
        return None  # a response has an id of its own, which its caller may go on from
    ask = build_ask(
        policy,
        request.fields,
        operation=incoming.operation,
        dialect=incoming.dialect.name,
        model=request.model.name,
        tenant_id=incoming.caller.tenant_id,
        key_id=incoming.caller.id,
        feature=incoming.feature,
        user=request.user,
        forward=incoming.forward,
        directives=incoming.cache_control,
    )
    if ask is None or incoming.deadline_s is None:
        return None if ask is None else await cache.recall(ask)
    waited_s = (recording.clock.monotonic_ns() - recording.started_ns) * 1e-9
    try:
        async with asyncio.timeout(incoming.deadline_s - waited_s):
            return await cache.recall(ask)
    except TimeoutError:
        raise DeadlineExceeded() from None


def read_hit(recording: Recording, hit: Hit) -> tuple[bytes, bytes | None]:
    """Return a kept answer whole in the caller's dialect, and as a stream where one was asked for."""
    incoming, request, answer = recording.incoming, recording.request, hit.answer
    assert request is not None
    body = answer.body
    if incoming.operation != "chat" or (answer.dialect == incoming.dialect.name and not request.stream):
        return body, None
    response = DIALECTS[answer.dialect].read_response(body)
    if answer.dialect != incoming.dialect.name:
        body = incoming.dialect.write_response(response)
    if not request.stream:
        return body, None
    writer = incoming.dialect.stream_writer(incoming.dialect.read_request(request.fields))
    return body, b"".join([*(writer.write(event) for event in replay(response)), writer.end()])


def hand_in(lead: Lead, recording: Recording) -> None:
    """Hand a whole, settled answer in, before its caller gets the last of it: to all who wait for it, and to be kept.

    What stood in for an answer is none. One that cannot be read is let go, and the next in line asks.
    """
    if recording.degraded is not None:
        return
    incoming, attempt = recording.incoming, recording.attempts[-1]
    body = recording.output
    response: ChatResponse | None = None
    try:
        if incoming.operation == "chat":
            response = incoming.dialect.read_response(body) if body else accumulate(recording.said)
            body = body or incoming.dialect.write_response(response)
    except Exception as error:  # noqa: BLE001 - the edge of the cache: the caller may have what it cannot read
        _log.warning("The answer of %s is not kept: %r", attempt.target.name, error)
        lead.fail()
        return
    lead.keep(
        body,
        response,
        dialect=incoming.dialect.name,
        usage=attempt.usage,
        target=attempt.target.name,
        trace_id=recording.trace_id,
        cost_nanousd=recording.cost_nanousd,
    )


class Leavable:
    """A sink that its caller may leave while the call goes on for others: from then on it takes and drops."""

    def __init__(self, sink: Sink):
        self.begun = False
        self.gone = False
        self._sink = sink

    async def reply(self, status: int, headers: Headers, body: bytes) -> None:
        self.begun = True
        if not self.gone:
            await self._sink.reply(status, headers, body)

    async def begin(self, status: int, headers: Headers) -> None:
        self.begun = True
        if not self.gone:
            await self._sink.begin(status, headers)

    async def write(self, chunk: bytes, *, end: bool = False) -> None:
        if not self.gone:
            await self._sink.write(chunk, end=end)
