"""Owns the pages of what is made later: how far is each batch, what failed in it, and did the webhooks arrive?"""

import datetime as dt
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from backstay.console.names import key_names
from backstay.console.render import href
from backstay.console.visit import Visit
from backstay.core.errors import InvalidRequest
from backstay.jobs.later import LaterRow
from backstay.jobs.types import FAILED_LINES_KEPT, Batch, FailedLine

_PAGE = 50
_LONGEST_ID = 100
_SLACK = dt.timedelta(seconds=5)
"""By so much a worker's clock may be ahead of Postgres'."""
_OPEN = frozenset({"validating", "in_progress", "finalizing", "cancelling"})
_CANCELLABLE = frozenset({"validating", "in_progress"})

STATES: Mapping[str, tuple[str, str]] = {
    "validating": ("being read", "waiting"),
    "in_progress": ("running", "accent"),
    "finalizing": ("being written", "accent"),
    "cancelling": ("being cancelled", "waiting"),
    "completed": ("completed", "right"),
    "failed": ("refused", "wrong"),
    "expired": ("out of time", "wrong"),
    "cancelled": ("cancelled", ""),
}
"""How a batch stands, in words, and their tone."""

CALL_STATES: Mapping[str, tuple[str, str]] = {
    "waiting": ("waiting", "waiting"),
    "running": ("under way", "accent"),
    "done": ("answered", "right"),
    "failed": ("failed", "wrong"),
    "cancelled": ("cancelled", ""),
}


async def show(visit: Visit) -> Response:
    """List the tenant's batches, the newest first, below what is open and what does not arrive."""
    batches = await visit.deps.batches.list(visit.caller, after=_after(visit), limit=_PAGE + 1)
    return visit.page(
        "batches.html",
        batches=batches[:_PAGE],
        standing=await visit.deps.batches.standing(visit.caller),
        older=visit.link(after=batches[_PAGE - 1].batch_id) if len(batches) > _PAGE else None,
        newest=visit.link(after=None) if visit.query.get("after") else None,
        example=_batch_example(visit.base_url),
        **await _words(visit),
    )


async def calls(visit: Visit) -> Response:
    """List the tenant's single calls that are made later, with how their webhooks stand."""
    rows = await visit.deps.later.list(visit.caller, after=_after(visit), limit=_PAGE + 1)
    return visit.page(
        "later_calls.html",
        calls=rows[:_PAGE],
        standing=await visit.deps.batches.standing(visit.caller),
        older=visit.link(after=rows[_PAGE - 1].job_id) if len(rows) > _PAGE else None,
        newest=visit.link(after=None) if visit.query.get("after") else None,
        example=_call_example(visit.base_url),
        **await _words(visit),
    )


async def one(visit: Visit) -> Response:
    """Show one batch: how far it is, what it costs, and which lines failed and why."""
    batch = await _find(visit)
    lines = await visit.deps.batches.failed_lines(visit.caller, batch.batch_id, limit=FAILED_LINES_KEPT)
    return visit.page(
        "batch.html",
        batch=batch,
        open_lines=await visit.deps.batches.open_lines(visit.caller, batch.batch_id),
        lines=lines,
        its_calls=calls_of(batch, visit.now),
        its_charges=calls_of(batch, visit.now, charged="1"),
        may_cancel=visit.may("editor") and batch.status in _CANCELLABLE,
        **await _words(visit),
    )


async def ask_cancel(visit: Visit) -> Response:
    """Say what cancelling a batch would leave unmade, and ask."""
    batch = await _find(visit)
    return visit.page(
        "batch_cancel.html",
        batch=batch,
        open_lines=await visit.deps.batches.open_lines(visit.caller, batch.batch_id),
        may_cancel=batch.status in _CANCELLABLE,
        **await _words(visit),
    )


async def cancel(visit: Visit) -> Response:
    """Make no more of a batch's calls, and write down who said so."""
    batch_id, deps, by = visit.request.path_params["batch_id"], visit.deps, visit.caller
    await deps.batches.cancel(
        by, batch_id, record=lambda connection: deps.audit.note_own(connection, by, "batch.cancel", batch_id)
    )
    return visit.go(f"/batches/{batch_id}")


async def _find(visit: Visit) -> Batch:
    return await visit.deps.batches.find(visit.caller, visit.request.path_params["batch_id"])


async def _words(visit: Visit) -> dict[str, Any]:
    return {
        "keys": await key_names(visit),
        "states": STATES,
        "call_states": CALL_STATES,
        "open_states": _OPEN,
        "why": why,
        "ended_at": ended_at,
    }


def _after(visit: Visit) -> str | None:
    after = visit.query.get("after") or None
    if after is not None and len(after) > _LONGEST_ID:
        raise InvalidRequest("`after` must be the id of a batch or call.", param="after")
    return after


def ended_at(batch: Batch) -> dt.datetime | None:
    """Return when a batch ended; ``None``: it has not."""
    match batch.status:
        case "completed":
            return batch.completed_at
        case "failed":
            return batch.failed_at
        case "cancelled":
            return batch.cancelled_at
        case "expired":
            return batch.finalizing_at or batch.expired_at
        case _:
            return None


def why(failed: FailedLine | LaterRow) -> str:
    """Say in a sentence why there is no good answer."""
    if failed.error is not None:
        return failed.error.message
    said = _said(failed.answer)
    if failed.http_status is None:
        return said
    return f"{failed.http_status}: {said}" if said else f"The answer was a {failed.http_status}."


def _said(answer: bytes | None) -> str:
    """Read what an answer of any wire says is wrong; nothing where it says it in no known way."""
    if answer is None:
        return ""
    try:
        body = msgspec.json.decode(answer, type=dict[str, msgspec.Raw])
        return msgspec.json.decode(body.get("error", b"{}"), type=_Said).message[:500]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


class _Said(msgspec.Struct):
    message: str = ""


def calls_of(batch: Batch, now: dt.datetime, **more: str) -> str:
    """Lead to the calls that were made for a batch's lines, all tries of them."""
    ends = {"since": batch.created_at, "until": (ended_at(batch) or now) + _SLACK}
    window = {name: at.isoformat().replace("+00:00", "Z") for name, at in ends.items()}
    return href("/traces", {"batch": batch.batch_id, **window, **more})


def _batch_example(base_url: str) -> str:
    return f"""from openai import OpenAI

client = OpenAI(base_url="{base_url}/v1", api_key="bs_…")
file = client.files.create(file=open("lines.jsonl", "rb"), purpose="batch")
client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")"""


def _call_example(base_url: str) -> str:
    return (
        f'curl {base_url}/v1/chat/completions \\\n  -H "authorization: Bearer $BACKSTAY_KEY" \\\n'
        '  -H "content-type: application/json" -H "x-backstay-async: true" \\\n'
        '  -d \'{"model": "local", "messages": [{"role": "user", "content": "Say hello in one word."}]}\''
    )
