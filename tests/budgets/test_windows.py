"""Tests of windows: where days, weeks and months begin, in time zones that change their clocks."""

from datetime import UTC, datetime, timedelta

import pytest

from backstay.store import Database


async def bounds(database: Database, span: str, zone: str, at: str) -> tuple[str, timedelta]:
    async with database.system() as connection:
        cursor = await connection.execute(
            "select * from budget_span(%(span)s, %(zone)s, %(at)s::timestamptz)", {"span": span, "zone": zone, "at": at}
        )
        row = await cursor.fetchone()
    assert row is not None
    start = datetime.fromtimestamp(row["starts_us"] / 1e6, UTC)
    return start.strftime("%Y-%m-%d %H:%M"), timedelta(microseconds=row["ends_us"] - row["starts_us"])


@pytest.mark.parametrize(
    ("span", "zone", "at", "start", "hours"),
    [
        ("day", "UTC", "2026-02-28 23:59:59.999999+00", "2026-02-28 00:00", 24),
        ("month", "UTC", "2026-02-28 12:00+00", "2026-02-01 00:00", 28 * 24),
        ("month", "UTC", "2028-02-29 12:00+00", "2028-02-01 00:00", 29 * 24),
        ("month", "UTC", "2026-12-31 23:59+00", "2026-12-01 00:00", 31 * 24),
        ("week", "UTC", "2026-11-22 12:00+00", "2026-11-16 00:00", 7 * 24),
        ("day", "Europe/Berlin", "2026-03-29 12:00+02", "2026-03-28 23:00", 23),
        ("day", "Europe/Berlin", "2026-10-25 12:00+01", "2026-10-24 22:00", 25),
        ("month", "America/New_York", "2026-03-31 23:30-04", "2026-03-01 05:00", 31 * 24 - 1),
        ("day", "America/Sao_Paulo", "2018-11-04 12:00-02", "2018-11-04 03:00", 23),
        ("hour", "Asia/Kathmandu", "2026-11-24 12:10+00", "2026-11-24 12:00", 1),
        ("hour", "Europe/Berlin", "2026-10-25 00:30+00", "2026-10-25 00:00", 1),
        ("hour", "Europe/Berlin", "2026-10-25 01:30+00", "2026-10-25 01:00", 1),
    ],
)
async def test_windows_follow_the_clocks_of_their_zone(
    database: Database, span: str, zone: str, at: str, start: str, hours: int
):
    """A day of 23 or 25 hours, a month without a 31st, a midnight that does not exist."""
    assert await bounds(database, span, zone, at) == (start, timedelta(hours=hours))
