"""Owns ``python -m bench soak --served``: budgets are spent over HTTP through a real server that is killed meanwhile.

The verdict is that of ``bench.soak``, drawn from outside: from what callers were told that their calls cost, and from
what the server says once it rests.
"""

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from backstay.core.money import NanoUSD, from_usd, usd
from backstay.data_folder import read_operator_token
from bench.machine import BenchError
from bench.processes import free_port, tree
from bench.soak import LEAST, MOST, Plan, Verdict, progress

_BACKSTAY = Path(sys.executable).with_name("backstay")
_GROUP = 16
"""Rounds that are played at once."""
_TOKEN = 50_000
"""Nano-USD that an output token costs, so that a budget has some dozens to hundreds of calls; input costs nothing."""
_LONGEST = 2_000
_POLICY = f"""
[providers.load]
dialect = "simulator"
script = {{ answer = "lorem", latency_s = {{ low = 0.0, high = 0.05 }}, output_tokens = {{ histogram = [
  [5, 3], [50, 3], [500, 2], [{_LONGEST}, 2]] }} }}

[models.load]
targets = ["load/m"]

[prices."load/m"]
input = 0
output = "{_TOKEN / 1000:g}"

[providers.probe]
dialect = "simulator"

[models.probe]
targets = ["probe/m"]

[prices."probe/m"]
input = 0
output = "0.001"

[targets."probe/m"]
max_output_tokens = 10_000_000_000
"""
_START_S = 300.0
_REST_S = 60.0
"""How long is waited for the books to be whole and all leases to be back."""
_GROUP_S = 600.0
_AGAIN_S = 0.05


class _Round:
    """One budget: its limit, what callers were told, and how large a call may still fit."""

    def __init__(self, feature: str, limit: int, chance: random.Random):
        self.feature = feature
        self.limit = limit
        self.most_tokens = max(1, min(_LONGEST, limit // 20 // _TOKEN))
        self.on_low = chance.choice(["refuse", "clamp"])
        self.told = 0
        self.cut = 0
        """Calls of which the caller heard nothing: they may have cost their worst case."""
        self.id = ""


class _Server:
    """A real server in a folder, which can be killed and started again."""

    def __init__(self, folder: Path, workers: int):
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self._folder = folder
        self._command = [str(_BACKSTAY), "serve", "--port", str(port), "--workers", str(workers), "--json"]
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, and wait until all of its workers are ready. Raises ``BenchError`` if that does not happen."""
        settings = {"BACKSTAY_DATA_DIR": str(self._folder / "data"), "BACKSTAY_LOCAL_MODELS": "false"}
        settings |= {"BACKSTAY_JOBS_CONCURRENCY": "0"}
        with (self._folder / "server.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env={**os.environ, **settings},
                cwd=self._folder,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        said = b""
        with suppress(TimeoutError):
            said = await asyncio.wait_for(self._process.stdout.readline(), _START_S)
        if b'"url"' not in said:
            told = (self._folder / "server.log").read_text()[-1000:]
            raise BenchError(f"The server did not start. It said at last: {told}")

    def operator(self) -> Mapping[str, str]:
        return {"authorization": f"Bearer {read_operator_token(self._folder / 'data')}"}

    def workers(self) -> list[int]:
        assert self._process is not None
        return [pid for pid in tree(self._process.pid) if b"backstay.worker" in _command_line(pid)]

    async def restart(self, number: signal.Signals) -> None:
        await self.stop(number)
        await self.start()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)
            await self._process.wait()


async def play_served(plan: Plan, folder: Path) -> Verdict:
    """Play all rounds through one data folder. Raises ``BenchError`` where the server does not do as it must."""
    (folder / "backstay.toml").write_text(_POLICY)
    server = _Server(folder, plan.processes)
    try:
        await server.start()
        async with _session() as session:
            return await _Soak(plan, server, session).play()
    finally:
        await server.stop()


class _Soak:
    def __init__(self, plan: Plan, server: _Server, session: aiohttp.ClientSession):
        self._plan = plan
        self._server = server
        self._session = session
        self._chance = random.Random(plan.seed)
        self._key = ""
        self._answered = 0
        self.verdict = Verdict()

    async def play(self) -> Verdict:
        began, verdict = time.monotonic(), self.verdict
        self._key = (await self._ask("POST", "/v1/keys", {"name": "soak"}))["key"]
        try:
            while verdict.rounds < self._plan.rounds and time.monotonic() - began < self._plan.seconds:
                async with asyncio.timeout(_GROUP_S):
                    await self._play_group(min(_GROUP, self._plan.rounds - verdict.rounds))
                verdict.seconds = round(time.monotonic() - began, 1)
                print(progress(verdict, self._plan), file=sys.stderr)
        except TimeoutError as error:
            raise BenchError(f"A group of rounds did not end within {_GROUP_S:.0f} s.") from error
        verdict.audit_ok = (await self._ask("GET", "/v1/books"))["ok"]
        return verdict

    async def _play_group(self, count: int) -> None:
        rounds = [
            _Round(f"round-{self.verdict.rounds + number}", self._chance.randint(LEAST, MOST), self._chance)
            for number in range(count)
        ]
        for each in rounds:
            budget = {
                "limit_usd": usd(NanoUSD(each.limit)), "scope": f"feature:{each.feature}", "window": "lifetime",
                "on_low_budget": each.on_low, "min_output_tokens": 1, "wait_s": self._chance.choice([0.1, 0.5]),
            }  # fmt: skip
            each.id = (await self._ask("POST", "/v1/budgets", budget))["id"]
        await asyncio.sleep(1.0)  # every worker follows within a second
        over = asyncio.Event()
        killing = asyncio.create_task(self._kill_some(over))
        try:
            seeds = [self._chance.getrandbits(32) for _ in range(self._plan.callers)]
            await asyncio.gather(*(self._call_on(rounds, random.Random(seed)) for seed in seeds))
        finally:
            over.set()
            await killing
        for each in rounds:
            await self._ask("POST", f"/v1/budgets/{each.id}/change", {"on_low_budget": "refuse"})
        await self._judge(rounds)
        for each in rounds:
            await self._ask("POST", f"/v1/budgets/{each.id}/delete", {})
        self.verdict.rounds += count

    async def _kill_some(self, over: asyncio.Event) -> None:
        """Kill a worker after some dozens of answers, or now and then the whole server, which is started again."""
        while not over.is_set():
            due = self._answered + self._chance.randint(20, 200)
            while self._answered < due and not over.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), _AGAIN_S)
            if self._chance.random() < 0.1:
                await self._server.restart(self._chance.choice([signal.SIGKILL, signal.SIGTERM]))
                self.verdict.restarts += 1
            elif workers := self._server.workers():
                os.kill(self._chance.choice(workers), signal.SIGKILL)
                self.verdict.kills += 1

    async def _call_on(self, rounds: list[_Round], chance: random.Random) -> None:
        """Call until nothing fits any budget."""
        while open_ := [each for each in rounds if each.most_tokens]:
            each = chance.choice(open_)
            tokens = chance.randint(1, each.most_tokens)
            try:
                status, cost = await self._call(each.feature, "load", tokens)
            except (aiohttp.ClientError, TimeoutError):
                each.cut += 1
                await asyncio.sleep(_AGAIN_S)
                continue
            self.verdict.calls += 1
            if status == 200:
                each.told += cost
                self._answered += 1
            elif status == 402:
                each.most_tokens = min(each.most_tokens, tokens // 2)
            elif status == 503:
                await asyncio.sleep(_AGAIN_S)
            else:
                raise BenchError(f"A call was answered {status}.")

    async def _call(self, feature: str, model: str, tokens: int) -> tuple[int, int]:
        """Make one call; return its status, and what it cost."""
        body = {"model": model, "max_tokens": tokens, "messages": [{"role": "user", "content": "Say something."}]}
        headers = {"authorization": f"Bearer {self._key}", "x-backstay-feature": feature}
        async with self._session.post(f"{self._server.url}/v1/chat/completions", json=body, headers=headers) as answer:
            await answer.read()
            return answer.status, from_usd(answer.headers.get("x-backstay-cost-usd", "0"))

    async def _judge(self, rounds: list[_Round]) -> None:
        """Compare what is booked with what callers were told, then ask for what is left, and one nano-dollar more."""
        verdict, found = self.verdict, await self._rested(rounds)
        for each in rounds:
            spent, held = found[each.id]
            verdict.overspent += max(0, spent - each.limit)
            verdict.leaked += held
            verdict.unbooked += spent < each.told or (not each.cut and spent != each.told)
            verdict.least_spent = round(min(verdict.least_spent, spent / each.limit), 6)
            verdict.overspent += await self._is_let_through(each.feature, each.limit - spent + 1)
            if spent < each.limit and not await self._is_let_through(each.feature, each.limit - spent):
                verdict.false_refusals += 1
                verdict.least_usable = min(verdict.least_usable, spent / each.limit)

    async def _is_let_through(self, feature: str, amount: int) -> bool:
        """Make a call that may cost just so many nano-dollars."""
        status = 503
        while status == 503:  # a worker that has just begun may not know its budgets yet
            await asyncio.sleep(_AGAIN_S)
            status, _ = await self._call(feature, "probe", amount)
        if status not in (200, 402):
            raise BenchError(f"A call for what is left was answered {status}.")
        return status == 200

    async def _rested(self, rounds: list[_Round]) -> dict[str, tuple[int, int]]:
        """Read what each budget has spent and what is held of it, once nothing changes for some seconds."""
        ids = {each.id for each in rounds}
        give_up, quiet_since, before = time.monotonic() + _REST_S, time.monotonic(), dict[str, tuple[int, int]]()
        while time.monotonic() < give_up:
            views = (await self._ask("GET", "/v1/budgets"))["budgets"]
            now = {
                each["id"]: (from_usd(each["spent_usd"]), from_usd(each["reserved_usd"]))
                for each in views
                if each["id"] in ids
            }
            if now != before:
                quiet_since, before = time.monotonic(), now
            is_quiet = time.monotonic() - quiet_since > 3.0
            if is_quiet and not any(held for _, held in now.values()):
                break
            await asyncio.sleep(0.3)
        return {id: (int(spent), int(held)) for id, (spent, held) in before.items()}

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the server, again where the worker that took the connection was killed a moment ago."""
        for _ in range(2):
            with suppress(aiohttp.ClientConnectionError):
                return await self._ask_once(method, path, body)
            await asyncio.sleep(_AGAIN_S)
        return await self._ask_once(method, path, body)

    async def _ask_once(self, method: str, path: str, body: Any) -> Any:
        async with self._session.request(
            method, self._server.url + path, json=body, headers=self._server.operator()
        ) as answer:
            found = await answer.read()
        if answer.status >= 400:
            raise BenchError(f"{method} {path} was answered {answer.status}: {found[:300].decode()}")
        return msgspec.json.decode(found)


@asynccontextmanager
async def _session() -> AsyncGenerator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=60)
    ) as session:
        yield session


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
