"""Owns the figures of jobs that are shown to Prometheus: what waits, read from Postgres, and what was done here."""

import asyncio
from collections.abc import Mapping

from backstay.core.errors import BackstayError
from backstay.core.ports import AddFamily, Values
from backstay.jobs.delivery import WebhookEnd
from backstay.jobs.rounds import again_and_again
from backstay.jobs.runner import TryEnd
from backstay.jobs.store import JobStore
from backstay.jobs.types import Backlog

_LOOK_S = 10.0
"""How often what waits is counted: a million lines of batches take Postgres about 0.1 s."""


class Figures:
    """What of jobs is shown. While Postgres has not answered yet, what waits is left out."""

    def __init__(self, store: JobStore, calls: Mapping[TryEnd, int], webhooks: Mapping[WebhookEnd, int]):
        """Take what there is to show.

        Args:
            calls: Tries made here, by what came of them; read each time, as are ``webhooks``.
        """
        self._store = store
        self._calls = calls
        self._webhooks = webhooks
        self._backlog: Backlog | None = None

    async def run(self) -> None:
        """Count what waits now and then, until cancelled."""
        await again_and_again(self._look)

    def watch(self, add_family: AddFamily) -> None:
        """Show all of it."""
        add_family("backstay_job_calls", "Calls made later that have not ended.", "gauge", self._open)
        add_family("backstay_job_calls_overdue_seconds", "For how long a call was due.", "gauge", self._overdue)
        add_family("backstay_webhooks_waiting", "Webhooks that are to be delivered.", "gauge", self._waiting)
        add_family(
            "backstay_job_tries_total", "Tries of calls made later, by what came of them.", "counter",
            lambda: [({"outcome": outcome}, count) for outcome, count in self._calls.items()],
        )  # fmt: skip
        add_family(
            "backstay_webhook_tries_total", "Tries of webhooks, by what came of them.", "counter",
            lambda: [({"outcome": outcome}, count) for outcome, count in self._webhooks.items()],
        )  # fmt: skip

    async def _look(self) -> None:
        try:
            self._backlog = await self._store.backlog()
        except BackstayError:
            self._backlog = None
            raise
        await asyncio.sleep(_LOOK_S)

    def _open(self) -> Values:
        if (backlog := self._backlog) is None:
            return []
        return [
            ({"kind": "batch", "state": "waiting"}, backlog.waiting_lines),
            ({"kind": "async", "state": "waiting"}, backlog.waiting_calls),
            ({"kind": "batch", "state": "running"}, backlog.running_lines),
            ({"kind": "async", "state": "running"}, backlog.running_calls),
        ]

    def _overdue(self) -> Values:
        return [] if self._backlog is None else [({}, self._backlog.overdue_s)]

    def _waiting(self) -> Values:
        return [] if self._backlog is None else [({}, self._backlog.waiting_webhooks)]
