"""Owns the list of traces: which calls were there, narrowed by what is asked for."""

from collections.abc import Mapping

from starlette.responses import Response

from backstay.console.names import key_names
from backstay.console.render import href
from backstay.console.visit import Visit
from backstay.console.window import RANGES, Window, read_window
from backstay.core.errors import InvalidRequest
from backstay.tracing import CallFilter

STATUSES = ("ok", "error", "cancelled", "interrupted")
FIELDS = ("q", "model", "target", "tried", "tried_failed", "feature", "user", "tag", "key", "status")
"""Fields of an address that narrow the list."""

_PAGE = 50


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
        ranges=list(RANGES),
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
        InvalidRequest: A status is not one.
    """
    status = query.get("status") or None
    if status is not None and status not in STATUSES:
        raise InvalidRequest(f"There is no status {status!r}. Choose one of {', '.join(STATUSES)}.", param="status")
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
        status=status,
        q=query.get("q") or None,
    )
