"""What a month will have cost at its end, and when an amount will be spent, from sums in a real Postgres."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from backstay.core.money import NanoUSD
from backstay.ledger.forecasts import Forecasts, Scope, month_of, spent_at
from backstay.store import Database

_NOW = datetime(2026, 11, 16, 12, tzinfo=UTC)
"""A Monday noon: fourteen and a half days are left of the month."""
_USD = 1_000_000_000


async def _write(database: Database, days: int, dollars: Callable[[datetime], int], **of: str) -> None:
    """Write sums by day, up to yesterday and half of today."""
    async with database.system() as connection:
        for back in range(days + 1):
            at = (_NOW - timedelta(days=back)).replace(hour=0)
            cost = dollars(at) * _USD // (1 if back else 2)
            for kind, name in (("all", None), ("user", of.get("user", "u1")), ("tag", of.get("tag"))):
                row = (
                    "acme",
                    kind,
                    at,
                    name,
                    of.get("model", "fast"),
                    of.get("feature", "chat"),
                    of.get("key", "key_a"),
                )
                await connection.execute(
                    "insert into cost_rollups values (%s, %s, 86400, %s, %s, %s, 'acme/gpt', %s, %s,"
                    " 1, 1, 0, 0, 0, 0, 10, 10, %s)",
                    (*row, cost),
                )
                if kind == "user":
                    await connection.execute(
                        "insert into user_days as sums values ('acme', %s, %s, 1, 0, 0, 0, 10, 10, %s)"
                        " on conflict (tenant_id, at, name) do update"
                        " set cost_nanousd = sums.cost_nanousd + excluded.cost_nanousd",
                        (at, name, cost),
                    )


def _weekly(at: datetime) -> int:
    return 10 if at.weekday() < 5 else 1


async def test_a_month_is_forecast_by_its_weekdays(database: Database, tenant: str):
    """November 2026 from the 16th on: eleven weekdays, of which half a one is over, and four days of weekends."""
    await _write(database, 100, _weekly)
    total, rows = await Forecasts(database).month("acme", _NOW)
    assert rows == []
    spent = 10 * 10 + 5 * 1 + 5
    assert total.spent_nanousd == spent * _USD
    assert total.expected_nanousd == pytest.approx((spent + 10 * 10 + 5 + 4) * _USD)
    assert total.low_nanousd is not None and total.high_nanousd is not None
    assert total.low_nanousd == total.high_nanousd == total.expected_nanousd, "what never varied is certain"
    assert [round(day / _USD) for _, day in total.daily[:7]] == [5, 10, 10, 10, 10, 1, 1]
    assert total.daily[0][0] == _NOW.replace(hour=0)


async def test_parts_are_forecast_by_themselves(database: Database, tenant: str):
    """The dearest feature first; one that began yesterday has no forecast yet."""
    await _write(database, 60, _weekly, feature="chat")
    await _write(database, 1, lambda at: 100, feature="new", user="u2")
    total, rows = await Forecasts(database).month("acme", _NOW, by="feature")
    assert [row.name for row in rows] == ["chat", "new"]
    assert rows[1].expected_nanousd is None
    assert rows[1].spent_nanousd == 150 * _USD
    assert total.expected_nanousd is not None and rows[0].expected_nanousd is not None
    assert total.expected_nanousd > rows[0].expected_nanousd
    _, users = await Forecasts(database).month("acme", _NOW, by="user")
    assert {row.name for row in users} == {"u1", "u2"}
    own, _ = await Forecasts(database).month("acme", _NOW, key_id="key_z")
    assert (own.spent_nanousd, own.expected_nanousd) == (0, None)


async def test_scopes_are_read_at_once(database: Database, tenant: str):
    """Each has the days of the calls that fit all of it."""
    await _write(database, 10, _weekly, feature="chat", user="u1", tag="a")
    await _write(database, 5, lambda at: 3, feature="other", user="u1", tag="b")
    scopes = [Scope(user="u1"), Scope(user="u1", feature="other"), Scope(tag="a"), Scope(key="none"), Scope()]
    found = await Forecasts(database).histories("acme", scopes, _NOW)
    assert [len(each.days) for each in found] == [10, 5, 10, 0, 10]
    assert [each.days[-1] / _USD for each in found if each.days] == [4, 3, 1, 4]
    assert not Scope(user="u", tag="t").is_added_up


async def test_an_amount_is_spent_on_a_day(database: Database, tenant: str):
    """25 dollars from Monday noon: 5 today, 10 tomorrow, 10 the day after. Nothing is said of what is never spent."""
    await _write(database, 60, _weekly)
    (history,) = await Forecasts(database).histories("acme", [Scope()], _NOW)
    assert spent_at(history, NanoUSD(25 * _USD), _NOW) == datetime(2026, 11, 19, tzinfo=UTC)
    at_once = spent_at(history, NanoUSD(5 * _USD // 2), _NOW)
    assert at_once == _NOW + timedelta(hours=6)
    assert spent_at(history, NanoUSD(10**6 * _USD), _NOW) is None


def test_months_end_where_they_do() -> None:
    """Also December and February."""
    for month, following in (
        (datetime(2026, 12, 31, tzinfo=UTC), (2027, 1)),
        (datetime(2027, 2, 1, tzinfo=UTC), (2027, 3)),
    ):
        starts, ends = month_of(month)
        assert (starts.day, ends.day, (ends.year, ends.month)) == (1, 1, following)
