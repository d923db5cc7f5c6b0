"""Tests of what a whole installation survives: dead workers, an absent Postgres, callers that go away."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from serving import Server, eventually, serving

POLICY = """
[providers.paced]
dialect = "simulator"
price_as = "openai/gpt-4o-mini"
script = { latency_s = { low = 0.0, high = 0.08 }, tokens_per_second = 400 }

[providers.slow]
dialect = "simulator"
price_as = "openai/gpt-4o-mini"
script = { tokens_per_second = 20, output_tokens = 400 }

[models.paced]
targets = ["paced/gpt-4o-mini"]

[models.slow]
targets = ["slow/gpt-4o-mini"]
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Two workers over one embedded Postgres."""
    (tmp_path / "backstay.toml").write_text(POLICY)
    with serving(tmp_path, "--workers", "2") as server:
        yield server


class Load:
    """Callers that go on calling; it is kept what each was told."""

    def __init__(self, server: Server, key: str):
        self.answered: list[str] = []
        self.broken = 0
        self._is_over = False
        self.refused: list[tuple[int, str]] = []
        self._url = f"{server.url}/v1/chat/completions"
        self._headers = {"authorization": f"Bearer {key}"}

    async def run(self, callers: int, until: Callable[[], Awaitable[None]]) -> None:
        """Call with so many callers at once until something else is done."""
        async with aiohttp.ClientSession(headers=self._headers) as session:
            callers_at_work = [asyncio.create_task(self._call_on(session, number)) for number in range(callers)]
            await until()
            self._is_over = True
            await asyncio.gather(*callers_at_work)

    async def _call_on(self, session: aiohttp.ClientSession, number: int) -> None:
        while not self._is_over:
            await self._call_once(session, stream=number % 2 == 0)

    async def _call_once(self, session: aiohttp.ClientSession, *, stream: bool) -> None:
        body = {"model": "paced", "stream": stream, "messages": [{"role": "user", "content": "hello"}]}
        try:
            async with session.post(self._url, json=body) as answer:
                text = await answer.read()
                if answer.status != 200:
                    self.refused.append((answer.status, text.decode()))
                elif not stream or text.endswith(b"data: [DONE]\n\n"):
                    self.answered.append(answer.headers["x-backstay-trace-id"])
                else:
                    self.broken += 1
        except aiohttp.ClientError:
            self.broken += 1


def processes(server: Server, module: str) -> list[psutil.Process]:
    """Find the server's processes that run a module, such as ``backstay.worker``."""
    children = psutil.Process(server.process.pid).children(recursive=True)
    return [child for child in children if module in " ".join(child.cmdline())]


def postgres_processes(server: Server) -> list[psutil.Process]:
    here = str(server.data_dir / "pg")
    found = [each for each in psutil.process_iter(["cmdline"]) if here in " ".join(each.info["cmdline"] or [])]
    return [*found, *(child for each in found for child in each.children(recursive=True))]


def booked(server: Server, key: str, wanted: set[str], *, patience_s: float = 30) -> Counter[str]:
    """Count the calls of each trace in the books, once all that are wanted are there or patience ends."""
    until = time.monotonic() + patience_s
    while True:
        counts: Counter[str] = Counter()
        before: str | None = None
        while True:
            paging = ["--before", before] if before else []
            page: dict[str, Any] = server.ask("traces", "list", "--limit", "200", *paging)
            counts.update(row["trace_id"] for row in page["traces"])
            before = page["next"]
            if before is None:
                break
        if wanted <= set(counts) or time.monotonic() > until:
            return counts
        time.sleep(0.5)


async def test_a_killed_worker_loses_no_call_and_counts_none_twice(server: Server):
    """Workers die under load: each answered call is in the books once, and the ledger has as many as the traces."""
    key: str = server.ask("keys", "create", "--name", "load")["key"]
    load = Load(server, key)

    async def kill_twice() -> None:
        for _ in range(2):
            await asyncio.sleep(1.5)
            for worker in processes(server, "backstay.worker")[:1]:
                worker.send_signal(signal.SIGKILL)
        await asyncio.sleep(1.5)

    await load.run(16, kill_twice)
    assert len(load.answered) > 100 and load.refused == []
    counts = await asyncio.to_thread(booked, server, key, set(load.answered))
    assert set(load.answered) - set(counts) == set()
    assert max(counts.values()) == 1
    rows = server.ask("costs", "--by", "model")["rows"]
    assert sum(row["calls"] for row in rows) == len(counts)


async def test_a_killed_shipping_process_loses_no_call_and_counts_none_twice(server: Server):
    """The shipping process dies again and again under load: each call is in the books once, and none is held up."""
    key: str = server.ask("keys", "create", "--name", "load")["key"]
    load = Load(server, key)
    killed = 0

    async def kill_often() -> None:
        nonlocal killed
        for pause_s in (0.7, 1.1, 1.3, 0.9):
            await asyncio.sleep(pause_s)
            for process in processes(server, "backstay.shipping"):
                process.send_signal(signal.SIGKILL)
                killed += 1

    await load.run(16, kill_often)
    assert killed >= 2 and len(load.answered) > 100 and (load.refused, load.broken) == ([], 0)
    counts = await asyncio.to_thread(booked, server, key, set(load.answered))
    assert set(load.answered) - set(counts) == set()
    assert max(counts.values()) == 1
    rows = server.ask("costs", "--by", "model")["rows"]
    assert sum(row["calls"] for row in rows) == len(counts)


async def test_an_absent_postgres_stops_no_call(server: Server):
    """Postgres hangs for a while under load: no caller sees an error, and the books are complete afterwards."""
    key: str = server.ask("keys", "create", "--name", "load")["key"]
    load = Load(server, key)

    async def hang_postgres() -> None:
        await asyncio.sleep(1)
        stopped = postgres_processes(server)
        assert stopped
        for process in stopped:
            process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(7)
        for process in stopped:
            if process.is_running():
                process.send_signal(signal.SIGCONT)
        await asyncio.sleep(1)

    await load.run(8, hang_postgres)
    assert (load.refused, load.broken) == ([], 0)
    assert len(load.answered) > 200
    counts = await asyncio.to_thread(booked, server, key, set(load.answered))
    assert set(load.answered) - set(counts) == set()
    assert max(counts.values()) == 1


async def test_a_killed_postgres_comes_back(server: Server):
    """The embedded Postgres dies under load and is started again: no caller sees an error, the books are complete."""
    key: str = server.ask("keys", "create", "--name", "load")["key"]
    load = Load(server, key)

    async def kill_postgres() -> None:
        await asyncio.sleep(1)
        postgres_processes(server)[0].send_signal(signal.SIGKILL)
        await asyncio.sleep(5)

    await load.run(8, kill_postgres)
    assert (load.refused, load.broken) == ([], 0)
    await asyncio.to_thread(eventually, lambda: server.run("traces", "list", "--json").returncode == 0)
    counts = await asyncio.to_thread(booked, server, key, set(load.answered))
    assert set(load.answered) - set(counts) == set()


async def test_a_caller_that_goes_away_midstream_is_in_the_books(server: Server):
    """Hanging up in the middle of a stream ends the provider's call, and what was received is recorded and priced."""
    key: str = server.ask("keys", "create", "--name", "fickle")["key"]
    body = {"model": "slow", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as session:
        async with session.post(f"{server.url}/v1/chat/completions", json=body) as answer:
            trace_id = answer.headers["x-backstay-trace-id"]
            for _ in range(5):
                assert await answer.content.readline()
            answer.close()
    await asyncio.to_thread(booked, server, key, {trace_id})
    row = next(row for row in server.ask("traces", "list")["traces"] if row["trace_id"] == trace_id)
    assert (row["status"], row["output_tokens"] > 0, row["duration_ms"] < 5000) == ("cancelled", True, True)
    assert float(row["cost_usd"]) > 0


async def test_a_drain_lets_streams_finish_and_ships_everything(server: Server):
    """SIGTERM: no new calls, open streams end well, and the books hold them at the next start."""
    key: str = server.ask("keys", "create", "--name", "patient")["key"]
    body = {"model": "slow", "stream": True, "max_tokens": 60, "messages": [{"role": "user", "content": "hello"}]}
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as session:
        async with session.post(f"{server.url}/v1/chat/completions", json=body) as answer:
            trace_id = answer.headers["x-backstay-trace-id"]
            await answer.content.readline()
            os.kill(server.process.pid, signal.SIGTERM)
            rest = await answer.read()
    assert rest.endswith(b"data: [DONE]\n\n")
    assert await asyncio.to_thread(server.process.wait, 30) == 0
    with serving(server.folder) as again:
        counts = await asyncio.to_thread(booked, again, key, {trace_id})
    assert counts[trace_id] == 1
