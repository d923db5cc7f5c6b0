"""Owns the pages of alerts: what needs a look, who looks after it, and was everybody told?"""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from backstay.alerts import Alert
from backstay.console.visit import Visit
from backstay.core.errors import InvalidRequest

_PAGE = 50
_MOST_OPEN = 200
_LONGEST_ID = 100

SEVERITIES: Mapping[str, tuple[str, str]] = {
    "critical": ("critical", "wrong"),
    "warning": ("warning", "waiting"),
    "info": ("notice", ""),
}
"""How grave an alert is, in words, and their tone."""

DELIVERY_STATES: Mapping[str, tuple[str, str]] = {
    "waiting": ("not yet", "waiting"),
    "delivered": ("told", "right"),
    "failed": ("given up", "wrong"),
}

_EXAMPLE = """[alert_channels.ops]
kind = "slack"
url = "env:SLACK_WEBHOOK_URL"

[alerts.money]
budget_share = [0.5, 0.8, 1.0]
on = ["unknown_price", "usage_over_reservation", "target_down"]
channels = ["ops"]"""


async def show(visit: Visit) -> Response:
    """List what is open, the gravest first, and below it what is over, the newest first."""
    book, before = visit.deps.alerts, visit.query.get("before") or None
    if before is not None and len(before) > _LONGEST_ID:
        raise InvalidRequest("`before` must be the id of an alert.", param="before")
    open_ones = await book.list(visit.caller, state="open", limit=_MOST_OPEN)
    over = await book.list(visit.caller, state="resolved", before=before, limit=_PAGE + 1)
    return visit.page(
        "alerts.html",
        alerts=sorted(open_ones, key=_rank),
        over=over[:_PAGE],
        older=visit.link(before=over[_PAGE - 1].id) if len(over) > _PAGE else None,
        newest=visit.link(before=None) if before else None,
        example=_EXAMPLE,
        **_words(),
    )


async def one(visit: Visit) -> Response:
    """Show one alert: what was found, and who was told."""
    alert, deliveries = await visit.deps.alerts.find(visit.caller, visit.request.path_params["alert_id"])
    return visit.page(
        "alert.html",
        alert=alert,
        deliveries=deliveries,
        may_acknowledge=visit.may("editor") and alert.state == "open" and alert.acknowledged_at is None,
        **_words(),
    )


async def acknowledge(visit: Visit) -> Response:
    """Say that this person looks after an alert."""
    alert_id, deps, by = visit.request.path_params["alert_id"], visit.deps, visit.caller
    await deps.alerts.acknowledge(
        by, alert_id, lambda connection: deps.audit.note_own(connection, by, "alert.acknowledge", alert_id)
    )
    return visit.go(f"/alerts/{alert_id}")


def _rank(alert: Alert) -> tuple[bool, int]:
    """Nobody's first, then the gravest; the newest first among equals, as they came."""
    return alert.acknowledged_at is not None, list(SEVERITIES).index(alert.severity)


def _words() -> dict[str, Any]:
    return {"severities": SEVERITIES, "delivery_states": DELIVERY_STATES}
