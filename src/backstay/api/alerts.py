"""Owns alerts on Backstay's own API: what is open, who was told, who looks after it, and whether a channel works."""

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from backstay.access import AuditLog
from backstay.alerts import Alert
from backstay.alerts.book import AlertBook, Channels
from backstay.alerts.types import Delivery
from backstay.api.endpoint import Asked, Endpoint, Nothing, get, post
from backstay.core.errors import NotFound

D = TypeVar("D")


class AlertDeps(msgspec.Struct, frozen=True, kw_only=True):
    """What these endpoints use."""

    book: AlertBook
    channels: Channels
    audit: AuditLog


class AlertQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which alerts."""

    state: Literal["open", "resolved", "all"] = "open"
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    before: Annotated[str, Meta(max_length=64)] | None = None
    """Id of the last one seen: those before it follow."""


class AlertList(msgspec.Struct, frozen=True, kw_only=True):
    """Alerts, the newest first."""

    alerts: list[Alert]
    next: str | None
    """What to ask for as ``before`` for the rest; ``None``: there is no more."""


class AlertShown(msgspec.Struct, frozen=True, kw_only=True):
    """An alert, and who was told of it."""

    alert: Alert
    deliveries: list[Delivery]


class ChannelView(msgspec.Struct, frozen=True, kw_only=True):
    """Somewhere that the policy tells of alerts."""

    name: str
    kind: str


class ChannelList(msgspec.Struct, frozen=True, kw_only=True):
    """The policy's channels."""

    channels: list[ChannelView]


class ChannelTest(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a test message."""

    channel: str
    delivered: bool
    status: int | None
    """The receiver's, where it speaks HTTP and answered."""
    problem: str | None
    """In a sentence, why the receiver does not have it."""


async def list_alerts(deps: AlertDeps, asked: Asked[AlertQuery, Nothing]) -> AlertList:
    query = asked.query
    state = None if query.state == "all" else query.state
    found = await deps.book.list(asked.caller, state=state, before=query.before, limit=query.limit + 1)
    page = found[: query.limit]
    return AlertList(alerts=page, next=page[-1].id if len(found) > query.limit else None)


async def show_alert(deps: AlertDeps, asked: Asked[Nothing, Nothing]) -> AlertShown:
    alert, deliveries = await deps.book.find(asked.caller, asked.path("alert_id"))
    return AlertShown(alert=alert, deliveries=list(deliveries))


async def acknowledge_alert(deps: AlertDeps, asked: Asked[Nothing, Nothing]) -> AlertShown:
    alert_id, by = asked.path("alert_id"), asked.caller
    alert, deliveries = await deps.book.acknowledge(
        by, alert_id, lambda connection: deps.audit.note_own(connection, by, "alert.acknowledge", alert_id)
    )
    return AlertShown(alert=alert, deliveries=list(deliveries))


async def list_channels(deps: AlertDeps, asked: Asked[Nothing, Nothing]) -> ChannelList:
    found = deps.channels.list(asked.caller)
    return ChannelList(channels=[ChannelView(name=name, kind=kind) for name, kind in found])


async def test_channel(deps: AlertDeps, asked: Asked[Nothing, Nothing]) -> ChannelTest:
    name = asked.path("channel")
    posted = await deps.channels.test(asked.caller, name)
    return ChannelTest(channel=name, delivered=posted.problem is None, status=posted.status, problem=posted.problem)


ALERT_ENDPOINTS: tuple[Endpoint[AlertDeps, Any, Any], ...] = (
    get("/v1/alerts", "List alerts, the newest first", list_alerts, answer=AlertList, query=AlertQuery, right="admin"),
    get(
        "/v1/alerts/{alert_id}", "Show an alert, and who was told of it", show_alert,
        answer=AlertShown, query=Nothing, right="admin", errors=(NotFound,),
    ),
    post(
        "/v1/alerts/{alert_id}/acknowledge", "Say that somebody looks after an alert", acknowledge_alert,
        answer=AlertShown, body=Nothing, right="admin", errors=(NotFound,),
    ),
    get(
        "/v1/alert-channels", "List where the policy tells of alerts", list_channels,
        answer=ChannelList, query=Nothing, right="admin",
    ),
    post(
        "/v1/alert-channels/{channel}/test", "Send a test message now, and say what came of it", test_channel,
        answer=ChannelTest, body=Nothing, right="admin", errors=(NotFound,),
    ),
)  # fmt: skip
