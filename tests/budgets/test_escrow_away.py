"""Tests of budgets while Postgres is away: what is leased is spent, what is not is not, and soft budgets count on."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import urlsplit

import psycopg
import pytest
from escrow_house import Book
from psycopg.sql import SQL, Identifier, Literal
from test_escrow import CALL, OPERATOR, unrecorded, until, working

from backstay.budgets import Charge, Escrow, Share, Shortage, Subject, Terms
from backstay.budgets.manage import Budgets, NewBudget
from backstay.budgets.types import OnLow, Span
from backstay.budgets.vault import Purse, Vault
from backstay.core.money import NanoUSD
from backstay.store import Database

DAY_US = 86_400_000_000
HOUR_US = 3_600_000_000
START_US = 1_700_006_400_000_000
"""2023-11-15 00:00 UTC."""


class Switch:
    """Takes a database away and brings it back."""

    def __init__(self, server_url: str, database_url: str):
        self._url = server_url
        self._name = urlsplit(database_url).path[1:]

    def turn(self, *, on: bool) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(
                SQL("alter database {} allow_connections {}").format(Identifier(self._name), Literal(on))
            )
            if not on:
                connection.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [self._name]
                )


@pytest.fixture
def switch(postgres_url: str, database_url: str) -> Switch:
    return Switch(postgres_url, database_url)


async def taken(escrow: Escrow, amount: int) -> Sequence[Share]:
    found = await escrow.wait_for(escrow.purses(CALL), amount, 1.0)
    assert not isinstance(found, Shortage)
    return found


async def test_without_postgres_what_is_leased_is_spent_and_no_more(database: Database, switch: Switch):
    """A call that the lease covers is let through; one that only the book could cover is told to try again."""
    await Budgets(database).create(OPERATOR, NewBudget(limit_usd="0.00001", window="lifetime"), unrecorded)
    async with working(database, "wrk_1") as escrow:
        escrow.settle(await taken(escrow, 1000), 400, 0)
        switch.turn(on=False)
        purses = escrow.purses(CALL)
        leased = purses[0].lease
        assert leased is not None and 600 <= leased.available < 9600
        first = await taken(escrow, leased.available)
        refused = await escrow.wait_for(purses, 5000, 0.0)
        assert isinstance(refused, Shortage)
        assert (refused.unheard, refused.left) == (True, 0)
        refused = await escrow.wait_for(purses, 10_000, 0.0)
        assert isinstance(refused, Shortage) and not refused.unheard, "whatever the book says, that is too much"
        escrow.settle(first, 0, 0)
        switch.turn(on=True)
        assert not isinstance(await escrow.wait_for(purses, 9600, 5.0), Shortage)


async def test_without_postgres_a_call_waits_for_what_runs_here(database: Database, switch: Switch):
    """What a running call gives back is had at once by the one that waits for it."""
    await Budgets(database).create(OPERATOR, NewBudget(limit_usd="0.000001", window="lifetime"), unrecorded)
    async with working(database, "wrk_1") as escrow:
        first = await taken(escrow, 1000)
        switch.turn(on=False)
        purses = escrow.purses(CALL)
        waiting = asyncio.create_task(escrow.wait_for(purses, 700, 20.0))
        await until(lambda: escrow.is_away and purses[0].waiting)
        escrow.settle(first, 300, 0)
        found = await waiting
        assert not isinstance(found, Shortage)
        assert sum(share.amount for share in found) == 700


@pytest.mark.parametrize(
    ("on_low", "for_s", "is_let_through"), [("queue", 20.0, True), ("refuse", 20.0, True), ("refuse", 0.1, False)]
)
async def test_postgres_is_waited_for_while_a_call_may_wait(
    database: Database, switch: Switch, on_low: OnLow, for_s: float, is_let_through: bool
):
    """A call goes on once Postgres is back, if it may wait for so long."""
    new = NewBudget(limit_usd="0.000001", window="lifetime", on_low_budget=on_low)
    await Budgets(database).create(OPERATOR, new, unrecorded)
    async with working(database, "wrk_1") as escrow:
        purses = escrow.purses(CALL)
        switch.turn(on=False)
        waiting = asyncio.create_task(escrow.wait_for(purses, 1000, for_s))
        await until(lambda: escrow.is_away)
        if not is_let_through:
            await until(waiting.done)
        switch.turn(on=True)
        assert isinstance(await waiting, Shortage) != is_let_through


async def test_a_long_outage_is_not_waited_for(database: Database, switch: Switch):
    """Once Postgres has been away for longer than a call may wait, it is told at once, unless its budget queues."""
    low: tuple[tuple[str, OnLow], ...] = (("chat", "refuse"), ("mail", "queue"))
    for name, on_low in low:
        new = NewBudget(limit_usd="0.001", scope=f"feature:{name}", on_low_budget=on_low)
        await Budgets(database).create(OPERATOR, new, unrecorded)
    async with working(database, "wrk_1") as escrow:
        switch.turn(on=False)
        refused, queued = escrow.purses(CALL), escrow.purses(Subject(tenant_id="acme", feature="mail"))
        assert isinstance(await escrow.wait_for(refused, 1000, 0.3), Shortage)
        await asyncio.sleep(0.3)
        in_queue = asyncio.create_task(escrow.wait_for(queued, 1000, 30.0))
        told = asyncio.create_task(escrow.wait_for(refused, 1000, 0.3))
        await until(told.done)
        assert isinstance(await told, Shortage) and not in_queue.done()
        switch.turn(on=True)
        assert not isinstance(await in_queue, Shortage)


async def test_without_anything_to_ask_it_is_seen_that_postgres_is_back(database: Database, switch: Switch):
    """No call need come for that."""
    await Budgets(database).create(OPERATOR, NewBudget(limit_usd="1"), unrecorded)
    async with working(database, "wrk_1") as escrow:
        switch.turn(on=False)
        assert isinstance(await escrow.wait_for(escrow.purses(CALL), 1, 0.0), Shortage)
        assert escrow.is_away
        switch.turn(on=True)
        await until(lambda: not escrow.is_away)


@pytest.fixture
def book(database_url: str) -> Iterator[Book]:
    book = Book(database_url)
    book.set_clock(START_US)
    book.connection.execute(
        "select ensure_partitions(day) from unnest('{2023-11-14,2023-11-15,2023-11-16}'::date[]) day"
    )
    yield book
    book.close()


Budget = Callable[..., Terms]


@pytest.fixture(params=["policy", "own"])
def soft(request: pytest.FixtureRequest, book: Book) -> Budget:
    """Make soft budgets: of the policy, which the book does not know, or of a tenant, which it does."""

    def make(*, span: Span = "day", rollover: bool = False) -> Terms:
        is_own = request.param == "own"
        terms = Terms(
            tenant_id="acme" if is_own else None, id="bud_1" if is_own else "policy:soft", limit=NanoUSD(1000),
            span=span, time_zone="Europe/Berlin", hard=False, rollover=rollover,
        )  # fmt: skip
        if is_own:
            book.add(terms)
        return terms

    return make


def spend_away(terms: Terms, cost: int, at_us: int) -> list[Charge]:
    """Make a call in a worker that has never heard from the book, and has found that it is away."""
    vault = Vault(now_us=0, wall_us=at_us)
    vault.lost({}, 0)
    found = vault.take([vault.purse("acme", terms, "", 0)], 500, 0)
    assert not isinstance(found, Purse)
    return vault.settle(found, cost, at_us)


def spent(book: Book, terms: Terms) -> dict[int, tuple[int, int]]:
    return {start: (row["spent"], row["carried"]) for (id, start), row in book.windows().items() if id == terms.id}


def test_a_soft_budget_without_a_window_counts(book: Book, soft: Budget):
    """A worker that has never seen Postgres charges it all the same, once, in the window of the call's own time."""
    terms = soft()
    charges = spend_away(terms, 300, START_US - HOUR_US)
    later = spend_away(terms, 40, START_US + HOUR_US)
    for _ in range(2):
        book.merge("wrk_1", [("call_1", charge) for charge in charges])
        book.merge("wrk_1", [("call_2", charge) for charge in later])
    # Midnight of Berlin is at 23:00 UTC: both calls are of the day that began an hour before UTC's.
    assert spent(book, terms) == {START_US - HOUR_US: (340, 0)}
    assert book.differing() == 0


def test_what_a_soft_budget_spent_unseen_marks_the_calls_after_it(book: Book, soft: Budget):
    """The next worker that asks is told."""
    terms = soft()
    book.merge("wrk_1", [("call_1", charge) for charge in spend_away(terms, 1200, START_US)])
    vault = Vault(now_us=0, wall_us=START_US)
    purse = vault.purse("acme", terms, "", 0)
    vault.wait([purse], 0)
    asks = vault.ask(0)
    vault.answer(asks, book.sync("wrk_2", asks.values()), 0, 0)
    assert vault.is_over([purse])


def test_windows_that_ended_unseen_roll_over(book: Book, soft: Budget):
    """What was left of the one before is carried once, whoever opens the window."""
    terms = soft(rollover=True)
    book.merge("wrk_1", [("call_1", charge) for charge in spend_away(terms, 300, START_US)])
    book.merge("wrk_1", [("call_2", charge) for charge in spend_away(terms, 100, START_US + DAY_US)])
    assert spent(book, terms) == {START_US - HOUR_US: (300, 0), START_US - HOUR_US + DAY_US: (100, 700)}
    assert book.differing() == 0


def test_a_window_that_ends_while_postgres_is_away_is_followed_by_another(book: Book, soft: Budget):
    """A soft budget of an hour goes on counting into the next hour, which nobody has told the worker of."""
    terms = soft(span="hour")
    vault = Vault(now_us=0, wall_us=START_US)
    purse = vault.purse("acme", terms, "", 0)
    vault.wait([purse], 0)
    asks = vault.ask(0)
    vault.answer(asks, book.sync("wrk_1", asks.values()), 0, 0)
    vault.wait_no_more([purse], 0)
    vault.lost({}, 0)
    for number, now_us in enumerate((0, HOUR_US + 5, 2 * HOUR_US + 5)):
        found = vault.take([purse], 500, now_us)
        assert not isinstance(found, Purse)
        charges = vault.settle(found, 100 + number, START_US + now_us)
        book.merge("wrk_1", [(f"call_{number}", charge) for charge in charges])
    assert spent(book, terms) == {START_US + hour * HOUR_US: (100 + hour, 0) for hour in range(3)}
    assert book.differing() == 0


def test_a_charge_of_a_budget_that_never_was_holds_nothing_up(book: Book):
    """The rest of its batch is booked."""
    known = Terms(tenant_id=None, id="policy:known", limit=NanoUSD(1000), span="day", hard=False)
    never = Terms(tenant_id="acme", id="bud_never", limit=NanoUSD(1000), span="day", hard=False)
    charges = [*spend_away(never, 5, START_US), *spend_away(known, 7, START_US)]
    book.merge("wrk_1", [("call_1", charge) for charge in charges])
    assert spent(book, known) == {START_US: (7, 0)} and spent(book, never) == {}
