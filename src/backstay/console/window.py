"""Owns the time range of a page: what an address says of it, and how plots divide it. Pure."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from backstay.core.errors import InvalidRequest
from backstay.store.grains import floor

RANGES: dict[str, tuple[timedelta, timedelta]] = {
    "1h": (timedelta(hours=1), timedelta(minutes=2)),
    "24h": (timedelta(hours=24), timedelta(hours=1)),
    "7d": (timedelta(days=7), timedelta(hours=6)),
    "30d": (timedelta(days=30), timedelta(days=1)),
}
"""Names of the ranges that pages offer, with their length and the length of one bucket of a plot."""

RECENT = "5m"
"""The range that figures of targets' health are of."""

_BEFORE = {"1h": "the hour before", "24h": "the day before", "7d": "the week before", "30d": "the 30 days before"}
_BUCKETS = tuple(timedelta(seconds=s) for s in (1, 5, 15, 60, 120, 300, 900, 3600, 21_600, 86_400, 604_800))
_MOST_BUCKETS = 48
_LONGEST = timedelta(days=366)


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A span of time, from ``since`` up to but not including ``until``, both UTC."""

    name: str
    """One of ``RANGES``, or empty for a span of its own."""
    since: datetime
    until: datetime
    bucket: timedelta
    asked_at: datetime
    """When the page was asked for: what it counts is of before that."""

    @property
    def origin(self) -> datetime:
        """When the first bucket begins: at a multiple of its length, perhaps before the span does."""
        return floor(self.since, self.bucket)

    @property
    def buckets(self) -> int:
        return math.ceil((self.until - self.origin) / self.bucket)

    @property
    def starts(self) -> list[datetime]:
        """When each bucket begins."""
        return [self.origin + index * self.bucket for index in range(self.buckets)]

    @property
    def before(self) -> str:
        """What the span of the same length just before it is called."""
        return _BEFORE.get(self.name, "the same time before")

    @property
    def query(self) -> dict[str, str]:
        """The part of an address that leads to this window again."""
        return {"range": self.name} if self.name else {"since": _written(self.since), "until": _written(self.until)}

    @property
    def rows(self) -> dict[str, str]:
        """The part of an address that leads to just the calls that are counted here, however late it is followed."""
        until = min(self.until, self.asked_at) if self.asked_at > self.since else self.until
        return {"since": _written(self.since), "until": _written(until)}

    @property
    def time_shape(self) -> str:
        """How plots write the beginning of a bucket: time of day, or day."""
        return "minute" if self.until - self.since <= timedelta(hours=36) else "day"

    def bucket_query(self, start: datetime) -> dict[str, str]:
        """The part of an address that leads to one bucket, as far as it lies in the span."""
        since, until = max(start, self.since), min(start + self.bucket, self.until)
        return {"since": _written(since), "until": _written(until)}


def read_window(query: Mapping[str, str], now: datetime, default: str = "24h") -> Window:
    """Read ``range``, or ``since`` and ``until`` (RFC 3339), from an address.

    Raises:
        InvalidRequest: A time cannot be read, or they are in the wrong order.
    """
    if query.get("since"):
        return _own_window(query, now)
    name = query.get("range") or default
    if name not in RANGES and name != RECENT:
        raise InvalidRequest(f"There is no range {name!r}. Choose one of {', '.join(RANGES)}.", param="range")
    length, bucket = RANGES.get(name, (timedelta(minutes=5), timedelta(seconds=15)))
    until = now if name == RECENT else _round_up(now, bucket)
    return Window(name=name, since=until - length, until=until, bucket=bucket, asked_at=now)


def span_of(since: datetime, until: datetime) -> Window:
    """Return a span of its own that is just over."""
    bucket = next((size for size in _BUCKETS if (until - since) / size <= _MOST_BUCKETS), _BUCKETS[-1])
    return Window(name="", since=since, until=until, bucket=bucket, asked_at=until)


def _own_window(query: Mapping[str, str], now: datetime) -> Window:
    since = _read_time(query["since"], "since")
    until = _read_time(query["until"], "until") if query.get("until") else now
    if not since < until <= since + _LONGEST:
        raise InvalidRequest("`until` must be after `since`, by a year at most.", param="until")
    return msgspec.structs.replace(span_of(since, until), asked_at=now)


def _read_time(text: str, name: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is None:
            raise ValueError("no time zone")
        at = at.astimezone(UTC)
        if not 1970 <= at.year < 9000:
            raise ValueError("no time of a call")
        return at
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f"`{name}` must be a time such as 2026-05-01T00:00:00Z.", param=name) from error


def _round_up(at: datetime, size: timedelta) -> datetime:
    return floor(at - timedelta.resolution, size) + size


def _written(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
