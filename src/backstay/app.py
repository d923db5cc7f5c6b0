"""Owns composition: builds every room of one worker from its settings, once, in order, and takes it down again."""

import asyncio
import logging
import os
from collections.abc import Coroutine, Sequence
from typing import Any

from starlette.applications import Starlette

from backstay import api, console
from backstay.access import AuditLog, KeyRing, Keys, Mailer, People, Sessions
from backstay.catalog import describe
from backstay.conversations import MERGE_RESPONSES, Conversations
from backstay.core.caller import Caller
from backstay.core.clock import SystemClock
from backstay.core.errors import ConfigError, StoreUnavailable
from backstay.core.settings import Settings
from backstay.data_folder import read_operator_token, read_secret
from backstay.gateway import Gateway, StoredResponses, interrupted
from backstay.ledger import MERGE_ENTRIES, LedgerStore
from backstay.live_policy import LivePolicy
from backstay.providers import DIALECTS
from backstay.store import Database, Journal, Shipper
from backstay.tracing import MERGE_SPANS, CallMetrics, TraceStore, read_call

_log = logging.getLogger("backstay.app")

SHIP_LIMIT_S = 8.0
"""How long a stopping worker tries to ship its journal; what is left is shipped by the next start."""


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
        self._shipper = Shipper(
            folder / "journal",
            self._journal,
            self._database,
            [MERGE_SPANS, MERGE_ENTRIES, MERGE_RESPONSES],
            interrupted,
        )
        self._conversations = Conversations(self._database, self._journal, self._clock)
        self._ring = KeyRing(self._database, self._secret, self._clock)
        self._metrics = CallMetrics(folder / "metrics", str(slot))
        self._gateway = Gateway(
            models=self._policy.models,
            prices=self._policy.prices,
            journal=self._journal,
            clock=self._clock,
            observe=self._metrics.observe,
            conversations=self._conversations,
            capture=settings.capture == "full",
        )
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
            self._shipper.run(),
            self._metrics.run(),
            self._conversations.run(),
            self._policy.watch(self._adopt_policy),
        ):
            self._run(work)

    async def stop(self) -> None:
        """Ship the journal, then close everything in the reverse order."""
        self._gateway.draining = True
        if not await self._shipper.drain(SHIP_LIMIT_S):
            _log.warning("The journal could not be shipped whole: the next start ships the rest.")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._policy.close()
        await self._ring.stop()
        await self._database.close()
        self._journal.close()

    def reload(self) -> None:
        """Read the policy again now."""
        self._policy.look_again()

    def _adopt_policy(self) -> None:
        self._gateway.models, self._gateway.prices = self._policy.models, self._policy.prices

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        task.add_done_callback(_report_end)
        self._tasks.append(task)

    def _watch_figures(self) -> None:
        figures = self._metrics
        figures.add_gauge("backstay_in_flight", "Calls that are open.", lambda: self._gateway.open_calls)
        figures.add_gauge(
            "backstay_journal_backlog_bytes", "Journal not in Postgres yet.", lambda: self._shipper.backlog_bytes
        )
        figures.add_counter("backstay_journal_shipped_total", "Entries shipped.", lambda: self._shipper.shipped)
        figures.add_counter(
            "backstay_journal_rejected_total", "Entries that Postgres refuses.", lambda: self._shipper.rejected
        )

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
                *api.response_routes(authenticate, StoredResponses(self._gateway)),
                *api.manage_routes(manage),
                *console.routes(pages),
            ],
            exception_handlers=api.EXCEPTION_HANDLERS,
        )
        wires = api.Wires(self._gateway, authenticate, max_body_bytes=settings.max_body_bytes)
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
