"""Owns composition: builds every room of one worker from its settings, once, in order, and takes it down again."""

import asyncio
import logging
import os
import socket
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any

from starlette.applications import Starlette

from backstay import api, console
from backstay.access import AuditLog, KeyRing, Keys, Mailer, People, Sessions
from backstay.catalog import describe
from backstay.core.caller import Caller
from backstay.core.clock import SystemClock
from backstay.core.errors import ConfigError, StoreUnavailable
from backstay.core.settings import Settings
from backstay.data_folder import read_operator_token, read_secret
from backstay.gateway import Capacity, Gate, Gateway
from backstay.health import HealthSharing
from backstay.idempotency import Claims
from backstay.idempotency import Terms as IdempotencyTerms
from backstay.ledger import LedgerStore
from backstay.limits import Limiter
from backstay.live_policy import LivePolicy
from backstay.providers import DIALECTS
from backstay.store import Database, Journal
from backstay.tracing import CallMetrics, TraceStore, read_call

_log = logging.getLogger("backstay.app")

SETTLE_LIMIT_S = 1.0
"""How long a stopping worker waits for calls that it has cancelled to be recorded."""


class App:
    """One worker: its rooms, and the ASGI callable in front of them."""

    def __init__(self, settings: Settings, slot: int):
        """Build the rooms. Nothing is opened yet but the journal.

        Raises:
            ConfigError: A setting or the policy is wrong, or the data folder cannot be used.
        """
        if settings.database_url is None:
            raise ConfigError("BACKSTAY_DATABASE_URL is not set. Start workers with `backstay serve`.")
        folder, self._clock = settings.data_dir, SystemClock()
        self._settings = settings
        self._secret = read_secret(folder)
        self._database = Database(settings.database_url.get_secret_value(), name=f"backstay worker {slot}")
        self._policy = LivePolicy(settings.config, os.environ)
        self._journal = Journal.open(folder / "journal" / str(slot))
        self._ring = KeyRing(self._database, self._secret, self._clock)
        self._limiter = Limiter(self._database, self._clock)
        self._claims = Claims(
            self._database,
            self._clock,
            IdempotencyTerms(keep_s=settings.idempotency_keep_s, max_bytes=settings.idempotency_max_bytes),
        )
        self._metrics = CallMetrics(folder / "metrics", str(slot))
        self._gateway = Gateway(
            models=self._policy.models,
            prices=self._policy.prices,
            journal=self._journal,
            clock=self._clock,
            observe=self._metrics.observe,
            limiter=self._limiter,
            claims=self._claims,
            capture=settings.capture == "full",
        )
        self._health = HealthSharing(
            self._gateway.fleet, self._database, self._clock, worker=f"{socket.gethostname()}:{os.getpid()}"
        )
        self._gate = Gate(Capacity(calls=settings.max_calls, size_bytes=settings.max_bytes_in_flight), self._clock)
        self._tasks: list[asyncio.Task[None]] = []
        self.asgi = self._build_asgi(api.Authenticator(self._ring, read_operator_token(folder) or ""))

    async def start(self) -> None:
        """Open what needs a running loop. Postgres may be away: calls with known keys go on without it.

        Raises:
            ConfigError: The policy is not valid.
        """
        self._policy.load()
        self._adopt_policy()
        try:
            await self._database.open()
        except StoreUnavailable as error:
            _log.warning("Starting without Postgres. %s", error.message)
        await self._ring.start()
        self._watch_figures()
        for work in (
            self._journal.keep(),
            self._metrics.run(),
            self._health.run(),
            self._limiter.run(),
            self._claims.run(),
            self._policy.watch(self._adopt_policy),
        ):
            self._run(work)

    async def stop(self) -> None:
        """Close everything in the reverse order. What the journal holds is for the shipping process to ship."""
        self._gateway.draining = True
        await self._gate.emptied(SETTLE_LIMIT_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._limiter.close()
        await self._claims.close()
        await self._policy.close()
        await self._ring.stop()
        await self._database.close()
        self._journal.close()

    def reload(self) -> None:
        """Read the policy again now."""
        self._policy.look_again()

    def _adopt_policy(self) -> None:
        self._gateway.models, self._gateway.prices = self._policy.models, self._policy.prices
        self._gateway.fleet.configure(self._policy.rate_limits)
        self._limiter.rules = self._policy.limits

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        task.add_done_callback(_report_end)
        self._tasks.append(task)

    def _watch_figures(self) -> None:
        figures = self._metrics
        self._watch_gate()
        # To what the disk did not take yet, the shipping process adds what Postgres does not have.
        figures.add_gauge(
            "backstay_journal_backlog_bytes", "Journal not in Postgres yet.", lambda: self._journal.parked_bytes
        )

    def _watch_gate(self) -> None:
        figures, gate, admission = self._metrics, self._gate, self._gate.admission
        figures.add_gauge("backstay_in_flight", "Calls that are open.", lambda: admission.calls)
        figures.add_gauge("backstay_in_flight_bytes", "Bytes that open calls hold.", lambda: admission.size_bytes)
        figures.add_gauge("backstay_queue_length", "Calls that wait for a place.", lambda: admission.waiting)
        figures.add_counter("backstay_queue_waits_total", "Calls that waited for a place.", lambda: gate.waits)
        figures.add_counter(
            "backstay_queue_wait_seconds_total", "How long they waited.", lambda: gate.waited_ns / 1_000_000_000
        )
        for priority, reason in gate.sheds:
            figures.add_counter(
                "backstay_sheds_total",
                "Calls that were refused for want of room.",
                partial(gate.sheds.__getitem__, (priority, reason)),
                {"priority": priority, "reason": reason},
            )

        self._limiter.watch(figures.add_counter)

    def _build_asgi(self, authenticate: api.Authenticator) -> api.FrontDoor:
        settings, database = self._settings, self._database
        mailer = None
        if settings.smtp_url is not None:
            mailer = Mailer(settings.smtp_url.get_secret_value(), settings.mail_from)
        traces, ledger, audit = TraceStore(database), LedgerStore(database), AuditLog(database)
        keys = Keys(database, self._secret, self._clock)
        people = People(database, self._secret, public_url=settings.public_url, mailer=mailer)
        sessions = Sessions(database, self._secret, self._clock)
        manage = api.ManageDeps(
            authenticate=authenticate,
            keys=keys,
            people=people,
            sessions=sessions,
            audit=audit,
            traces=traces,
            ledger=ledger,
            catalog=self._describe,
            read_call=lambda span: read_call(span, DIALECTS),
        )
        pages = console.ConsoleDeps(
            traces=traces,
            ledger=ledger,
            keys=keys,
            people=people,
            sessions=sessions,
            audit=audit,
            catalog=self._describe,
            read_trace=lambda span: read_call(span, DIALECTS),
            clock=self._clock,
            secure_cookies=(settings.public_url or "").startswith("https:"),
            base_url=settings.public_url,
        )
        site = Starlette(
            routes=[
                *api.health_routes(self._checks(), self._metrics.render),
                *api.model_routes(authenticate, self._model_names),
                *api.manage_routes(manage),
                *console.routes(pages),
            ],
            exception_handlers=api.EXCEPTION_HANDLERS,
        )
        wires = api.Wires(self._gateway, self._gate, authenticate, max_body_bytes=settings.max_body_bytes)
        return api.FrontDoor(wires, site)

    def _model_names(self, caller: Caller) -> list[str]:
        return [model.name for model in self._gateway.models.visible_to(caller)]

    async def _describe(self, caller: Caller) -> Sequence[console.CatalogModel]:
        return describe(self._gateway.models, self._gateway.prices, caller)

    def _checks(self) -> list[api.Check]:
        async def keys() -> str | None:
            return None if self._ring.is_loaded else "The keys could not be read from Postgres yet."

        async def journal() -> str | None:
            return "The disk takes no more of the journal: free some space." if self._journal.full else None

        async def calls() -> str | None:
            return "This worker is shutting down." if self._gateway.draining else None

        async def postgres() -> str | None:
            away = "Postgres does not answer. Calls with known keys go on; their records are shipped later."
            return None if await self._database.is_ready() else away

        async def policy() -> str | None:
            problem = self._policy.problem
            return f"The policy file is refused, the one before it is in force. {problem}" if problem else None

        return [
            api.Check(name="keys", probe=keys, essential=True),
            api.Check(name="journal", probe=journal, essential=True),
            api.Check(name="calls", probe=calls, essential=True),
            api.Check(name="postgres", probe=postgres),
            api.Check(name="policy", probe=policy),
        ]


def _report_end(task: asyncio.Task[None]) -> None:
    """A background task must not end by itself: say so, as nobody waits for it."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.critical("A background task died.", exc_info=error)
