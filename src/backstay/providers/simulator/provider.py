"""Owns the simulator as a provider in this process: the same performances as on a socket, without one."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from backstay.core.clock import Clock
from backstay.core.errors import ProviderTimeout, ProviderUnreachable
from backstay.providers.catalog import DialectName
from backstay.providers.deadlines import Deadline, Deadlines
from backstay.providers.dialects import DIALECTS
from backstay.providers.paths import PATHS
from backstay.providers.simulator.performance import Ending, Performance
from backstay.providers.simulator.script import Script
from backstay.providers.simulator.simulation import Simulation, address
from backstay.providers.types import Dialect, Framing, ProviderRequest, Timeouts

_FOREVER_S = 365 * 86_400.0


class Simulator:
    """A provider without a network: scripted, and the same in each run of the same seed."""

    price_provider: str | None = None
    is_free = False
    problem: str | None = None
    reports_stream_usage = True

    def __init__(
        self,
        name: str,
        *,
        script: Mapping[str, Any] | Script | None = None,
        seed: int = 0,
        speaks: DialectName = "openai",
        responses: bool = False,
        clock: Clock | None = None,
    ):
        """Begin a simulation. Raises ``ConfigError`` where the script is not valid."""
        self.name = name
        self.dialect: Dialect = DIALECTS[speaks]
        self.speaks = frozenset({speaks, "responses"} if responses else {speaks})
        self.simulation = Simulation(script, seed=seed, clock=clock)
        self._deadlines = Deadlines()

    async def send(self, request: ProviderRequest) -> "SimulatedExchange":
        """Start an exchange. Raises ``ProviderUnreachable`` and ``ProviderTimeout`` where the script says so."""
        stage = Stage(Deadline(self._deadlines, request.timeouts or Timeouts(), stream=request.stream))
        performance = self._perform(request)
        await stage.wait(performance.latency_s)
        if performance.status is None:
            await stage.end(performance.ending)
        return SimulatedExchange(performance, stage, self.dialect.framing)

    def _perform(self, request: ProviderRequest) -> Performance:
        if request.resource is not None:
            return self.simulation.manage_response(request.method, request.resource)
        dialect = DIALECTS[request.dialect or self.dialect.name]
        is_addressed = "{model}" in PATHS[dialect.name]["chat"]
        addressed = address(request.model_id, stream=request.stream) if is_addressed else {}
        return self.simulation.perform(dialect, request.operation, request.whole_body, addressed)

    async def close(self) -> None:
        """Do nothing: there is nothing open."""


class Stage:
    """Where a performance is given: it keeps the time, and the caller's deadlines."""

    def __init__(self, deadline: Deadline):
        self._deadline = deadline
        self._pace = Pace()

    async def wait(self, wait_s: float) -> None:
        """Wait as long as scripted. Raises ``ProviderTimeout`` at the deadline if that comes before."""
        if not wait_s:
            return
        try:
            with self._deadline:
                await self._pace.wait(wait_s)
        except TimeoutError:
            raise ProviderTimeout("Simulated: the provider did not answer in time.") from None

    def piece_came(self) -> None:
        self._deadline.piece_came()

    async def end(self, ending: Ending) -> None:
        """End as scripted. Raises ``ProviderUnreachable`` or ``ProviderTimeout`` for a bad end."""
        if ending == "break":
            raise ProviderUnreachable("Simulated: the connection to the provider broke.")
        if ending == "hang":
            await self.wait(_FOREVER_S)


class Pace:
    """Waits that add up exactly, however late each of them ends."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time()

    async def wait(self, wait_s: float) -> None:
        """Wait until so long after the end of the wait before."""
        self._due += wait_s
        await asyncio.sleep(max(0.0, self._due - self._loop.time()))


class SimulatedExchange:
    """An answer whose headers have arrived."""

    def __init__(self, performance: Performance, stage: Stage, framing: Framing):
        self.status = performance.status or 0
        self.headers: Mapping[str, str] = performance.headers
        self._performance = performance
        self._stage = stage
        self._framing = framing

    async def read(self) -> bytes:
        """Return the whole body. Raises as ``Simulator.send`` does."""
        return b"".join([data async for data in self._pieces()])

    async def frames(self) -> AsyncIterator[bytes]:
        """Iterate over whole frames. Raises as ``Simulator.send`` does."""
        splitter = self._framing.splitter()
        async for data in self._pieces():
            self._stage.piece_came()
            for frame in splitter.feed(data):
                yield frame

    async def _pieces(self) -> AsyncIterator[bytes]:
        for piece in self._performance.pieces:
            await self._stage.wait(piece.wait_s)
            yield piece.data
        await self._stage.end(self._performance.ending)

    async def close(self) -> None:
        """Do nothing: there is nothing open."""
