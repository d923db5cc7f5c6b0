"""Sums that are kept of the ledger and of calls are what the rows add up to, whoever ships what and however often."""

import asyncio
import random
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from backstay.core.money import NanoUSD
from backstay.ledger import MERGE_ENTRIES, CostRow, Dimension, LedgerEntry, LedgerStore
from backstay.ledger.proof import Proof
from backstay.ledger.views import DIMENSIONS
from backstay.store import Database, migrate
from backstay.store.grains import floor
from backstay.store.migrate import read_migrations
from backstay.testing import FixedClock
from backstay.tracing import Span, TraceStore
from rollup_books import DAY, TENANTS, Document, make_documents, ship

FIELDS = {"user": "user_id", "key": "key_id", "feature": "feature", "model": "model", "target": "target"}
TABLES = ("cost_rollups", "call_rollups", "latency_rollups", "user_days", "user_weeks")
OLDER_MERGE = (
    MERGE_ENTRIES.replace("lines, unused)", "lines)").replace("'[]'), unused", "'[]')").replace(", unused text", "")
)
"""How entries were merged before migration 0015."""


@pytest.fixture
async def books(database: Database, tenant: str, tmp_path: Path) -> list[Document]:
    """Three days of calls of two tenants, shipped."""
    documents = make_documents(random.Random(1), 600)
    await ship(database, tmp_path, documents, batch=100)
    return documents


async def differing(database: Database) -> int:
    """Count the sums of all tenants that are not what their rows add up to."""
    counts = [await TraceStore(database).compare_rollups(tenant) for tenant in TENANTS]
    counts += [await Proof(database).compare_all(tenant) for tenant in TENANTS]
    return sum(counts)


async def rows_of(database: Database, table: str) -> int:
    async with database.system() as connection:
        cursor = await connection.execute(SQL("select count(*) as rows from {}").format(Identifier(table)))
        return (await cursor.fetchall())[0]["rows"]


def start_shipping(url: str, folder: str, documents: Sequence[Document], seed: int) -> None:
    """Ship in a process of its own, in an order of its own, one call in ten twice."""

    async def main() -> None:
        rng = random.Random(seed)
        order = [*documents, *rng.sample(documents, len(documents) // 10)]
        rng.shuffle(order)
        database = Database(url)
        await ship(database, Path(folder), order)
        await database.close()

    asyncio.run(main())


def at_of(record: LedgerEntry | Span) -> datetime:
    at_ns = record.at_ns if isinstance(record, LedgerEntry) else record.started_at_ns
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_ns // 1_000)


def groups_of(entry: LedgerEntry, by: Sequence[Dimension]) -> Iterable[tuple[Any, ...]]:
    """Give the groups that an entry counts in: several where it has several tags."""
    choices: list[Sequence[Any]] = []
    for dimension in by:
        if dimension == "tag":
            choices.append(entry.tags or (None,))
        elif dimension in ("day", "hour"):
            choices.append((floor(at_of(entry), timedelta(days=1) if dimension == "day" else timedelta(hours=1)),))
        else:
            choices.append((getattr(entry, FIELDS[dimension]),))
    return product(*choices)


def add_up(entries: Iterable[LedgerEntry], by: Sequence[Dimension]) -> dict[tuple[Any, ...], CostRow]:
    """Compute a cost report the plain way."""
    groups: dict[tuple[Any, ...], list[LedgerEntry]] = defaultdict(list)
    for entry in entries:
        for group in groups_of(entry, by):
            groups[group].append(entry)
    return {
        group: CostRow(
            **dict(zip(by, group, strict=True)),
            calls=len({entry.call_id for entry in members}),
            input_tokens=sum(entry.input_tokens or 0 for entry in members),
            output_tokens=sum(entry.output_tokens or 0 for entry in members),
            cost_nanousd=NanoUSD(sum(entry.cost_nanousd or 0 for entry in members)),
            unknown_cost_calls=len({entry.call_id for entry in members if entry.cost_nanousd is None}),
            estimated_attempts=sum(entry.estimated for entry in members),
            unconfirmed_attempts=sum(entry.unconfirmed for entry in members),
        )
        for group, members in groups.items()
    }


def spans_of_time(rng: random.Random, count: int) -> list[tuple[datetime, datetime]]:
    """Choose spans of time within the books: at full days and hours, and anywhere."""
    found = [(DAY, DAY + timedelta(days=3)), (DAY + timedelta(hours=6), DAY + timedelta(hours=54))]
    while len(found) < count:
        grain = rng.choice((1, 60_000_000, 3_600_000_000))
        ends = sorted(
            DAY + timedelta(microseconds=rng.randrange(3 * 86_400_000_000) // grain * grain) for _ in range(2)
        )
        if ends[0] < ends[1]:
            found.append((ends[0], ends[1]))
    return found


async def test_reports_are_what_the_entries_add_up_to(database: Database, books: list[Document]) -> None:
    """Any report, by any dimensions, of any span and key, is exact to the nano-dollar, unknown costs included."""
    ledger, rng = LedgerStore(database), random.Random(2)
    ours = [entry for document in books if document.tenant_id == "acme" for entry in document.entries]
    for since, until in spans_of_time(rng, 60):
        by = tuple(rng.sample(DIMENSIONS, rng.randrange(1, 4)))
        key_id = rng.choice((None, None, "key_1"))
        wanted = [entry for entry in ours if since <= at_of(entry) < until and key_id in (None, entry.key_id)]
        rows = await ledger.costs("acme", by=by, since=since, until=until, key_id=key_id)
        expected = add_up(wanted, by)
        assert {tuple(getattr(row, name) for name in by): row for row in rows} == expected, (by, since, until)
        assert len(rows) == len(expected)


async def test_reports_are_exact_wherever_now_is(database: Database, books: list[Document]) -> None:
    """What is read beyond a report's time is taken away, calls by clocks that are ahead of now included."""
    rng = random.Random(9)
    ours = [entry for document in books if document.tenant_id == "acme" for entry in document.entries]
    for since, until in spans_of_time(rng, 40):
        now = rng.choice((since, until, DAY + timedelta(seconds=rng.randrange(4 * 86_400))))
        ledger = LedgerStore(database, clock=FixedClock(int(now.timestamp()) * 1_000_000_000))
        by = tuple(rng.sample(DIMENSIONS, rng.randrange(1, 3)))
        rows = await ledger.costs("acme", by=by, since=since, until=until)
        expected = add_up((entry for entry in ours if since <= at_of(entry) < until), by)
        assert {tuple(getattr(row, name) for name in by): row for row in rows} == expected, (by, since, until, now)


async def test_a_short_report_is_the_beginning_of_the_whole(database: Database, books: list[Document]) -> None:
    """The dearest groups are the same, in the same order, however few are asked for and whatever is skipped for it."""
    ledger, rng = LedgerStore(database), random.Random(6)
    for since, until in spans_of_time(rng, 40):
        by: tuple[Dimension, ...] = ("user", *rng.sample(("feature", "model", "target", "key", "day"), 2))
        whole = await ledger.costs("acme", by=by, since=since, until=until)
        limit = rng.randrange(1, 5)
        assert await ledger.costs("acme", by=by, since=since, until=until, limit=limit) == whole[:limit], by


async def test_spend_of_some_users_is_their_part_of_all(database: Database, books: list[Document]) -> None:
    """The series of users that are named, one without a name among them, are those that they have among all."""
    ledger, rng = LedgerStore(database), random.Random(7)
    for since, until in spans_of_time(rng, 20):
        step = timedelta(hours=rng.choice((0.25, 1, 24)))
        users = rng.sample(("jo", "mo", "", None), rng.randrange(1, 4))
        of_all = await ledger.spend("acme", since=since, until=until, step=step, by="user")
        some = await ledger.spend("acme", since=since, until=until, step=step, by="user", users=users)
        assert some == [point for point in of_all if point.name in users]


async def test_spend_over_time_is_what_the_entries_add_up_to(database: Database, books: list[Document]) -> None:
    """Each stretch of a plot, whatever its length, holds its own calls only."""
    ledger, rng = LedgerStore(database), random.Random(3)
    ours = [entry for document in books if document.tenant_id == "acme" for entry in document.entries]
    for since, until in spans_of_time(rng, 20):
        step = timedelta(hours=rng.choice((0.25, 1, 6, 24, 168)))
        by: Dimension = rng.choice(("model", "user", "tag", "target"))
        points = await ledger.spend("acme", since=since, until=until, step=step, by=by)
        expected: dict[tuple[Any, ...], tuple[int, int]] = {}
        for stretch in {floor(at_of(entry), step) for entry in ours}:
            inside = [entry for entry in ours if stretch <= at_of(entry) < stretch + step]
            rows = add_up((entry for entry in inside if since <= at_of(entry) < until), [by])
            expected |= {(stretch, *group): (row.calls, row.cost_nanousd) for group, row in rows.items()}
        assert {(point.at, point.name): (point.calls, point.cost_nanousd) for point in points} == expected


def percentile(values: list[int], share: float) -> int | None:
    ordered = sorted(values)
    return next((value for place, value in enumerate(ordered, 1) if place / len(ordered) >= share), None)


def is_near(found: int | None, exact: int | None) -> bool:
    """Tell whether a percentile is within the error that is promised; a nanosecond is nothing."""
    if found is None or exact is None:
        return found == exact
    return abs(found - exact) <= 0.05 * exact + 1


async def test_overviews_are_what_the_calls_add_up_to(database: Database, books: list[Document]) -> None:
    """Counts and money are exact, of each stretch, all, and the time before; percentiles are at most 5 % off."""
    traces, rng = TraceStore(database), random.Random(4)
    ours = [document.spans[0] for document in books if document.tenant_id == "acme"]
    for since, until in spans_of_time(rng, 20):
        step = timedelta(hours=rng.choice((1, 6, 24)))
        overview = await traces.overview("acme", since=since, until=until, step=step)
        inside = [call for call in ours if since <= at_of(call) < until]
        before = [call for call in ours if since - (until - since) <= at_of(call) < since]
        parts = [([call for call in inside if b.at <= at_of(call) < b.at + step], b) for b in overview.buckets]
        assert sum(len(calls) for calls, _ in parts) == len(inside)
        for calls, sums in [(inside, overview.total), (before, overview.previous), *parts]:
            assert (sums.calls, sums.cost_nanousd, sums.unknown_cost_calls, sums.errors) == (
                len(calls),
                sum(call.cost_nanousd or 0 for call in calls),
                sum(call.cost_nanousd is None for call in calls),
                sum(call.status in ("error", "interrupted") for call in calls),
            )
        for calls, figures in [(inside, overview.total), *parts]:
            first = [call.first_token_ns for call in calls if call.first_token_ns is not None]
            durations = [call.duration_ns for call in calls]
            assert is_near(figures.p50_ns, percentile(durations, 0.5))
            assert is_near(figures.p95_ns, percentile(durations, 0.95))
            assert is_near(figures.first_token_p95_ns, percentile(first, 0.95))
        rows = await traces.models("acme", since=since, until=until)
        assert sum(row.calls for row in rows) == len(inside)
        assert {(row.model, row.target) for row in rows} == {(call.counted_model, call.target) for call in inside}


async def test_what_comes_again_counts_once(database: Database, books: list[Document], tmp_path: Path) -> None:
    """Shipping all of it again, in other batches, changes no sum; nor do calls of hours long past come too late."""
    assert await differing(database) == 0
    before = [
        await LedgerStore(database).costs(tenant, by=["tag"], since=DAY, until=DAY + timedelta(days=3))
        for tenant in TENANTS
    ]
    await ship(database, tmp_path, books, batch=37)
    assert before == [
        await LedgerStore(database).costs(tenant, by=["tag"], since=DAY, until=DAY + timedelta(days=3))
        for tenant in TENANTS
    ]
    await ship(database, tmp_path, make_documents(random.Random(5), 50, days=1))
    assert await differing(database) == 0
    assert await rows_of(database, "cost_rollups") > 0


@pytest.mark.parametrize("overlap", [0.0, 0.5])
async def test_processes_ship_at_once(
    database: Database, database_url: str, tenant: str, tmp_path: Path, overlap: float
) -> None:
    """Four processes, for the same hours, some with the same calls: none is held up in a circle, and all sums hold."""
    documents = make_documents(random.Random(6), 600)
    rng = random.Random(7)
    shares = [
        [document for number, document in enumerate(documents) if number % 4 == place or rng.random() < overlap]
        for place in range(4)
    ]
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as processes:
        shipping = [
            asyncio.get_running_loop().run_in_executor(
                processes, start_shipping, database_url, str(tmp_path), share, place
            )
            for place, share in enumerate(shares)
        ]
        await asyncio.gather(*shipping)
    assert await differing(database) == 0
    assert await rows_of(database, "ledger_entries") == sum(len(document.entries) for document in documents)


@pytest.fixture
async def older(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The URL of a database as the version before rollups left it."""
    name = f"older_{uuid4().hex}"
    url = postgres_url.replace("/backstay?", f"/{name}?")
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection:
        await connection.execute(SQL("create database {}").format(Identifier(name)))
        with monkeypatch.context() as patch:
            patch.setattr(sys.modules[migrate.__module__], "read_migrations", lambda: read_migrations()[:2])
            await migrate(url)
        yield url
        await connection.execute(SQL("drop database {} with (force)").format(Identifier(name)))


async def test_a_migration_adds_up_what_is_there_while_an_older_worker_ships(older: str, tmp_path: Path) -> None:
    """What was shipped before, during and after the migration, by code that knows of no sums, is in them once."""
    documents = make_documents(random.Random(8), 600)
    worker = Database(older)
    async with worker.system() as connection:
        await connection.execute("insert into tenants (tenant_id) values ('acme')")
    await ship(worker, tmp_path, documents[:200], batch=100, merge=OLDER_MERGE)
    applied, _ = await asyncio.gather(
        migrate(older), ship(worker, tmp_path, documents[200:500], batch=5, merge=OLDER_MERGE)
    )
    await ship(worker, tmp_path, documents[500:], merge=OLDER_MERGE)
    assert applied[0] == "0003_rollups"
    assert await differing(worker) == 0
    assert await rows_of(worker, "ledger_entries") == sum(len(document.entries) for document in documents)
    await worker.close()


@pytest.mark.parametrize("table", TABLES)
async def test_a_tenant_sees_its_own_sums_and_changes_none(
    database: Database, books: list[Document], table: str
) -> None:
    """Row-level security holds on the sums as on the rows, and only shipping writes them."""
    name = Identifier(table)
    for tenant in TENANTS:
        async with database.tenant(tenant) as connection:
            cursor = await connection.execute(SQL("select distinct tenant_id from {}").format(name))
            assert await cursor.fetchall() == [{"tenant_id": tenant}]
    for statement in ("update {} set calls = 0", "delete from {}"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with database.tenant("acme") as connection:
                await connection.execute(SQL(statement).format(name))
