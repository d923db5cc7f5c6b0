"""Owns one worker of the soak: ``python -m bench.soak_worker URL FOLDER CALLERS``, told on its input what to spend.

It is what a worker is to budgets: escrow, journal, intents and outcomes. Only the provider is made up: what a call
costs is decided when it is asked, and written down at once, as a bill would be, so that a kill hides nothing.
"""

import asyncio
import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from backstay.budgets import Escrow, Share, Shortage, Subject
from backstay.core.clock import SystemClock
from backstay.core.ids import new_span_id
from backstay.core.money import NanoUSD
from backstay.records import CallDocument, IntentDocument
from backstay.store import Database, Journal

TENANT = "default"
_LEAST = 1000
"""Once a call cannot have this part of its budget, the worker lets it be."""
_WAIT_S = 0.2
_ANSWER_S = 0.004

_encoder = msgspec.json.Encoder()


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be spent: budgets as ``feature, limit``, all at once."""

    seed: int
    budgets: tuple[tuple[str, int], ...]


class Spender:
    """Spends budgets to their end, in many calls at once."""

    def __init__(self, escrow: Escrow, journal: Journal, bills: int, callers: int):
        self._escrow = escrow
        self._journal = journal
        self._bills = bills
        self._callers = callers
        self._clock = SystemClock()

    async def spend(self, work: Work) -> None:
        left = {feature: limit // 10 for feature, limit in work.budgets}
        chooser = random.Random(work.seed)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._callers):
                tasks.create_task(self._call_on(work, left, random.Random(chooser.random())))

    async def _call_on(self, work: Work, left: dict[str, int], chance: random.Random) -> None:
        limits = dict(work.budgets)
        while open_ := [feature for feature in left if left[feature] >= limits[feature] // _LEAST]:
            feature = chance.choice(open_)
            worst = chance.randint(1, max(1, min(left[feature], limits[feature] // 20)))
            purses = self._escrow.purses(Subject(tenant_id=TENANT, feature=feature))
            shares = self._escrow.take(purses, worst)
            if shares is None:
                found = await self._escrow.wait_for(purses, worst, _WAIT_S)
                if isinstance(found, Shortage):
                    left[feature] = min(left[feature], worst - 1, found.left)
                    continue
                shares = found
            await self._call(feature, shares, worst, chance)

    async def _call(self, feature: str, shares: Sequence[Share], worst: int, chance: random.Random) -> None:
        call_id, cost = new_span_id(), chance.randint(0, worst)
        self._journal.append("intent", bytes.fromhex(call_id), [_encoder.encode(self._intent(call_id, shares, worst))])
        os.write(self._bills, f"{feature} {cost}\n".encode())
        await asyncio.sleep(_ANSWER_S * chance.random())
        charges = self._escrow.settle(shares, cost, self._clock.now_ns())
        document = CallDocument(
            tenant_id=TENANT, spans=(), entries=(), holder=self._escrow.holder, charges=tuple(charges)
        )
        self._journal.append("call", bytes.fromhex(call_id), [_encoder.encode(document), b"", b""])

    def _intent(self, call_id: str, shares: Sequence[Share], worst: int) -> IntentDocument:
        at_ns = self._clock.now_ns()
        pledges = tuple(share.charge(at_ns // 1000, covered=share.amount, uncovered=0) for share in shares)
        return IntentDocument(
            tenant_id=TENANT, call_id=call_id, trace_id=call_id * 2, parent_id=None, at_ns=at_ns, operation="chat",
            model="m", target="sim/m", key_id="key_1", user_id=None, feature=None, tags=(), dialect="openai",
            holder=self._escrow.holder, pledges=pledges, worst_nanousd=NanoUSD(worst),
        )  # fmt: skip


async def main(url: str, folder: Path, callers: int) -> None:
    """Spend what is told, line by line, and say when it is done, until there are no more lines."""
    database, journal = Database(url, max_connections=2), Journal.open(folder)
    bills = os.open(folder.parents[1] / f"{journal.owner}.bills", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    escrow = Escrow(database, SystemClock(), holder=journal.owner)
    await escrow.start()
    running = asyncio.create_task(escrow.run())
    await escrow.ready()
    spender = Spender(escrow, journal, bills, callers)
    while line := await asyncio.to_thread(sys.stdin.readline):
        work = msgspec.json.decode(line, type=Work)
        for feature, _ in work.budgets:
            while not escrow.purses(Subject(tenant_id=TENANT, feature=feature)):  # noqa: ASYNC110 - it is told of them
                await asyncio.sleep(0.01)
        await spender.spend(work)
        print("done", flush=True)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await escrow.close()
    journal.close()
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
