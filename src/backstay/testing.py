"""Owns what users and our tests share: a clock that stands still, and a simulator on a real socket."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from backstay.core.clock import Clock
from backstay.providers.simulator import Script, Simulation
from backstay.providers.simulator_server import SimulatorServer


class FixedClock:
    """A clock that moves only when told."""

    def __init__(self, now_ns: int = 1_767_225_600_000_000_000):
        """Stand at a time: nanoseconds since the Unix epoch, by default 2026-01-01 00:00 UTC."""
        self._now_ns = now_ns
        self._monotonic_ns = 0

    def now_ns(self) -> int:
        return self._now_ns

    def monotonic_ns(self) -> int:
        return self._monotonic_ns

    def advance(self, seconds: float) -> None:
        """Let time pass. Raises ``ValueError`` for a negative time."""
        if seconds < 0:
            raise ValueError("time does not run backwards")
        step_ns = round(seconds * 1e9)
        self._now_ns += step_ns
        self._monotonic_ns += step_ns


class RunningSimulator(msgspec.Struct, frozen=True, kw_only=True):
    """A simulator that listens."""

    url: str
    """Without a path: Anthropic's SDK takes it as it is."""
    simulation: Simulation
    """What it does; its ``script`` may be replaced at any time."""

    @property
    def openai_url(self) -> str:
        """What OpenAI's SDK takes as its base URL."""
        return self.url + "/v1"


@asynccontextmanager
async def simulator_server(
    script: Mapping[str, Any] | Script | None = None, *, seed: int = 0, clock: Clock | None = None
) -> AsyncGenerator[RunningSimulator]:
    """Run a simulator on a free port of the loopback interface, as long as the block lasts.

    Raises:
        ConfigError: The script is not valid.
    """
    server = SimulatorServer(Simulation(script, seed=seed, clock=clock))
    url = await server.start()
    try:
        yield RunningSimulator(url=url, simulation=server.simulation)
    finally:
        await server.stop()
