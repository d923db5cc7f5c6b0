"""Owns the composition of what answers calls: journal, policy, keys, limits, claims, cache, gateway and gate.

A worker puts its pages in front of it, a client in somebody else's program nothing but its own calls.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from backstay.access import KeyRing
from backstay.alerts import Alerts
from backstay.alerts.spend_watch import tell_of_loops
from backstay.budgets import Escrow
from backstay.cache import Cache
from backstay.conversations import Conversations
from backstay.core.caller import Caller
from backstay.core.clock import SystemClock
from backstay.core.errors import StoreUnavailable
from backstay.core.settings import Settings
from backstay.data_folder import POLICY_IN_FORCE, read_secret
from backstay.gateway import Capacity, Gate, Gateway, call
from backstay.gateway.shadows import Shadows
from backstay.health import Fleet, HealthSharing
from backstay.idempotency import Claims
from backstay.idempotency import Terms as IdempotencyTerms
from backstay.limits import Limiter
from backstay.live_policy import LivePolicy
from backstay.loops import Loops
from backstay.providers import ProviderEmbedder
from backstay.store import Database, Journal
from backstay.tracing import Span

_log = logging.getLogger("backstay")

SETTLE_LIMIT_S = 1.0
"""How long a stopping process waits for calls that it has cancelled to be recorded."""


class CallPath:
    """What the calls of one process go through. Several may run in one, each with a journal of its own."""

    def __init__(
        self,
        settings: Settings,
        slot: str,
        *,
        database: Database,
        observe: Callable[[Span], None],
        knows_all_keys: bool = True,
        is_supervised: bool = True,
    ):
        """Build the rooms. Nothing is opened yet but the journal.

        Args:
            slot: Name of the journal's folder: no two live processes have the same.
            observe: Called with each finished call's span.
            knows_all_keys: Whether all keys are read beforehand, or each when it is first used.
            is_supervised: Whether somebody starts the process again when it dies: then it goes on with the policy that
                was in force, should the file be wrong by then.

        Raises:
            ConfigError: A setting or the policy is wrong, or the data folder cannot be used.
        """
        self.clock = SystemClock()
        self.secret = read_secret(settings.data_dir)
        self.database = database
        self.policy = LivePolicy(settings.config, os.environ, settings.data_dir)
        self._kept_policy = settings.data_dir / POLICY_IN_FORCE if is_supervised else None
        self.ring = KeyRing(database, self.secret, self.clock, knows_all=knows_all_keys)
        self.journal = Journal.open(settings.data_dir / "journal" / slot)
        self.limiter = Limiter(database, self.clock, worker=self.journal.owner, folder=self.journal.folder)
        self.escrow = Escrow(database, self.clock, holder=self.journal.owner)
        self.conversations = Conversations(database, self.journal, self.clock)
        self.cache = Cache(
            database,
            self.clock,
            memory_bytes=settings.cache_memory_bytes,
            embedder=ProviderEmbedder(lambda: self.policy.providers["local"]),
        )
        self.loops = Loops()
        self.alerts = Alerts(database, lambda: self.policy.alerts)
        self.claims = Claims(database, self.clock, _idempotency_terms(settings))
        self.gateway = self._gateway(observe, settings)
        self.shadows = self.gateway.shadows = Shadows(partial(call, self.gateway), self.cache, self.gateway.chance)
        self._health = HealthSharing(
            self.gateway.fleet, database, self.clock, worker=f"{socket.gethostname()}:{os.getpid()}"
        )
        self.gate = Gate(Capacity(calls=settings.max_calls, size_bytes=settings.max_bytes_in_flight), self.clock)
        self._tasks: list[asyncio.Task[None]] = []

    def _gateway(self, observe: Callable[[Span], None], settings: Settings) -> Gateway:
        return Gateway(
            models=self.policy.models,
            prices=self.policy.prices,
            journal=self.journal,
            clock=self.clock,
            observe=observe,
            conversations=self.conversations,
            limiter=self.limiter,
            escrow=self.escrow,
            loops=self.loops,
            claims=self.claims,
            cache=self.cache,
            fleet=Fleet(settings.workers),
            capture=settings.capture == "full",
        )

    async def start(self) -> None:
        """Open what needs a running loop. Postgres may be away: calls with known keys go on without it.

        Raises:
            ConfigError: The policy is not valid.
        """
        if self._kept_policy is None:
            self.policy.load()
        else:
            self.policy.start(self._kept_policy)
        self._adopt_policy()
        try:
            await self.database.open()
        except StoreUnavailable as error:
            _log.warning("Starting without Postgres. %s", error.message)
        await self.escrow.start()
        await self.ring.start()
        self.cache.start()
        for work in (
            self.journal.keep(),
            self._health.run(),
            self.limiter.run(),
            self.escrow.run(),
            self.claims.run(),
            tell_of_loops(self.loops, self.alerts),
            self.cache.run(),
            self.conversations.run(),
            self.policy.watch(self._adopt_policy),
        ):
            self.run(work)
        await self.escrow.ready()

    async def stop(self) -> None:
        """Close everything in the reverse order. What the journal holds is for a shipper to ship."""
        self.gateway.draining = True
        await self.gate.emptied(SETTLE_LIMIT_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.shadows.stop()
        await self.limiter.close()
        await self.escrow.close()
        await self.claims.close()
        await self.cache.stop()
        await self.policy.close()
        await self.ring.stop()
        await self.database.close()
        self.journal.close()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something in the background until ``stop``."""
        task = asyncio.create_task(work)
        task.add_done_callback(_report_end)
        self._tasks.append(task)

    def reload(self) -> None:
        """Read the policy again now."""
        self.policy.look_again()

    def model_names(self, caller: Caller) -> list[str]:
        """List the models that a caller may use."""
        return self.gateway.models.names_for(caller)

    def _adopt_policy(self) -> None:
        self.gateway.models, self.gateway.prices = self.policy.models, self.policy.prices
        named = {target.name for model in self.policy.models for target in model.all_targets}
        self.gateway.fleet.configure(self.policy.rate_limits, named)
        self.limiter.rules = self.policy.limits
        self.loops.adopt(self.policy.file.loops)
        self.escrow.adopt(self.policy.budgets)
        self.run(self.cache.adopt({name: model.cache for name, model in self.policy.file.models.items()}))


def _idempotency_terms(settings: Settings) -> IdempotencyTerms:
    return IdempotencyTerms(keep_s=settings.idempotency_keep_s, max_bytes=settings.idempotency_max_bytes)


def _report_end(task: asyncio.Task[None]) -> None:
    """A background task must not end by itself: say so, as nobody waits for it."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.critical("A background task died.", exc_info=error)
