"""Owns ``python -m bench soak``: many processes spend small budgets to their end while some of them are killed.

The verdict is drawn from outside: from the bills that the made-up provider wrote, and from Postgres.
"""

import asyncio
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from backstay.budgets import MERGE_CHARGES, Escrow, Shortage, Subject, end_holder
from backstay.budgets.manage import Budgets, NewBudget
from backstay.core.caller import Caller
from backstay.core.clock import SystemClock
from backstay.core.money import NanoUSD, usd
from backstay.records import interrupted
from backstay.store import Connection, Database, EmbeddedPostgres, Shipper, load_queries, migrate
from bench.machine import BenchError
from bench.soak_worker import TENANT, Work

_QUERIES = load_queries("bench", "soak.sql")
_GROUP = 200
"""Rounds that are played at once."""
LEAST, MOST = 10_000_000, 5_000_000_000
"""Limits in nano-USD: one cent to five dollars."""
_KILLS = 8
"""For each group of rounds; fewer where there are fewer processes."""
_GROUP_S = 300.0
_OPERATOR = Caller(tenant_id=TENANT, kind="operator", id="soak", name="soak", rights=frozenset({"admin"}))


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    rounds: int = 10_000
    seed: int = 1
    processes: int = 8
    callers: int = 64
    seconds: float = 3600.0
    """After which no more rounds are begun."""


class Verdict(msgspec.Struct, kw_only=True):
    """What came of all rounds; amounts in nano-USD."""

    rounds: int = 0
    calls: int = 0
    kills: int = 0
    restarts: int = 0
    """Of the whole server, where there is one."""
    overspent: int = 0
    false_refusals: int = 0
    leaked: int = 0
    least_usable: float = 1.0
    """Of any budget: what was spent, and what a last call could have had, over its limit."""
    least_spent: float = 1.0
    """Of any budget: what was spent before its callers let it be, over its limit."""
    unbooked: int = 0
    """Rounds of which the book says less than the provider's bills."""
    audit_ok: bool = False
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        wrong = self.overspent or self.false_refusals or self.leaked or self.unbooked
        return not wrong and self.least_usable >= 0.999 and self.audit_ok


def main(plan: Plan, play: Callable[[Plan, Path], Coroutine[Any, Any, Verdict]], *, is_json: bool) -> int:
    """Play, and print the verdict: 0 if all holds, 1 if something does not."""
    with tempfile.TemporaryDirectory(prefix="backstay-soak-") as folder:
        verdict = asyncio.run(play(plan, Path(folder)))
    told = {**msgspec.to_builtins(verdict), "seed": plan.seed, "verdict": "pass" if verdict.passed else "fail"}
    if is_json:
        print(json.dumps(told))
    else:
        print("\n".join(f"{name:<16}{value}" for name, value in told.items()))
    return 0 if verdict.passed else 1


async def play(plan: Plan, folder: Path) -> Verdict:
    """Play all rounds over a Postgres of their own.

    Raises:
        BenchError: Workers did not come to an end.
    """
    postgres = EmbeddedPostgres(folder / "data")
    url = await postgres.start()
    try:
        await migrate(url)
        database = Database(url)
        journals = folder / "journals"
        shipper = Shipper(journals, database, [MERGE_CHARGES], interrupted, on_end=partial(end_holder, database))
        shipping = asyncio.create_task(shipper.run())
        try:
            return await _Soak(plan, folder, url, database).play()
        finally:
            shipping.cancel()
            await asyncio.gather(shipping, return_exceptions=True)
            await database.close()
    finally:
        await postgres.stop()


class _Soak:
    def __init__(self, plan: Plan, folder: Path, url: str, database: Database):
        self._plan = plan
        self._folder = folder
        self._url = url
        self._database = database
        self._chance = random.Random(plan.seed)
        self._budgets = Budgets(database)
        self._workers: list[asyncio.subprocess.Process] = []
        self._read: dict[Path, int] = {}
        """How far each file of bills has been read."""
        self.verdict = Verdict()

    async def play(self) -> Verdict:
        began, verdict = time.monotonic(), self.verdict
        for slot in range(self._plan.processes):
            self._workers.append(await self._start(slot))
        try:
            while verdict.rounds < self._plan.rounds and time.monotonic() - began < self._plan.seconds:
                async with asyncio.timeout(_GROUP_S):
                    await self._play_group(min(_GROUP, self._plan.rounds - verdict.rounds))
                verdict.seconds = round(time.monotonic() - began, 1)
                print(progress(verdict, self._plan), file=sys.stderr)
        except TimeoutError as error:
            raise BenchError(f"A group of rounds did not end within {_GROUP_S:.0f} s.") from error
        finally:
            for worker in self._workers:
                if worker.returncode is None:
                    worker.kill()
                await worker.wait()
        books = await self._budgets.audit(_OPERATOR)
        verdict.audit_ok = books.differing == 0 and books.over == 0
        return verdict

    async def _start(self, slot: int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.soak_worker", self._url, str(self._folder / "journals" / str(slot)),
            str(self._plan.callers), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def _play_group(self, rounds: int) -> None:
        limits: dict[str, int] = {}
        ids: dict[str, str] = {}
        for number in range(rounds):
            feature = f"round-{self.verdict.rounds + number}"
            limits[feature] = self._chance.randint(LEAST, MOST)
            new = NewBudget(limit_usd=usd(NanoUSD(limits[feature])), scope=f"feature:{feature}", window="lifetime")
            ids[feature] = (await self._budgets.create(_OPERATOR, new, _unrecorded)).id
        work = tuple(limits.items())
        killing = asyncio.create_task(self._kill_some(work))
        for worker in self._workers:
            self._tell(worker, work)
        await asyncio.gather(killing, *(self._done(slot, work) for slot in range(len(self._workers))))
        await self._judge(limits, ids)
        for id in ids.values():
            await self._budgets.delete(_OPERATOR, id, _unrecorded)
        self.verdict.rounds += rounds

    def _tell(self, worker: asyncio.subprocess.Process, work: Sequence[tuple[str, int]]) -> None:
        assert worker.stdin is not None
        worker.stdin.write(msgspec.json.encode(Work(seed=self._chance.getrandbits(32), budgets=tuple(work))) + b"\n")

    async def _done(self, slot: int, work: Sequence[tuple[str, int]]) -> None:
        """Wait until a worker has spent what it can; one that was killed is started again and told the same."""
        while True:
            worker = self._workers[slot]
            assert worker.stdout is not None
            if await worker.stdout.readline():
                return
            if (await worker.wait()) != -signal.SIGKILL:
                raise BenchError("A worker ended by itself; what it wrote above says why.")
            self._workers[slot] = await self._start(slot)
            self._tell(self._workers[slot], work)

    async def _kill_some(self, work: Sequence[tuple[str, int]]) -> None:
        for _ in range(min(_KILLS, self._plan.processes)):
            await asyncio.sleep(self._chance.uniform(0.1, 0.8))
            worker = self._chance.choice(self._workers)
            if worker.returncode is None:
                worker.kill()
                self.verdict.kills += 1

    async def _judge(self, limits: dict[str, int], ids: dict[str, str]) -> None:
        """Wait until all is shipped and nothing is reserved, then ask for what is left, and one nano-dollar more."""
        billed, verdict = self._bills(), self.verdict
        windows = await self._settled(ids)
        escrow = Escrow(self._database, SystemClock(), holder=f"wrk_probe_{verdict.rounds}")
        await escrow.start()
        running = asyncio.create_task(escrow.run())
        await escrow.ready()
        for feature, limit in limits.items():
            spent, granted = windows[feature]
            verdict.overspent += max(0, billed[feature] - limit) + max(0, spent - limit)
            verdict.unbooked += spent < billed[feature]
            verdict.leaked += granted
            verdict.least_spent = round(min(verdict.least_spent, spent / limit), 6)
        await asyncio.gather(*(self._probe(escrow, name, limit, windows[name][0]) for name, limit in limits.items()))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await escrow.close()
        await end_holder(self._database, escrow.holder)

    async def _probe(self, escrow: Escrow, feature: str, limit: int, spent: int) -> None:
        """Make a call of all that is left: it must be admitted; and one of a nano-dollar more, which must not."""
        purses, verdict = escrow.purses(Subject(tenant_id=TENANT, feature=feature)), self.verdict
        found = await escrow.wait_for(purses, limit - spent, 5.0)
        if isinstance(found, Shortage):
            verdict.false_refusals += 1
            verdict.least_usable = min(verdict.least_usable, spent / limit)
            return
        more = await escrow.wait_for(purses, 1, 0.0)
        verdict.overspent += not isinstance(more, Shortage)
        for shares in (found, more):
            if not isinstance(shares, Shortage):
                escrow.settle(shares, 0, 0)

    async def _settled(self, ids: dict[str, str]) -> dict[str, tuple[int, int]]:
        """Read what each budget has spent and what is still held, once nothing changes: what is idle comes back."""
        quiet_since, before, windows = time.monotonic(), None, dict[str, tuple[int, int]]()
        while time.monotonic() - quiet_since < 6:
            windows = await self._windows(ids)
            if windows != before:
                quiet_since, before = time.monotonic(), windows
            elif not any(granted for _, granted in windows.values()):
                return windows
            await asyncio.sleep(0.2)
        return windows

    async def _windows(self, ids: dict[str, str]) -> dict[str, tuple[int, int]]:
        async with self._database.system() as connection:
            cursor = await connection.execute(_QUERIES["windows"], {"tenant_id": TENANT, "ids": list(ids.values())})
            rows = {row["budget_id"]: (row["spent"], row["granted"]) for row in await cursor.fetchall()}
        return {feature: rows.get(id, (0, 0)) for feature, id in ids.items()}

    def _bills(self) -> Counter[str]:
        """Add up what the provider billed since the last look, and count its calls."""
        found: Counter[str] = Counter()
        for path in self._folder.glob("*.bills"):
            with path.open() as bills:
                bills.seek(self._read.get(path, 0))
                for line in bills.readlines():
                    feature, cost = line.split()
                    found[feature] += int(cost)
                    self.verdict.calls += 1
                self._read[path] = bills.tell()
        return found


async def _unrecorded(connection: Connection, action: str, subject: str, detail: dict[str, object]) -> None:
    """Budgets of the soak are nobody's act."""


def progress(verdict: Verdict, plan: Plan) -> str:
    wrong = f"overspent {verdict.overspent}, false refusals {verdict.false_refusals}, leaked {verdict.leaked}"
    rounds = f"{verdict.rounds:,} of {plan.rounds:,} rounds, {verdict.calls:,} calls, {verdict.kills} kills"
    return f"{rounds}: {wrong}, after {verdict.seconds:.0f} s"
