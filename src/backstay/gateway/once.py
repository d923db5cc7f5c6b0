"""Owns how a call with an idempotency key is made once: claimed before it is made, kept before its end is told."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from backstay.gateway.recall import Leavable
from backstay.gateway.recording import Recording
from backstay.gateway.types import Headers, Sink
from backstay.idempotency import Claims, KeptAnswer, Slot, Wanted

_KEPT = frozenset(
    {
        b"content-type",
        b"cache-control",
        b"x-accel-buffering",
        b"x-backstay-attempts",
        b"x-backstay-target",
        b"x-backstay-degraded",
        b"x-backstay-cache",
        b"x-backstay-cache-trace-id",
    }
)
"""Headers that belong to an answer, whoever gets it; the others are each call's own."""


async def while_wanted(recording: Recording, sink: Sink, answer: Callable[[Sink], Coroutine[Any, Any, None]]) -> None:
    """Answer in a task of its own, which goes on after its caller has gone for as long as others wait for it."""
    leavable = Leavable(sink)
    task = asyncio.create_task(answer(leavable))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        if recording.claim is not None and recording.claim.go_on(task.cancel):
            leavable.gone = True
        else:
            task.cancel()
            await asyncio.wait((task,))
        raise


async def answer_once(
    claims: Claims,
    recording: Recording,
    make: Callable[[], Awaitable[None]],
    repeat: Callable[[KeptAnswer], Awaitable[None]],
) -> None:
    """Make the call, or repeat the answer of the one that was made before.

    Raises:
        BackstayError: The key belongs to another request, or its call still runs; or Postgres does not answer.
    """
    incoming, request = recording.incoming, recording.request
    assert request is not None and incoming.idempotency_key is not None
    slot = Slot(incoming.caller.tenant_id, incoming.caller.id, incoming.idempotency_key)
    wanted = Wanted.of(slot, incoming.path, incoming.body, call_id=recording.call_id, trace_id=recording.trace_id)
    limit_s = min(request.model.total_s, incoming.deadline_s or request.model.total_s)
    found = await claims.claim(wanted, recording.started_ns * 1e-9 + limit_s)
    if isinstance(found, KeptAnswer):
        recording.origin_id = found.trace_id
        await repeat(found)
        return
    recording.claim = found
    async with found.held():
        try:
            await make()
        except asyncio.CancelledError:
            recording.status = "cancelled"
            recording.close()  # whoever cancels it, the provider may bill for what it did
            raise


async def keep_answer(recording: Recording, headers: Headers, last: bytes, *, is_stream: bool) -> None:
    """Keep a good answer, of which ``last`` is the end or all, for repeats of a call with a key.

    Not one that only stands in for an answer that the next try may bring.
    """
    claim = recording.claim
    if claim is None:
        return
    claim.add(last)
    if recording.degraded in (None, "target"):
        kept = [(name.decode(), value.decode("latin-1")) for name, value in headers if name in _KEPT]
        await claim.keep(tuple(kept), is_stream=is_stream)
