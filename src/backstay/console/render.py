"""Owns the templates: the one Jinja environment, its filters, and the places of the navigation."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined

from backstay.console import format as write
from backstay.console.assets import Assets


class Place(NamedTuple):
    name: str
    path: str
    key: str
    role: str = "viewer"
    """The least role that may see it."""


NAVIGATION: tuple[tuple[str, tuple[Place, ...]], ...] = (
    (
        "",
        (
            Place("Overview", "/", "g o"),
            Place("Traces", "/traces", "g t"),
            Place("Costs", "/costs", "g c"),
            Place("Routes", "/routes", "g r"),
            Place("Models", "/models", "g m"),
            Place("Batches", "/batches", "g b"),
            Place("Collections", "/collections", "g d"),
            Place("Alerts", "/alerts", "g l"),
            Place("Budgets", "/budgets", "g u"),
        ),
    ),
    (
        "Settings",
        (
            Place("Keys", "/keys", "g k"),
            Place("People", "/people", "g p"),
            Place("Audit log", "/audit", "g a", "editor"),
        ),
    ),
)
"""Groups of pages. The first five are the bar at the bottom of narrow screens."""


class Renderer:
    """Turns a template and figures into a page. Everything is escaped; a missing name is an error, never a blank."""

    def __init__(self, assets: Assets):
        self._environment = Environment(
            loader=PackageLoader("backstay.console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        names: dict[str, Any] = {"asset": assets.url, "href": href}
        filters: dict[str, Any] = {
            "count": write.count,
            "compact": write.compact,
            "money": write.money,
            "exact_money": write.exact_money,
            "duration": write.duration,
            "age": write.age,
            "short": write.short,
            "browser": write.browser,
            "moment": write.moment,
            "clock": clock,
            "at": at,
        }
        # Jinja leaves the types of its own tables open.
        self._environment.globals.update(names)  # pyright: ignore[reportUnknownMemberType]
        self._environment.filters.update(filters)  # pyright: ignore[reportUnknownMemberType]

    def text(self, template: str, context: dict[str, Any]) -> str:
        """Fill a template in."""
        return self._environment.get_template(template).render(context)


def clock(at: datetime, shape: str) -> str:
    """Write an instant in UTC, for readers whose browser does not run the script; ``shape`` as in the script."""
    at = at.astimezone(UTC)
    match shape:
        case "clock":
            return f"{at:%H:%M:%S}"
        case "minute":
            return f"{at:%H:%M}"
        case "day":
            return f"{at.day} {at:%b}"
        case _:
            return f"{at.day} {at:%b}, {at:%H:%M}"


def at(moment_ns: int) -> datetime:
    """Read nanoseconds since the Unix epoch."""
    return datetime.fromtimestamp(moment_ns // 1_000_000_000, UTC) + timedelta(
        microseconds=moment_ns // 1_000 % 1_000_000
    )


def href(path: str, *queries: Mapping[str, str | None], **changes: str | None) -> str:
    """Write an address with those fields of its query that say something."""
    query: dict[str, str | None] = {}
    for one in (*queries, changes):
        query.update(one)
    encoded = urlencode({name: value for name, value in query.items() if value})
    return f"{path}?{encoded}" if encoded else path
