"""Owns what the vendors' wires share where an answer comes from documents: rights, headers, whole answers, errors."""

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import msgspec

from backstay.core.caller import Caller
from backstay.core.errors import BackstayError, Forbidden
from backstay.gateway import Headers, Sink
from backstay.providers import Dialect
from backstay.retrieval.streaming import Event, Whole

JSON = (b"content-type", b"application/json")
SSE: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


def require_wire(caller: Caller, path: str) -> None:
    """Raise ``Forbidden`` where the caller may not call models, or not on this wire."""
    if not caller.may("call"):
        raise Forbidden("This key has no right to call models. Make one with the right `call`.")
    if caller.routes is not None and path not in caller.routes:
        raise Forbidden(f"This key may use {', '.join(sorted(caller.routes))}, not {path}.")


def trace_headers(caller: Caller, first: Event) -> Headers:
    """Name the trace, which there is where the answer model was asked."""
    trace_id = (caller.terms.trace_id or "").encode()
    if isinstance(first, Whole) and first.answer.trace_id is None:
        return [(b"x-request-id", trace_id)]
    return [(b"x-request-id", trace_id), (b"x-backstay-trace-id", trace_id)]


async def refuse(dialect: Dialect, error: BackstayError, sink: Sink, head: Headers = ()) -> None:
    """Answer with an error in the dialect's shape."""
    status, more, told = dialect.write_error(error)
    extra = [(name.encode(), value.encode("latin-1", "replace")) for name, value in more.items()]
    await sink.reply(status, [JSON, *head, *extra], told)


async def reply_whole(
    dialect: Dialect,
    write: Callable[[Whole], Mapping[str, Any]],
    head: Headers,
    first: Event,
    rest: AsyncGenerator[Event],
    sink: Sink,
) -> None:
    """Wait for the whole answer, and reply with it as ``write`` writes it."""
    whole = first if isinstance(first, Whole) else None
    try:
        async for event in rest:
            whole = event if isinstance(event, Whole) else whole
    except BackstayError as error:
        await refuse(dialect, error, sink, head)
        return
    assert whole is not None, "the last event of an answer is the whole"
    cost = whole.answer.cost_usd
    paid = [] if cost is None else [(b"x-backstay-cost-usd", cost.encode())]
    await sink.reply(200, [JSON, *head, *paid], msgspec.json.encode(write(whole)))
