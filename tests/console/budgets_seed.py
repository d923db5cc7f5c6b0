"""Owns budgets to look at, for the console's tests: money leased by a worker's escrow, and calls booked as shipped."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec
from console_seed import make_call, ship
from console_site import TENANT

from backstay.budgets import MERGE_CHARGES, Escrow, Shortage, Subject, Terms
from backstay.core.clock import SystemClock
from backstay.store import Database


class Spender:
    """A worker whose calls cost what they are told to."""

    def __init__(self, database: Database, escrow: Escrow):
        self._database = database
        self._escrow = escrow
        self._rng = random.Random(7)

    async def call(self, cost: int, *, ago: timedelta = timedelta(), **subject: str) -> str:
        """Make a call that cost an amount, some time ago, and book it; returns its trace's id."""
        whose = Subject(tenant_id=TENANT, **subject)  # pyright: ignore[reportArgumentType]
        async with asyncio.timeout(20):
            while not (purses := self._escrow.purses(whose)):  # noqa: ASYNC110 - an escrow has no event for it
                await asyncio.sleep(0.01)  # until the worker follows
        shares = await self._escrow.wait_for(purses, cost, 5.0)
        assert not isinstance(shares, Shortage), shares
        at = datetime.now(UTC) - ago
        charges = self._escrow.settle(shares, cost, time.time_ns() - int(ago.total_seconds() * 1e9))
        call = make_call(self._rng, at, "key_x", status="ok", feature=subject.get("feature"))
        await ship(self._database, TENANT, [call])
        root = call.spans[0]
        document = {"tenant_id": TENANT, "holder": self._escrow.holder, "charges": charges}
        async with self._database.system(timeout_s=60) as connection:
            await connection.execute("create temp table shipment (entry_id text, doc jsonb) on commit drop")
            await connection.execute(
                "insert into shipment values (%s, %s::jsonb)", (root.span_id, msgspec.json.encode(document).decode())
            )
            await connection.execute(MERGE_CHARGES)
        return root.trace_id


@asynccontextmanager
async def spending(database: Database, policy: Sequence[Terms] = ()) -> AsyncGenerator[Spender]:
    """Run a worker that leases, and stays known as one that holds what it did not spend."""
    escrow = Escrow(database, SystemClock(), holder="wrk_console")
    escrow.adopt(policy)
    await escrow.start()
    task = asyncio.create_task(escrow.run())
    await escrow.ready()
    try:
        yield Spender(database, escrow)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
