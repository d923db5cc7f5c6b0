"""Tests of the escrow of one worker, over a real book."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from backstay.budgets import Escrow, Shortage, Subject
from backstay.budgets.manage import BudgetChange, Budgets, NewBudget
from backstay.core.caller import Caller
from backstay.core.clock import SystemClock
from backstay.store import Connection, Database

OPERATOR = Caller(tenant_id="acme", kind="operator", id="operator", name="operator", rights=frozenset({"admin"}))
CALL = Subject(tenant_id="acme", key="key_1", feature="chat")


async def unrecorded(connection: Connection, action: str, subject: str, detail: dict[str, Any]) -> None:
    """The audit log is not looked at here."""


@asynccontextmanager
async def working(database: Database, holder: str) -> AsyncGenerator[Escrow]:
    """An escrow that keeps in step."""
    escrow = Escrow(database, SystemClock(), holder=holder)
    await escrow.start()
    task = asyncio.create_task(escrow.run())
    await escrow.ready()
    yield escrow
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("window", ["minute", "hour", "day", "week", "month", "lifetime"])
async def test_a_call_gets_what_fits_in_every_window(database: Database, window: Any):
    """The first call asks the book; more than the limit never fits; what is given back can be had again."""
    budgets = Budgets(database)
    async with working(database, "wrk_1") as escrow:
        await budgets.create(OPERATOR, NewBudget(limit_usd="0.000001", window=window, scope="feature:chat"), unrecorded)
        await until(lambda: escrow.purses(CALL))
        purses = escrow.purses(CALL)
        refused = await escrow.wait_for(purses, 1001, 5.0)
        assert isinstance(refused, Shortage) and refused.left == 1000
        shares = await escrow.wait_for(purses, 600, 5.0)
        assert not isinstance(shares, Shortage)
        refused = await escrow.wait_for(purses, 600, 0.05)
        assert isinstance(refused, Shortage) and refused.left == 400
        (charge,) = escrow.settle(shares, 100, 0)
        assert (charge.covered, charge.uncovered) == (100, 0)
        shares = await escrow.wait_for(purses, 900, 1.0)
        assert not isinstance(shares, Shortage)


async def test_a_usage_beyond_its_reservation_leaves_nothing_and_a_trace(
    database: Database, caplog: pytest.LogCaptureFixture
):
    """What the worst case did not foresee is charged apart, counted and logged; the budget ends at zero, not below."""
    budgets = Budgets(database)
    await budgets.create(OPERATOR, NewBudget(limit_usd="0.000001", window="lifetime"), unrecorded)
    async with working(database, "wrk_1") as escrow:
        purses = escrow.purses(CALL)
        shares = await escrow.wait_for(purses, 1000, 1.0)
        assert not isinstance(shares, Shortage)
        metrics: dict[str, Callable[[], float]] = {}
        escrow.watch(lambda name, _text, read, _labels: metrics.update({name: read}))
        assert metrics["backstay_budget_uncovered_total"]() == 0
        (charge,) = escrow.settle(shares, 1500, 0)
        assert (charge.covered, charge.uncovered) == (1000, 500)
        assert metrics["backstay_budget_uncovered_total"]() == 1
        assert "1500 nano-USD, more than was reserved" in caplog.text
        refused = await escrow.wait_for(purses, 1, 0.05)
        assert isinstance(refused, Shortage)
        assert refused.left == 0


async def test_a_soft_budget_beside_a_hard_one_is_no_wrong_bound(database: Database, caplog: pytest.LogCaptureFixture):
    """It reserves nothing, so that all it is charged was never covered; nobody need look at that."""
    budgets = Budgets(database)
    await budgets.create(OPERATOR, NewBudget(limit_usd="0.000001", window="lifetime"), unrecorded)
    await budgets.create(OPERATOR, NewBudget(limit_usd="1", window="month", hard=False), unrecorded)
    async with working(database, "wrk_1") as escrow:
        purses = escrow.purses(CALL)
        shares = await escrow.wait_for(purses, 1000, 1.0)
        assert not isinstance(shares, Shortage)
        charges = escrow.settle(shares, 700, 0)
        assert sorted((charge.covered, charge.uncovered) for charge in charges) == [(0, 700), (700, 0)]
        assert escrow.uncovered == 0 and "more than was reserved" not in caplog.text


async def test_a_call_that_is_slow_to_ask_is_not_forgotten(database: Database):
    """Counting its tokens may take a while, in which nothing says that its budget is in use."""
    budgets = Budgets(database)
    await budgets.create(OPERATOR, NewBudget(limit_usd="0.000001"), unrecorded)
    async with working(database, "wrk_1") as escrow:
        purses = escrow.purses(CALL)
        await asyncio.sleep(1.2)
        purses[0].used_us = -(2**62)
        await asyncio.sleep(1.2)
        assert not isinstance(await escrow.wait_for(purses, 1000, 1.0), Shortage)


async def test_what_another_worker_does_not_use_is_called_back(database: Database):
    """A worker that leased for calls that never came gives back what another one needs."""
    budgets = Budgets(database)
    await budgets.create(OPERATOR, NewBudget(limit_usd="0.000001"), unrecorded)
    async with working(database, "wrk_1") as one, working(database, "wrk_2") as other:
        shares = await one.wait_for(one.purses(CALL), 900, 1.0)
        assert not isinstance(shares, Shortage)
        one.settle(shares, 0, 0)
        found = await other.wait_for(other.purses(CALL), 1000, 5.0)
        assert not isinstance(found, Shortage)


async def test_a_change_is_followed(database: Database):
    """A raised limit lets calls through, a deleted budget counts none."""
    budgets = Budgets(database)
    made = await budgets.create(OPERATOR, NewBudget(limit_usd="0"), unrecorded)
    async with working(database, "wrk_1") as escrow:
        assert isinstance(await escrow.wait_for(escrow.purses(CALL), 1, 0.1), Shortage)
        await budgets.change(OPERATOR, made.id, BudgetChange(limit_usd="1"), unrecorded)
        await until(lambda: escrow.purses(CALL)[0].terms.limit)
        assert not isinstance(await escrow.wait_for(escrow.purses(CALL), 1, 1.0), Shortage)
        await budgets.delete(OPERATOR, made.id, unrecorded)
        await until(lambda: not escrow.purses(CALL))
