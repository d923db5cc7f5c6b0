"""Owns live rows: each new call as the table row that the page itself would have shown, by server-sent events."""

from collections.abc import AsyncIterator

from starlette.responses import Response, StreamingResponse

from backstay.console.traces import read_filter
from backstay.console.visit import Visit

_HEARTBEAT_S = 15.0


async def tail(visit: Visit) -> Response:
    """Stream rows of new calls that pass the filter, until the browser goes away."""
    return StreamingResponse(
        _events(visit),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


async def _events(visit: Visit) -> AsyncIterator[str]:
    wanted = read_filter(visit.query, None)
    yield ": listening\n\n"
    async for calls in visit.deps.traces.tail(visit.tenant_id, wanted, heartbeat_s=_HEARTBEAT_S):
        if not calls:
            yield ": still here\n\n"
        for call in calls:
            yield event("row", visit.renderer.text("call_row.html", {"call": call}))


def event(name: str, data: str) -> str:
    """Write one server-sent event."""
    lines = "".join(f"data: {line}\n" for line in data.splitlines())
    return f"event: {name}\n{lines}\n"
