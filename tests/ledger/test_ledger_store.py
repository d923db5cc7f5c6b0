"""The ledger in Postgres: entries arrive once, reports add up, and nobody sees another tenant's."""

import os
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backstay.core.errors import InvalidRequest
from backstay.core.ids import new_span_id, new_trace_id
from backstay.core.money import NanoUSD
from backstay.ledger import MERGE_ENTRIES, Books, CostLine, CostRow, Dimension, LedgerEntry, LedgerStore
from backstay.ledger.proof import Proof
from backstay.ledger.views import SpendPoint
from backstay.store import Database
from backstay.store.backlog import Entry
from backstay.store.shipment import Shipment
from backstay.tracing import MERGE_SPANS, Span

DAY = datetime(2026, 11, 20, tzinfo=UTC)
WEEK: dict[str, Any] = {"since": DAY - timedelta(days=3), "until": DAY + timedelta(days=4)}

Ship = Callable[..., Awaitable[None]]


@pytest.fixture
def ship(database: Database, tmp_path: Path) -> Ship:
    """Ships the spans and entries of one call as a worker does."""
    shipment = Shipment(database, [MERGE_SPANS, MERGE_ENTRIES], tmp_path / "rejected")

    async def ship(tenant_id: str, entries: Sequence[LedgerEntry], spans: Sequence[Span] = ()) -> None:
        document = {"tenant_id": tenant_id, "spans": spans, "entries": entries}
        await shipment.ship([Entry.of(os.urandom(8), (msgspec.json.encode(document), b"", b""))])
        assert shipment.rejected == 0

    return ship


@pytest.fixture
def ledger(database: Database) -> LedgerStore:
    return LedgerStore(database)


def _ns(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1_000


def _entry(
    cost: int | None, *, at: datetime = DAY, call: str | None = None, attempt: int = 0, **more: Any
) -> LedgerEntry:
    fields: dict[str, Any] = {"model": "fast", "target": "acme/gpt", "input_tokens": 10, "output_tokens": 1, **more}
    return LedgerEntry(
        call_id=call or new_span_id(),
        attempt=attempt,
        at_ns=_ns(at),
        trace_id=new_trace_id(),
        cost_nanousd=None if cost is None else NanoUSD(cost),
        **fields,
    )


async def _rows(ledger: LedgerStore, *by: Dimension, **more: Any) -> list[tuple[Any, ...]]:
    """Report as tuples: the dimensions in order, then calls, cost, and calls of unknown cost."""
    rows = await ledger.costs("acme", by=by, **{**WEEK, **more})
    return [
        (*(getattr(row, dimension) for dimension in by), row.calls, row.cost_nanousd, row.unknown_cost_calls)
        for row in rows
    ]


async def test_an_entry_is_stored_whole(database: Database, ship: Ship, tenant: str):
    """Every field of an entry has its column, defaults included, and its time is exact to the microsecond."""
    line = CostLine(unit="input_mtok", quantity=10, usd_per_million="0.15", amount_nanousd=NanoUSD(1_500))
    full = _entry(
        1_500,
        at=DAY + timedelta(microseconds=123_457),
        attempt=2,
        key_id="key_1",
        user_id="jo",
        feature="search",
        tags=("a", "b"),
        estimated=True,
        unconfirmed=True,
        price_source="backstay.toml",
        lines=(line,),
        unused="retry",
    )
    bare = _entry(None, at=DAY + timedelta(seconds=1), input_tokens=None, output_tokens=None)
    await ship(tenant, [full, bare])
    async with database.tenant(tenant) as connection:
        cursor = await connection.execute("select * from ledger_entries order by at")
        first, second = await cursor.fetchall()
    assert first["at"] == DAY + timedelta(microseconds=123_457)
    expected = msgspec.json.decode(msgspec.json.encode(full)) | {"tenant_id": tenant, "at": first["at"]}
    del expected["at_ns"]
    assert first == expected
    defaults: dict[str, Any] = {
        "cost_nanousd": None,
        "input_tokens": None,
        "tags": [],
        "estimated": False,
        "lines": [],
        "key_id": None,
    }
    assert {name: second[name] for name in defaults} == defaults


async def test_an_entry_that_comes_twice_counts_once(ledger: LedgerStore, ship: Ship, tenant: str):
    """Shipping the same call again changes nothing."""
    entry = _entry(500)
    await ship(tenant, [entry])
    await ship(tenant, [entry])
    assert await _rows(ledger) == [(1, 500, 0)]


async def test_costs_add_up_by_each_dimension(ledger: LedgerStore, ship: Ship, tenant: str):
    """Groups are sums of their calls, the most expensive first; calls without a value stand as None."""
    await ship(
        tenant,
        [
            _entry(300, user_id="jo", feature="search", model="fast", key_id="key_1"),
            _entry(200, user_id="jo", feature="chat", model="smart", key_id="key_1"),
            _entry(50, user_id=None, feature="chat", model="fast", key_id="key_2", at=DAY + timedelta(hours=25)),
        ],
    )
    assert await _rows(ledger, "user") == [("jo", 2, 500, 0), (None, 1, 50, 0)]
    assert await _rows(ledger, "feature", "model") == [
        ("search", "fast", 1, 300, 0),
        ("chat", "smart", 1, 200, 0),
        ("chat", "fast", 1, 50, 0),
    ]
    assert await _rows(ledger, "key") == [("key_1", 2, 500, 0), ("key_2", 1, 50, 0)]
    assert await _rows(ledger, "target") == [("acme/gpt", 3, 550, 0)]
    assert await _rows(ledger, "day") == [(DAY, 2, 500, 0), (DAY + timedelta(days=1), 1, 50, 0)]
    assert await _rows(ledger, "hour") == [(DAY, 2, 500, 0), (DAY + timedelta(hours=25), 1, 50, 0)]
    assert await _rows(ledger, "user", key_id="key_2") == [(None, 1, 50, 0)]


async def test_tokens_are_added_up(ledger: LedgerStore, ship: Ship, tenant: str):
    """A row has the sums of its tokens; entries that know none add none."""
    await ship(tenant, [_entry(1), _entry(1, input_tokens=None, output_tokens=7)])
    (row,) = await ledger.costs(tenant, by=["model"], **WEEK)
    assert row == CostRow(
        model="fast", calls=2, input_tokens=10, output_tokens=8, cost_nanousd=NanoUSD(2), unknown_cost_calls=0
    )


async def test_attempts_of_one_call_are_one_call(ledger: LedgerStore, ship: Ship, tenant: str):
    """Two billed attempts count once, also where one of them is unknown; by target each counts where it went."""
    await ship(
        tenant,
        [
            _entry(100, call="00000000000000aa", attempt=0, target="acme/gpt"),
            _entry(None, call="00000000000000aa", attempt=1, target="other/gpt"),
        ],
    )
    assert await _rows(ledger, "model") == [("fast", 1, 100, 1)]
    assert await _rows(ledger, "target") == [("acme/gpt", 1, 100, 0), ("other/gpt", 1, 0, 1)]
    (point,) = await ledger.spend(tenant, step=timedelta(days=1), **WEEK)
    assert (point.calls, point.cost_nanousd) == (1, 100)
    assert [point.calls for point in await ledger.spend(tenant, step=timedelta(days=1), by="target", **WEEK)] == [1, 1]


async def test_a_call_of_which_nothing_is_known_is_one_of_unknown_cost(ledger: LedgerStore, ship: Ship, tenant: str):
    """Two attempts of unknown cost are one call of unknown cost."""
    call = new_span_id()
    await ship(tenant, [_entry(None, call=call), _entry(None, call=call, attempt=1), _entry(5, call=call, attempt=2)])
    assert await _rows(ledger) == [(1, 5, 1)]


async def test_a_traces_entries_are_read_back_whole(ledger: LedgerStore, ship: Ship, tenant: str):
    """Every attempt of a trace's calls comes with its lines, the earliest first; a key's reader gets its own."""
    line = CostLine(unit="input_mtok", quantity=10, usd_per_million="0.15", amount_nanousd=NanoUSD(1_500))
    first = _entry(1_500, lines=(line,), key_id="key_1", tags=("a",), price_source="backstay.toml")
    second = msgspec.structs.replace(first, attempt=1, cost_nanousd=None, lines=(), target="other/gpt")
    foreign = msgspec.structs.replace(first, call_id=new_span_id(), key_id="key_2", at_ns=first.at_ns + 1_000)
    await ship(tenant, [second, foreign, first])
    assert await ledger.entries(tenant, first.trace_id) == [first, second, foreign]
    assert await ledger.entries(tenant, first.trace_id, key_id="key_1") == [first, second]
    assert await ledger.entries("default", first.trace_id) == []


async def test_a_call_counts_under_each_of_its_tags(ledger: LedgerStore, ship: Ship, tenant: str):
    """By tag, a call with two tags stands in both rows, and the total still counts it once."""
    await ship(tenant, [_entry(100, tags=("blue", "green")), _entry(10, tags=("blue",)), _entry(1)])
    assert await _rows(ledger, "tag") == [("blue", 2, 110, 0), ("green", 1, 100, 0), (None, 1, 1, 0)]
    assert await _rows(ledger) == [(3, 111, 0)]


async def test_a_report_begins_at_since_and_ends_before_until(ledger: LedgerStore, ship: Ship, tenant: str):
    """``since`` is included and ``until`` is not; nothing in between is a row of zeros."""
    await ship(tenant, [_entry(1, at=DAY), _entry(2, at=DAY + timedelta(hours=1))])
    assert await _rows(ledger, since=DAY, until=DAY + timedelta(hours=1)) == [(1, 1, 0)]
    assert await _rows(ledger, since=DAY - timedelta(hours=1), until=DAY) == [(0, 0, 0)]
    assert await _rows(ledger, "model", since=DAY - timedelta(hours=1), until=DAY) == []


async def test_an_unknown_dimension_is_refused(ledger: LedgerStore):
    """The error says which dimensions there are."""
    with pytest.raises(InvalidRequest, match="user, feature, model"):
        await ledger.costs("acme", by=["planet"], **WEEK)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InvalidRequest, match="split by 'day'"):
        await ledger.spend("acme", by="day", step=timedelta(minutes=1), **WEEK)
    with pytest.raises(InvalidRequest, match="longer than 0"):
        await ledger.spend("acme", step=timedelta(), **WEEK)


async def test_spend_is_cut_into_stretches_and_series(ledger: LedgerStore, ship: Ship, tenant: str):
    """Points lie at multiples of the stretch from ``since``, the dearest series of a stretch first."""
    await ship(
        tenant,
        [
            _entry(5, model="fast", at=DAY + timedelta(minutes=59)),
            _entry(7, model="smart", at=DAY),
            _entry(None, model="smart", at=DAY + timedelta(minutes=61), tags=("x",)),
        ],
    )
    window: dict[str, Any] = {"since": DAY, "until": DAY + timedelta(hours=3)}
    later = DAY + timedelta(hours=1)
    assert await ledger.spend(tenant, step=timedelta(hours=1), **window) == [
        SpendPoint(at=DAY, name="smart", calls=1, cost_nanousd=NanoUSD(7)),
        SpendPoint(at=DAY, name="fast", calls=1, cost_nanousd=NanoUSD(5)),
        SpendPoint(at=later, name="smart", calls=1, cost_nanousd=NanoUSD(0)),
    ]
    assert await ledger.spend(tenant, step=timedelta(hours=1), by="tag", **window) == [
        SpendPoint(at=DAY, name=None, calls=2, cost_nanousd=NanoUSD(12)),
        SpendPoint(at=later, name="x", calls=1, cost_nanousd=NanoUSD(0)),
    ]


def _call(cost: int | None, span_id: str) -> Span:
    return Span(
        span_id=span_id,
        trace_id=new_trace_id(),
        kind="call",
        name="chat fast",
        started_at_ns=_ns(DAY),
        duration_ns=1,
        status="ok",
        cost_nanousd=None if cost is None else NanoUSD(cost),
    )


async def test_books_agree_when_each_call_costs_the_same_in_both(database: Database, ship: Ship, tenant: str):
    """A call of two attempts, one of unknown cost, and one that was billed nothing are all in agreement."""
    two, unknown, refused = "00000000000000a1", "00000000000000a2", "00000000000000a3"
    await ship(tenant, [_entry(30, call=two), _entry(12, call=two, attempt=1)], [_call(42, two)])
    await ship(tenant, [_entry(9, call=unknown), _entry(None, call=unknown, attempt=1)], [_call(None, unknown)])
    await ship(tenant, [], [_call(0, refused)])
    books = await Proof(database).check(tenant)
    assert books == Books(ledger_nanousd=NanoUSD(42), traces_nanousd=NanoUSD(42), differing_calls=0)
    assert books.agree


async def test_books_name_how_many_calls_differ(database: Database, ship: Ship, tenant: str):
    """A cost that differs, one that is unknown on one side, and one without a trace are each found."""
    await ship(tenant, [_entry(10, call="00000000000000b1")], [_call(11, "00000000000000b1")])
    await ship(tenant, [_entry(10, call="00000000000000b2")], [_call(None, "00000000000000b2")])
    await ship(tenant, [_entry(10, call="00000000000000b3")])
    await ship(tenant, [_entry(10, call="00000000000000b4")], [_call(10, "00000000000000b4")])
    books = await Proof(database).check(tenant)
    assert (books.differing_calls, books.agree) == (3, False)
    assert (books.ledger_nanousd, books.traces_nanousd) == (40, 21)


async def test_another_tenants_costs_are_not_seen(ledger: LedgerStore, database: Database, ship: Ship, tenant: str):
    """Reports of one tenant hold nothing of another's, whatever is asked."""
    await ship(tenant, [_entry(100)], [_call(7, new_span_id())])
    assert (await ledger.costs("default", **WEEK))[0].calls == 0
    assert await ledger.costs("default", by=["user"], **WEEK) == []
    assert await ledger.spend("default", step=timedelta(hours=1), **WEEK) == []
    assert (await Proof(database).check("default")).agree
