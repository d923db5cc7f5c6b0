"""Owns the list of traces: which calls were there, narrowed by what is asked for."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from starlette.responses import Response

from backstay.console.names import key_names
from backstay.console.render import href
from backstay.console.visit import Visit
from backstay.console.window import RANGES, RECENT, Window, read_window
from backstay.core.errors import InvalidRequest
from backstay.tracing import CallFilter, SpanStatus
from backstay.tracing.views import LABELS

STATUSES: tuple[SpanStatus, ...] = ("ok", "error", "cancelled", "interrupted")
FAILED = "error,interrupted"
"""The statuses that pages count as errors."""
NOT_ERRORS = "ok,cancelled,interrupted"
"""Those of calls that a model's figures count by the model asked for, though no target was reached."""
FIELDS = (
    "q", "model", "target", "tried", "tried_failed", "feature", "user", "tag", "key", "batch", "status", "without",
    "charged", "charged_by", "unused",
)  # fmt: skip
"""Fields of an address that narrow the list."""

_PAGE = 50

_Name = TypeVar("_Name", bound=str)


async def show(visit: Visit) -> Response:
    """List calls, the newest first, fifty a page."""
    window = read_window(visit.query, visit.now)
    wanted = read_filter(visit.query, window)
    live = visit.query.get("live") == "1"
    page = await visit.deps.traces.list_calls(
        visit.tenant_id, wanted, limit=_PAGE, before=visit.query.get("before") or None
    )
    chosen = {name: visit.query.get(name, "") for name in FIELDS}
    kept = {name: value for name, value in chosen.items() if value}
    return visit.page(
        "traces.html",
        window=window,
        ranges=list(RANGES) if window.name in RANGES else [RECENT, *RANGES],
        calls=page.calls,
        chosen=chosen,
        kept=kept,
        facets=await visit.deps.traces.facets(visit.tenant_id),
        keys=await key_names(visit),
        statuses=STATUSES,
        live=href("/traces/tail", kept) if live else None,
        older=visit.link(before=page.next, live=None) if page.next else None,
        newest=visit.link(before=None) if visit.query.get("before") else None,
    )


def read_filter(query: Mapping[str, str], window: Window | None) -> CallFilter:
    """Read from an address which calls are wanted; without a window, of any time.

    Raises:
        InvalidRequest: A status is not one, or calls cannot be without what is named.
    """
    statuses = _read_names(query, "status", STATUSES)
    return CallFilter(
        since=window.since if window else None,
        until=window.until if window else None,
        model=query.get("model") or None,
        target=query.get("target") or None,
        tried=query.get("tried") or None,
        tried_failed=query.get("tried_failed") == "1",
        user=query.get("user") or None,
        feature=query.get("feature") or None,
        tag=query.get("tag") or None,
        key_id=query.get("key") or None,
        batch_id=query.get("batch") or None,
        status=statuses[0] if len(statuses) == 1 else None,
        statuses=statuses if len(statuses) > 1 else None,
        without=_read_names(query, "without", LABELS),
        charged=any(query.get(name) for name in ("charged", "charged_by", "unused")),
        charged_by=query.get("charged_by") or None,
        unused=query.get("unused") or None,
        q=query.get("q") or None,
    )


def rows_link(window: Window, names: Mapping[str, str | None], **more: str | None) -> str:
    """Lead to just the calls that a window's figure counts, by what they name; empty: by that they name nothing."""
    bare = ",".join(name for name, value in names.items() if value == "")
    return href("/traces", {**window.rows, **names, "without": bare, **more})


def _read_names(query: Mapping[str, str], field: str, known: Sequence[_Name]) -> tuple[_Name, ...]:
    """Read a list of names with commas between them."""
    text = query.get(field) or ""
    found = tuple(name for name in known if name in text.split(","))
    if text and len(found) != text.count(",") + 1:
        raise InvalidRequest(f"There is no {field} {text!r}. Choose from {', '.join(known)}.", param=field)
    return found
