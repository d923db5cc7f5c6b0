"""Owns the nouns of alerts: what was found, by what it is known, and the alert that comes of it."""

import datetime as dt
from collections.abc import Mapping
from typing import Any, Literal, get_args

import msgspec

Kind = Literal[
    "budget_share",
    "unknown_price",
    "usage_over_reservation",
    "target_down",
    "anomaly",
    "forecast_over",
    "loop",
    "retrieval_drift",
]
"""``budget_share``: so much of a budget is spent. ``unknown_price``: usage that nobody can price.
``usage_over_reservation``: a call cost more than was reserved for it. ``target_down``: a target is left alone.
``anomaly``: spend is not as it was. ``forecast_over``: a budget will not last. ``loop``: one key makes nearly the same
call again and again. ``retrieval_drift``: a collection of documents is not asked, or does not answer, as it was."""

KINDS: tuple[Kind, ...] = get_args(Kind)

Severity = Literal["info", "warning", "critical"]

AlertState = Literal["open", "resolved"]

Event = Literal["raised", "resolved"]

DeliveryState = Literal["waiting", "delivered", "failed"]


class Key(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """By what an alert is known: of one key there is at most one open alert in a tenant."""

    kind: Kind
    subject: str
    """Whose, as scopes are written: ``budget:bud_…``, ``user:u1``, ``target:openai/gpt-4o``, ``tenant:acme``."""
    threshold: str = ""
    """Which of several bounds, as ``0.8``; empty where there is one."""
    window: str = ""
    """Which stretch of time, as ``2026-11-01T00:00:00Z``: in the next one, it is another alert. Empty: any."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a detector has found, as people are told of it."""

    key: Key
    severity: Severity
    title: str
    """One line, in plain text."""
    details: tuple[str, ...] = ()
    """Further lines, the most important first."""
    numbers: Mapping[str, str | int | float] = {}
    """What machines read: amounts are exact decimal strings of US dollars, under names that end with ``_usd``."""
    link: str = ""
    """The console's page about it, as ``/costs?by=user``."""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One message about an alert to one channel."""

    id: str
    """The same at each try, so that receivers can tell a repeat."""
    event: Event
    channel: str
    state: DeliveryState
    tries: int
    error: str | None
    due_at: dt.datetime | None
    """When it is tried next; ``None``: never again."""
    ended_at: dt.datetime | None


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert, as it is kept."""

    id: str
    kind: str
    subject: str
    threshold: str
    window: str
    severity: Severity
    title: str
    details: list[str]
    numbers: dict[str, Any]
    link: str
    state: AlertState
    raised_at: dt.datetime
    seen_at: dt.datetime
    """When it was last found to be so, to the minute."""
    resolved_at: dt.datetime | None
    resolution: str | None
    """Why it is not open any more."""
    acknowledged_at: dt.datetime | None
    acknowledged_by: str | None
