"""What is out of the ordinary in a tenant's spend, and what of it changed, on sums in a real Postgres."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from backstay.core.errors import InvalidRequest
from backstay.ledger.anomalies import Anomalies
from backstay.ledger.anomaly import AnomalyConfig
from backstay.store import Database

_END = datetime(2026, 11, 20, tzinfo=UTC)
_HOURS = 8 * 168
_CENT = 10_000_000


class _Books:
    """Writes sums by hour as the ledger's triggers do, without the million entries that they would be of."""

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []

    def add(self, hour: int, calls: int, cost: float, *, user: str, feature: str, model: str, key: str, **more: int):
        """Add what one group came to in an hour, counted back from the end."""
        at = _END - hour * timedelta(hours=1)
        for kind, name in (("all", None), ("user", user)):
            tokens = (more.get("input", 1000 * calls), more.get("output", 100 * calls))
            self.rows.append(("acme", kind, at, name, model, feature, key, calls, *tokens, round(cost)))

    async def write(self, database: Database) -> None:
        async with database.system() as connection:
            await connection.execute(
                "create temporary table given (tenant_id text, kind text, at timestamptz, name text, model text,"
                " feature text, key_id text, calls bigint, input bigint, output bigint, cost bigint) on commit drop"
            )
            async with connection.cursor().copy("copy given from stdin") as copy:
                for row in self.rows:
                    await copy.write_row(row)
            await connection.execute(
                "insert into cost_rollups select tenant_id, kind, 3600, at, name, model, 'acme/' || model, feature,"
                " key_id, sum(calls), sum(calls), 0, 0, 0, 0, sum(input), sum(output), sum(cost) from given"
                " group by tenant_id, kind, at, name, model, feature, key_id"
            )


def _usual(hours: Iterable[int]) -> _Books:
    """Two features over eight weeks: a chat that follows the day, and summaries all day long."""
    books, random = _Books(), np.random.default_rng(5)
    for hour in hours:
        at = _END - hour * timedelta(hours=1)
        day = 0.4 + 0.6 * math.exp(-(((at.hour - 14) / 5) ** 2))
        calls = round(400 * day * math.exp(random.normal(0, 0.1)))
        books.add(hour, calls, calls * 2 * _CENT, user="u1", feature="chat", model="fast", key="key_a")
        calls = round(50 * math.exp(random.normal(0, 0.1)))
        books.add(hour, calls, calls * 4 * _CENT, user="u2", feature="summary", model="large", key="key_b")
    return books


async def _find(database: Database, **more: Any):
    window: dict[str, Any] = {"since": _END - timedelta(days=7), "until": _END, **more}
    return await Anomalies(database).find("acme", AnomalyConfig(), **window)


async def test_usual_traffic_has_no_anomaly(database: Database, tenant: str):
    """In a week of all scopes."""
    await _usual(range(1, _HOURS + 1)).write(database)
    assert await _find(database) == []


async def test_a_spike_is_found_once_and_explained(database: Database, tenant: str):
    """A user whose summaries became ten times as many and twice as long: tenant, key, feature and model are one."""
    books = _usual(range(1, _HOURS + 1))
    for hour in (30, 29):
        books.add(
            hour, 450, 450 * 8 * _CENT, user="u9", feature="summary", model="large", key="key_b", input=900_000
        )  # fmt: skip
    await books.write(database)
    (found,) = await _find(database)
    assert (found.since, found.until) == (_END - timedelta(hours=30), _END - timedelta(hours=28))
    assert (found.scope, found.name) in [("key", "key_b"), ("feature", "summary"), ("model", "large")]
    assert {scope for scope, _ in found.also} | {found.scope} == {"tenant", "key", "feature", "model"}
    assert found.cost_nanousd == pytest.approx(2 * (450 * 8 + 50 * 4) * _CENT, rel=0.1)
    assert found.usual_nanousd == pytest.approx(2 * 50 * 4 * _CENT, rel=0.1)
    more, dearer = found.split()
    assert more + dearer == found.excess_nanousd
    assert more > dearer > 0
    users = [part for part in found.parts if part.dimension == "user"]
    assert (users[0].name, users[0].usual.calls) == ("u9", 0)
    assert users[0].excess_nanousd == 2 * 450 * 8 * _CENT
    assert "user u9 (+$72.00" in found.describe()
    assert "in 2 hours from 2026-11-18 18:00 UTC" in found.describe()


async def test_dearer_calls_are_told_from_more_calls(database: Database, tenant: str):
    """As many calls as usual with five times the tokens: nearly all of the excess is cost a call."""
    books = _usual(hour for hour in range(1, _HOURS + 1) if hour != 10)
    books.add(10, 50, 50 * 30 * _CENT, user="u2", feature="summary", model="large", key="key_b", input=400_000)
    books.add(10, 300, 300 * 2 * _CENT, user="u1", feature="chat", model="fast", key="key_a")
    await books.write(database)
    (found,) = await _find(database)
    more, dearer = found.split()
    assert abs(more) < 0.2 * found.excess_nanousd < 0.8 * found.excess_nanousd < dearer
    assert found.found.each(found.found.input_tokens) == 8000


async def test_the_hour_that_runs_counts(database: Database, tenant: str):
    """What it came to so far is enough, once it is more than a whole hour's usual."""
    books = _usual(range(1, _HOURS + 1))
    books.add(0, 5000, 5000 * 2 * _CENT, user="u1", feature="chat", model="fast", key="key_a")
    await books.write(database)
    found = await _find(database, since=_END, until=_END + timedelta(minutes=5))
    assert [each.since for each in found] == [_END]


async def test_scopes_of_one_dimension_are_apart(database: Database, tenant: str):
    """Two keys that run away at different times are two findings; another tenant's and a foreign key's are none."""
    books = _usual(range(1, _HOURS + 1))
    books.add(100, 9000, 9000 * 2 * _CENT, user="u1", feature="chat", model="fast", key="key_a")
    books.add(20, 900, 900 * 4 * _CENT, user="u2", feature="summary", model="large", key="key_b")
    await books.write(database)
    assert {each.since for each in await _find(database)} == {_END - timedelta(hours=hour) for hour in (100, 20)}
    (own,) = await _find(database, key_id="key_b")
    assert own.since == _END - timedelta(hours=20)
    other = Anomalies(database).find("default", AnomalyConfig(), since=_END - timedelta(days=7), until=_END)
    assert await other == []


async def test_a_thousand_keys_are_judged_in_three_queries(
    database: Database, tenant: str, monkeypatch: pytest.MonkeyPatch
):
    """Not in one a key; and the one key that ran away is found among them."""
    books = _Books()
    calendar = [1, *(1 + 168 * week + beside for week in range(1, 8) for beside in (-1, 0, 1))]
    for hour in calendar:
        for key in range(1000):
            calls = 4000 if (key, hour) == (777, 1) else 100
            books.add(hour, calls, calls * 2 * _CENT, user="u", feature="f", model="m", key=f"key_{key}")
    await books.write(database)
    queries: list[str] = []
    anomalies = Anomalies(database)
    run = anomalies._run  # pyright: ignore[reportPrivateUsage]

    async def counted(query: Any, *rest: Any) -> list[dict[str, Any]]:
        queries.append(query)
        return await run(query, *rest)

    monkeypatch.setattr(anomalies, "_run", counted)
    found = await anomalies.find("acme", AnomalyConfig(), since=_END - timedelta(hours=1), until=_END)
    assert [(each.scope, each.name) for each in found] == [("key", "key_777")]
    assert len(queries) == 3


async def test_times_are_checked(database: Database, tenant: str):
    """Too long is refused; of none there is nothing to find."""
    assert await _find(database, since=_END + timedelta(days=1)) == []
    with pytest.raises(InvalidRequest):
        await _find(database, since=_END - timedelta(days=40))
