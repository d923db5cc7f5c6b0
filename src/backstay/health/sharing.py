"""Owns the exchange of health among workers: a breaker that opens is known to all, and so is what is drained.

Each worker decides for itself: a peer's word makes it check, with one call, what it would have found out with a dozen.
Rate limits that the operator has named are divided among those that ask a target.
Without Postgres nothing is exchanged, and each goes on alone.
"""

import asyncio
import logging

from backstay.core.clock import Clock
from backstay.core.errors import StoreUnavailable
from backstay.health.breaker import BreakerState
from backstay.health.fleet import Fleet
from backstay.health.store import CHANNEL, HealthStore
from backstay.store import Database

_LOOK_S = 0.2
_REPORT_S = 2.0
_DRAINS_S = 30.0
_OPENED = "opened "

_log = logging.getLogger(__name__)


class HealthSharing:
    """Keeps one worker's fleet in touch with the others'."""

    def __init__(self, fleet: Fleet, database: Database, clock: Clock, *, worker: str):
        self._fleet = fleet
        self._database = database
        self._store = HealthStore(database)
        self._clock = clock
        self._worker = worker
        self._opened: dict[str, int] = {}
        self._drains_are_stale = True
        self._drains_read_s = 0.0
        self._reported_s = 0.0
        self._reported: list[BreakerState] = []

    async def run(self) -> None:
        """Share until cancelled."""
        self._database.listen(CHANNEL, self._on_word, on_gap=self._on_gap)
        while True:
            try:
                await self._share()
            except StoreUnavailable:
                pass  # nobody to share with; what is stale is read when Postgres is back
            except Exception:  # noqa: BLE001 - the edge of the task: the next round tries again
                _log.exception("the health of targets could not be shared")
            await asyncio.sleep(_LOOK_S)

    async def _share(self) -> None:
        now_s = self._clock.monotonic_ns() * 1e-9
        for target in self._newly_opened():
            _log.warning("the breaker of %s opened", target)
            await self._store.tell(f"{_OPENED}{self._worker} {target}")
        if self._drains_are_stale or now_s - self._drains_read_s > _DRAINS_S:
            self._fleet.drain([drain.target for drain in await self._store.drains()])
            self._drains_are_stale, self._drains_read_s = False, now_s
        states = self._fleet.states(now_s)
        breakers: list[BreakerState] = [state.breaker for state in states]
        if states and (now_s - self._reported_s > _REPORT_S or breakers != self._reported):
            self._reported_s, self._reported = now_s, breakers
            await self._store.report(self._worker, states)
            self._fleet.share(await self._store.askers(self._worker), now_s)

    def _newly_opened(self) -> list[str]:
        """Name the targets whose breaker this worker itself has opened since the last look."""
        before, self._opened = self._opened, {each.name: each.breaker.opened for each in self._fleet}
        return [
            each.name
            for each in self._fleet
            if each.breaker.opened > before.get(each.name, 0) and each.breaker.cause not in ("peer", None)
        ]

    def _on_gap(self) -> None:
        self._drains_are_stale = True

    def _on_word(self, word: str) -> None:
        if not word.startswith(_OPENED):
            self._drains_are_stale = True
            return
        worker, _, name = word.removeprefix(_OPENED).partition(" ")
        if worker == self._worker or not name:
            return
        health = self._fleet.of(name)
        if health.breaker.state == "closed":
            health.breaker.open(self._clock.monotonic_ns() * 1e-9, "peer")
