"""A limit is exact for those who call over HTTP, whichever worker they reach, and whichever of them dies."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import psutil
import pytest

from serving import Server, serving

LIMIT, CALLERS, WORKERS = 600, 200, 4
TIMES, PAUSE_S = 5, 0.3
"""Who is refused so often in a row, with such pauses, will be for the rest of the minute: loans last half a second."""
POLICY = """
[providers.quick]
dialect = "simulator"
price_as = "openai/gpt-4o-mini"

[models.quick]
targets = ["quick/gpt-4o-mini"]
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "backstay.toml").write_text(POLICY)
    with serving(tmp_path, "--workers", str(WORKERS)) as server:
        yield server


class Crowd:
    """Callers that call one after the other, each over connections of their own, until they are refused for good."""

    def __init__(self, server: Server, key: str):
        self.told: Counter[int] = Counter()
        self.broken = 0
        self._url = f"{server.url}/v1/chat/completions"
        self._headers = {"authorization": f"Bearer {key}", "connection": "close"}

    async def run(self) -> None:
        async with aiohttp.ClientSession(headers=self._headers, connector=aiohttp.TCPConnector(limit=0)) as session:
            await asyncio.gather(*(self._call_on(session, number) for number in range(CALLERS)))

    async def _call_on(self, session: aiohttp.ClientSession, number: int) -> None:
        body = {"model": "quick", "messages": [{"role": "user", "content": f"question {number}"}]}
        refused = 0
        while refused < TIMES:
            try:
                async with session.post(self._url, json=body) as response:
                    await response.read()
            except aiohttp.ClientError:
                self.broken += 1
                continue
            self.told[response.status] += 1
            refused = refused + 1 if response.status == 429 else 0
            await asyncio.sleep(PAUSE_S if refused else 0)


async def test_two_hundred_callers_and_a_dead_worker(server: Server) -> None:
    """600 a minute over four workers, one of which is killed in the middle: 600 are admitted, not one more or fewer.

    What the dead worker had borrowed and not used is there for the others. What it used, it noted: a call of which the
    caller never saw the answer counts.
    """
    key = server.ask("keys", "create", "--name", "crowd", "--requests-per-min", str(LIMIT))["key"]
    crowd = Crowd(server, key)
    running = asyncio.create_task(crowd.run())
    while crowd.told[200] < LIMIT // 3:  # noqa: ASYNC110 - what is waited for is told by a count
        await asyncio.sleep(0.01)
    assert crowd.told[200] < LIMIT, "there is something left to be admitted when it dies"
    workers = [
        child
        for child in psutil.Process(server.process.pid).children()
        if "backstay.worker" in " ".join(child.cmdline())
    ]
    assert len(workers) == WORKERS
    workers[0].kill()
    await asyncio.wait_for(running, 50)
    assert set(crowd.told) == {200, 429}
    assert crowd.told[200] <= LIMIT
    assert crowd.told[200] + crowd.broken >= LIMIT
