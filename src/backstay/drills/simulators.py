"""Owns the simulated targets of a drill: their processes, and what they are told and asked over their controls."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp

from backstay.core.errors import BackstayError, ConfigError
from backstay.providers.simulator import Script, read_script

_CONTROL_S = 5.0
GOOD = ("answer", "invalid")
"""Outcomes of upstream calls that no fault has struck."""

Counts = dict[str, dict[str, int]]
"""Upstream calls, by target and outcome."""


@asynccontextmanager
async def running_simulators(names: Sequence[str]) -> AsyncGenerator[dict[str, str]]:
    """Run a simulator for each name, on free ports of the loopback interface; give their URLs."""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "backstay.drills.simulator_process",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True,
        )
        for _ in names
    ]  # fmt: skip
    try:
        urls: dict[str, str] = {}
        for name, process in zip(names, processes, strict=True):
            assert process.stdout is not None
            url = (await process.stdout.readline()).decode().strip()
            if not url:
                raise BackstayError(f"The simulator for {name} did not start. What it wrote above says why.")
            urls[name] = url
        yield urls
    finally:
        for process in processes:
            if process.returncode is None:
                process.terminate()
        await asyncio.gather(*(process.wait() for process in processes))


class Simulators:
    """The targets of a drill, controlled over HTTP."""

    def __init__(self, session: aiohttp.ClientSession, urls: Mapping[str, str]):
        self.urls = {name: url.rstrip("/") for name, url in urls.items()}
        self._session = session

    async def play(self, scripts: Mapping[str, Script]) -> None:
        """Give each target its script, from the beginning.

        Raises:
            ConfigError: One of them is no simulator that can be reached from here.
        """
        for name, script in scripts.items():
            await self._control("PUT", name, "script", script.model_dump(exclude_unset=True, mode="json"))
        await asyncio.gather(*(self._control("POST", name, "reset", {}) for name in scripts))

    async def scripts(self) -> dict[str, Script]:
        """Read what each target plays now. Raises ``ConfigError`` as ``play`` does."""
        return {name: read_script(await self._control("GET", name, "script")) for name in self.urls}

    async def counts(self) -> Counts:
        """Count the upstream calls since ``play``. Raises ``ConfigError`` as ``play`` does."""
        stats = await asyncio.gather(*(self._control("GET", name, "stats") for name in self.urls))
        return {name: each["outcomes"] for name, each in zip(self.urls, stats, strict=True)}

    async def _control(self, method: str, name: str, what: str, body: Any = None) -> dict[str, Any]:
        url = f"{self.urls[name]}/_simulator/{what}"
        try:
            async with asyncio.timeout(_CONTROL_S), self._session.request(method, url, json=body) as answer:
                found = await answer.json()
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            raise ConfigError(f"{url} does not answer as a simulator does: {error or 'no answer in time'}.") from error
        if answer.status != 200 or not isinstance(found, dict):
            raise ConfigError(f"{url} answered {answer.status}. Drills are played against `backstay simulate` only.")
        return cast(dict[str, Any], found)


def total(counts: Counts) -> int:
    """Add up upstream calls."""
    return sum(sum(outcomes.values()) for outcomes in counts.values())


def struck(counts: Counts) -> int:
    """Add up the upstream calls that a fault has struck."""
    return sum(number for outcomes in counts.values() for name, number in outcomes.items() if name not in GOOD)
