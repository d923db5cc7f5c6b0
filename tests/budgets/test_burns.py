"""Tests of how windows were spent over time: sums kept of their parts, and the calls that they paid most for."""

import json
import random
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from uuid import uuid4

import msgspec
import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from backstay.budgets import MERGE_CHARGES, BudgetConfig
from backstay.budgets.burn import BUCKETS, Burns
from backstay.budgets.manage import Budgets
from backstay.budgets.store import end_holder
from backstay.budgets.types import Span
from backstay.budgets.views import BudgetView, view_of
from backstay.core.caller import Caller
from backstay.store import Database, load_queries, migrate
from backstay.store.migrate import read_migrations

OPERATOR = Caller(tenant_id="acme", kind="operator", id="operator", name="operator", rights=frozenset({"admin"}))
NOW = datetime(2026, 11, 28, 21, 40, 30, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
US = timedelta(microseconds=1)
OPENED = NOW - timedelta(days=7)
"""When the lifetime began."""
SPANS: tuple[Span, ...] = get_args(Span)
LEASED = 10**9
PREPARE = load_queries("backstay.store", "shipment.sql")["prepare"]


class Paid(msgspec.Struct, frozen=True):
    """What one call was charged to one window."""

    call_id: str
    at: datetime
    covered: int
    uncovered: int

    @property
    def amount(self) -> int:
        return self.covered + self.uncovered


async def open_window(database: Database, span: Span) -> BudgetView:
    """Make the window of now of a budget that is named as its span, all of it leased, and show it."""
    async with database.system() as connection:
        cursor = await connection.execute("select * from budget_span(%s, 'UTC', %s)", [span, NOW])
        bounds = await cursor.fetchone()
        assert bounds is not None
        window = ["acme", span, bounds["starts_us"]]
        await connection.execute(
            "insert into budget_windows (tenant_id, budget_id, subject, starts_us, ends_us, limit_nanousd, granted)"
            " values (%s, %s, '', %s, %s, %s, %s)",
            [*window, bounds["ends_us"], LEASED, LEASED],
        )
        await connection.execute(
            "insert into budget_leases (tenant_id, budget_id, subject, starts_us, holder, received, amount)"
            " values (%s, %s, '', %s, 'wrk_1', %s, %s)",
            [*window, LEASED, LEASED],
        )
        for source, sink in (("limit", "free"), ("free", "lease:wrk_1")):
            await connection.execute("select ensure_partitions(%s)", [OPENED.date()])
            await connection.execute(
                "insert into budget_postings (tenant_id, posted_at, budget_id, subject, starts_us, kind, source, sink,"
                " amount) values ('acme', %s, %s, '', %s, 'grant', %s, %s, %s)",
                [OPENED, span, bounds["starts_us"], source, sink, LEASED],
            )
    terms = BudgetConfig.model_validate({"limit_usd": "1", "window": span}).terms(span)
    nobody = dict.fromkeys(("subject", "all_spent", "all_granted", "all_subjects"))
    return msgspec.structs.replace(view_of(terms, [{**bounds, **nobody}], "acme"), id=span)


async def set_lifetimes_beginning(database: Database) -> None:
    async with database.system() as connection:
        await connection.execute("update budget_windows set opened_us = %s", [(OPENED - EPOCH) // US])


async def book(database: Database, view: BudgetView, paid: Sequence[Paid], *, batch: int) -> None:
    """Ship what calls were charged, some at a time."""
    for first in range(0, len(paid), batch):
        documents = [(each.call_id, _document(view, each)) for each in paid[first : first + batch]]
        async with database.system(timeout_s=60) as connection:
            for day in sorted({each.at.date() for each in paid[first : first + batch]}):
                await connection.execute("select ensure_partitions(%s)", [day])
            await connection.execute(PREPARE)
            cursor = connection.cursor()
            await cursor.executemany("insert into shipment (entry_id, doc) values (%s, %s)", documents)
            await connection.execute(MERGE_CHARGES)


def _document(view: BudgetView, paid: Paid) -> str:
    charge = {
        "budget_id": view.id,
        "starts_us": 0 if view.starts_at is None else (view.starts_at - EPOCH) // US,
        "at_us": (paid.at - EPOCH) // US,
        "covered": paid.covered,
        "uncovered": paid.uncovered,
    }
    return json.dumps({"tenant_id": "acme", "holder": "wrk_1", "charges": [charge]})


def charges(view: BudgetView, count: int) -> list[Paid]:
    """Make calls of the window up to now, some by clocks that are behind or ahead, some beyond their reservation."""
    rng = random.Random(view.id)
    since, until = view.starts_at or OPENED, view.resets_at or NOW
    length = (until - since) // US
    return [
        Paid(
            f"{number:016x}",
            since + rng.randrange(-length // 50, length + length // 50) * US,
            rng.randrange(1, 1000),
            rng.choice((0, 0, 0, rng.randrange(1000))),
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("span", SPANS)
async def test_a_burn_is_what_the_postings_add_up_to(database: Database, tenant: str, span: Span) -> None:
    """Of a window that ends each part is exact; of a lifetime, each is at most two parts early; nothing is lost."""
    view = await open_window(database, span)
    await set_lifetimes_beginning(database)
    paid = charges(view, 300)
    await book(database, view, paid, batch=70)
    await book(database, view, paid[::3], batch=50)
    (burn,) = await Burns(database).read("acme", [(view, "")], now=NOW)
    parts = [0] * BUCKETS
    for each in paid:
        parts[min(BUCKETS - 1, max(0, (each.at - burn.since) * BUCKETS // (burn.until - burn.since)))] += each.amount
    assert sum(burn.spent) == sum(parts)
    if span != "lifetime":
        assert (burn.since, burn.until) == (view.starts_at, view.resets_at)
        assert list(burn.spent) == parts
    else:
        assert (burn.since, burn.until) == (OPENED, NOW)
        for part in range(BUCKETS):
            assert sum(parts[:part]) <= sum(burn.spent[:part]) <= sum(parts[: part + 2])
    assert (await Budgets(database).audit(OPERATOR)).differing_burns == 0


async def test_a_burn_that_is_not_what_was_posted_is_found(database: Database, tenant: str) -> None:
    """The proof of the books tells of it, and of a sum that nothing was posted for."""
    view = await open_window(database, "day")
    await book(database, view, charges(view, 20), batch=20)
    async with database.system() as connection:
        await connection.execute(
            "update budget_burns set amount = amount + 1 where at_us = (select max(at_us) from budget_burns)"
        )
        await connection.execute("insert into budget_burns values ('acme', 'day', 'jo', 0, 0, 1)")
    books = await Budgets(database).audit(OPERATOR)
    assert (books.differing, books.differing_burns) == (0, 2)


async def test_what_is_written_off_is_in_the_burn(database: Database, tenant: str) -> None:
    """It is spent when it is written off, and a holder's part is seen to move."""
    view = await open_window(database, "lifetime")
    await book(database, view, [Paid("a", NOW, 400, 0)], batch=1)
    burns = Burns(database)
    (lease,) = await burns.leases("acme", view, "")
    assert lease.amount == LEASED - 400
    await end_holder(database, "wrk_1", is_spent=True)
    (burn,) = await burns.read("acme", [(view, "")], now=datetime.now(UTC))
    assert sum(burn.spent) == LEASED
    assert await burns.leases("acme", view, "") == []
    assert (await Budgets(database).audit(OPERATOR)).differing_burns == 0


async def test_a_budget_that_nothing_was_spent_of_has_a_flat_burn(database: Database, tenant: str) -> None:
    """With and without a window."""
    view = await open_window(database, "lifetime")
    await set_lifetimes_beginning(database)
    unused = msgspec.structs.replace(view, id="unused")
    first, second = await Burns(database).read("acme", [(view, ""), (unused, "")], now=NOW)
    assert (first.since, set(first.spent)) == (OPENED, {0})
    assert (second.since, set(second.spent)) == (NOW - timedelta(minutes=1), {0})


@pytest.mark.parametrize("limit", [1, 3, 10, 500])
async def test_the_dearest_calls_are_those_of_all(database: Database, tenant: str, limit: int) -> None:
    """Found among the dearest postings, though some calls have two: where those do not tell, among all."""
    view = await open_window(database, "month")
    alike = [Paid(f"b{number:015x}", NOW - number * timedelta(hours=1), 600, 500) for number in range(60)]
    paid = [*charges(view, 300), *alike, Paid("c", NOW, 1500, 0), Paid("d", NOW, 0, 1600)]
    await book(database, view, paid, batch=100)
    found = await Burns(database).dearest("acme", view, "", limit=limit)
    expected = sorted(paid, key=lambda each: (-each.amount, each.call_id))[:limit]
    assert [each.amount for each in found] == [each.amount for each in expected]
    assert {each.call_id: (each.at, each.amount) for each in found}.items() <= {
        each.call_id: (each.at, each.amount) for each in paid
    }.items()


@pytest.fixture
async def older(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The URL of a database as the version before burns left it."""
    name = f"older_{uuid4().hex}"
    url = postgres_url.replace("/backstay?", f"/{name}?")
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection:
        await connection.execute(SQL("create database {}").format(Identifier(name)))
        with monkeypatch.context() as patch:
            patch.setattr(
                sys.modules[migrate.__module__],
                "read_migrations",
                lambda: [each for each in read_migrations() if each.name < "0024"],
            )
            await migrate(url)
        yield url
        await connection.execute(SQL("drop database {} with (force)").format(Identifier(name)))


async def test_a_migration_adds_up_what_was_posted(older: str) -> None:
    """What was booked before it and after it is in the sums once, in the same parts."""
    database = Database(older)
    views = [await open_window(database, span) for span in SPANS]
    for view in views:
        await book(database, view, charges(view, 100)[:60], batch=30)
    assert (await migrate(older))[0] == "0024_budget_burns"
    for view in views:
        await book(database, view, charges(view, 100)[60:], batch=30)
    books: Any = await Budgets(database).audit(OPERATOR)
    assert (books.differing, books.differing_burns, books.windows) == (0, 0, len(SPANS))
    (*_, lifetime) = await Burns(database).read("acme", [(view, "") for view in views], now=NOW)
    assert abs(lifetime.since - OPENED) <= timedelta(hours=4)
    assert sum(lifetime.spent) == sum(each.amount for each in charges(views[-1], 100))
    await database.close()
