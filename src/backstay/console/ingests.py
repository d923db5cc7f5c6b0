"""Owns what a collection's page shows of work on it: what is being taken in, and an index that is being built."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.responses import Response, StreamingResponse

from backstay.console.live import event
from backstay.console.visit import Visit
from backstay.core.errors import BackstayError
from backstay.retrieval.ingests import PROBLEMS

_LOOK_S = 1.0
_QUIET_LOOKS = 15
_SHOWN = 8
_PROBLEMS_SHOWN = 20

STATES: Mapping[str, tuple[str, str]] = {
    "open": ("being sent", "waiting"),
    "running": ("running", "accent"),
    "done": ("done", "right"),
    "failed": ("failed", "wrong"),
    "cancelled": ("cancelled", ""),
}
"""How an ingest stands, in words, and their tone."""


async def live(visit: Visit) -> Response:
    """Stream the part of a collection's page that tells of work on it, until the browser goes away."""
    await visit.deps.collections.show(visit.tenant_id, visit.request.path_params["collection"])
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_events(visit), media_type="text/event-stream", headers=headers)


async def work(visit: Visit, name: str) -> dict[str, Any]:
    """Read what is being done for a collection, and what went wrong in the last ingest that had trouble."""
    ingests = await visit.deps.ingests.all(visit.tenant_id, name, limit=_SHOWN)
    troubled = next((each for each in ingests if each.unreadable or each.failed), None)
    problems = [] if troubled is None else await visit.deps.ingests.items(
        visit.tenant_id, troubled.id, states=PROBLEMS, after="", limit=_PROBLEMS_SHOWN
    )  # fmt: skip
    return {
        "name": name,
        "ingests": ingests,
        "troubled": troubled,
        "problems": problems,
        "migration": await visit.deps.migrations.show(visit.tenant_id, name),
        "ingest_states": STATES,
    }


async def _events(visit: Visit) -> AsyncIterator[str]:
    name = visit.request.path_params["collection"]
    shown, quiet = "", 0
    yield ": listening\n\n"
    while True:
        try:
            text = visit.renderer.text("collection_work.html", await work(visit, name))
        except BackstayError:
            yield ": interrupted, connect again\n\n"
            return
        quiet = quiet + 1 if text == shown else 0
        if text != shown:
            yield event("part", text)
        elif quiet >= _QUIET_LOOKS:
            quiet = 0
            yield ": still here\n\n"
        shown = text
        await asyncio.sleep(_LOOK_S)
