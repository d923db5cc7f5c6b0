"""Owns the composition of one worker: the path of its calls, with the pages, the API and the metrics around it."""

import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from starlette.applications import Starlette
from starlette.routing import Route

from backstay import api, console
from backstay.access import AuditLog, Keys, Mailer, People, Sessions
from backstay.alerts.book import AlertBook, Channels
from backstay.alerts.sending import Sender
from backstay.api.alerts import AlertDeps
from backstay.api.budgets import BudgetDeps
from backstay.api.collection_models import CollectionModels
from backstay.api.document_wires import DocumentWires
from backstay.api.file_search import FileSearches
from backstay.api.later import LaterCalls
from backstay.api.mcp import PATH as MCP_PATH
from backstay.api.mcp import McpDoor
from backstay.api.retrieval import RetrievalDeps
from backstay.api.vector_bodies import StoreFiles
from backstay.api.vector_store_files import routes as vector_store_file_routes
from backstay.api.vector_stores import routes as vector_store_routes
from backstay.api.watch import WatchDeps
from backstay.budgets.burn import Burns
from backstay.cache.figures import watch as watch_cache
from backstay.cache.request_key import request_digest
from backstay.call_path import CallPath
from backstay.catalog import TargetPrices, describe
from backstay.core.caller import Caller
from backstay.core.errors import ConfigError
from backstay.core.settings import Settings
from backstay.data_folder import read_operator_token
from backstay.gateway import RouteBoard, StoredResponses
from backstay.gateway.own_calls import OwnCalls
from backstay.gateway.room import watch as watch_room
from backstay.health import HealthStore
from backstay.health.figures import watch as watch_targets
from backstay.jobs import Batches, Files, Later, WebhookSecrets
from backstay.jobs.later import Bounds
from backstay.jobs.posting import Poster
from backstay.jobs.webhooks import read_hosts
from backstay.ledger import LedgerStore
from backstay.ledger.export import LedgerExport
from backstay.ledger.savings import FoundSavings, find_savings
from backstay.ledger.traffic import Traffic
from backstay.providers import DIALECTS
from backstay.store import Database
from backstay.tracing import CallMetrics, TraceStore, read_call

BATCH_ENDPOINTS = [wire.path for wire in api.WIRES if wire.operation != "count_tokens"]
"""What a batch may call."""


class App:
    """One worker: its rooms, and the ASGI callable in front of them."""

    def __init__(self, settings: Settings, slot: int):
        """Build the rooms. Nothing is opened yet but the journal.

        Raises:
            ConfigError: A setting or the policy is wrong, or the data folder cannot be used.
        """
        if settings.database_url is None:
            raise ConfigError("BACKSTAY_DATABASE_URL is not set. Start workers with `backstay serve`.")
        folder = settings.data_dir
        self._settings = settings
        self._metrics = CallMetrics(folder / "metrics", str(slot))
        self._path = CallPath(
            settings,
            str(slot),
            database=Database(settings.database_url.get_secret_value(), name=f"backstay worker {slot}"),
            observe=self._metrics.observe,
        )
        self._retrieval = RetrievalDeps(
            self._path.database, OwnCalls(self._path.gateway, self._path.gate), keeps_queries=settings.capture == "full"
        )
        self.asgi = self._build_asgi(api.Authenticator(self._path.ring, read_operator_token(folder) or ""))

    async def start(self) -> None:
        """Open what needs a running loop. Postgres may be away: calls with known keys go on without it.

        Raises:
            ConfigError: The policy is not valid.
        """
        await self._path.start()
        self._watch_figures()
        self._path.run(self._metrics.run())
        self._path.run(self._mcp.run())
        self._path.run(self._retrieval.recent.run())
        self._path.run(self._retrieval.quality.asks.run())

    async def stop(self) -> None:
        """Close everything in the reverse order. What the journal holds is for the shipping process to ship."""
        await self._path.stop()

    def reload(self) -> None:
        """Read the policy again now."""
        self._path.reload()

    def _watch_figures(self) -> None:
        figures = self._metrics
        self._watch_gate()
        watch_targets(self._path.gateway.fleet, figures.add_family)
        watch_room(self._path.gateway.room, figures.add_family)
        watch_cache(self._path.cache, figures.add_family)
        # To what the disk did not take yet, the shipping process adds what Postgres does not have.
        figures.add_gauge(
            "backstay_journal_backlog_bytes", "Journal not in Postgres yet.", lambda: self._path.journal.parked_bytes
        )

    def _watch_gate(self) -> None:
        figures, gate, admission = self._metrics, self._path.gate, self._path.gate.admission
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

        self._path.limiter.watch(figures.add_counter)
        self._path.escrow.watch(figures.add_counter)
        self._path.loops.watch(figures.add_counter)
        shadows = self._path.shadows
        for verdict in shadows.counts:
            figures.add_counter(
                "backstay_cache_shadow_checks_total",
                "Semantic hits that were checked with the model.",
                partial(shadows.counts.__getitem__, verdict),
                {"verdict": verdict},
            )

    def _build_asgi(self, authenticate: api.Authenticator) -> api.FrontDoor:
        settings, path = self._settings, self._path
        database, secret, clock = path.database, path.secret, path.clock
        smtp = settings.smtp_url
        mailer = None if smtp is None else Mailer(smtp.get_secret_value(), settings.mail_from)
        traces, ledger, audit = TraceStore(database), LedgerStore(database), AuditLog(database)
        routes = RouteBoard(lambda: self._path.gateway.models, HealthStore(database), audit, clock)
        keys, sessions = Keys(database, secret, clock), Sessions(database, secret, clock)
        people = People(database, secret, public_url=settings.public_url, mailer=mailer)
        files = Files(database)
        batches = Batches(database, files, BATCH_ENDPOINTS)
        traffic = Traffic(database, request_digest)
        prices = TargetPrices(lambda: (path.gateway.models, path.gateway.prices), clock)
        manage = api.ManageDeps(
            authenticate=authenticate,
            keys=keys,
            people=people,
            sessions=sessions,
            audit=audit,
            database=database,
            traces=traces,
            ledger=ledger,
            export=LedgerExport(database),
            traffic=traffic,
            prices=prices,
            cache=self._path.cache,
            budget=BudgetDeps(database, lambda: path.policy.budgets, lambda: path.policy.currencies),
            currencies=lambda: path.policy.currencies,
            watch=WatchDeps(database, lambda: path.policy.file.anomalies, lambda: path.policy.budgets),
            alerts=self._alerts(mailer, audit),
            retrieval=self._retrieval,
            later=Later(database),
            webhooks=WebhookSecrets(database, secret),
            catalog=self._describe,
            routes=routes,
            read_call=lambda span: read_call(span, DIALECTS),
        )
        self._mcp = McpDoor(manage.retrieval, authenticate)
        store_files = StoreFiles(files, manage.retrieval)
        site = Starlette(
            routes=[
                Route(MCP_PATH, self._mcp),
                *self._machine_routes(authenticate, files, batches, store_files),
                *self._vector_routes(authenticate, manage.retrieval, store_files),
                *api.manage_routes(manage),
                *console.routes(self._pages(manage, batches, partial(find_savings, traffic, prices.price))),
            ],
            exception_handlers=api.EXCEPTION_HANDLERS,
        )
        return api.FrontDoor(self._wires(authenticate, manage.retrieval), site)

    def _alerts(self, mailer: Mailer | None, audit: AuditLog) -> AlertDeps:
        settings, path = self._settings, self._path
        sender = Sender(Poster(read_hosts(settings.webhook_hosts), settings.webhook_ca), mailer, os.environ)
        channels = Channels(lambda: path.policy.alerts, sender, settings.public_url or "")
        return AlertDeps(book=AlertBook(path.database), channels=channels, audit=audit)

    def _pages(
        self, manage: api.ManageDeps, batches: Batches, find_savings: Callable[..., Awaitable[FoundSavings]]
    ) -> console.ConsoleDeps:
        return console.ConsoleDeps(
            traces=manage.traces,
            ledger=manage.ledger,
            forecasts=manage.watch.forecasts,
            keys=manage.keys,
            people=manage.people,
            sessions=manage.sessions,
            audit=manage.audit,
            catalog=self._describe,
            routes=manage.routes,
            batches=batches,
            later=manage.later,
            alerts=manage.alerts.book,
            budgets=manage.budget.budgets,
            burns=Burns(self._path.database),
            collections=manage.retrieval.collections,
            search=manage.retrieval.search,
            ranked=manage.retrieval.ranked,
            quality=manage.retrieval.quality.watch,
            measures=manage.retrieval.quality.measures,
            answers=manage.retrieval.answers,
            ingests=manage.retrieval.ingesting.ingests,
            migrations=manage.retrieval.migration.migrations,
            read_trace=manage.read_call,
            find_savings=find_savings,
            clock=self._path.clock,
            secure_cookies=(self._settings.public_url or "").startswith("https:"),
            base_url=self._settings.public_url,
        )

    def _wires(self, authenticate: api.Authenticator, retrieval: RetrievalDeps) -> api.Wires:
        path, settings = self._path, self._settings
        later = LaterCalls(
            path.gateway,
            Later(path.database),
            WebhookSecrets(path.database, path.secret),
            read_hosts(settings.webhook_hosts),
            Bounds(per_key=settings.async_calls_per_key, per_tenant=settings.async_calls_per_tenant),
        )
        return api.Wires(
            path.gateway,
            path.gate,
            authenticate,
            max_body_bytes=settings.max_body_bytes,
            later=later,
            documents=DocumentWires(
                CollectionModels(lambda: path.gateway.models, retrieval.streams, settings.public_url),
                FileSearches(retrieval),
            ),
        )

    def _machine_routes(
        self, authenticate: api.Authenticator, files: Files, batches: Batches, store_files: StoreFiles
    ) -> list[Route]:
        return [
            *api.health_routes(self._checks(), self._metrics.render),
            *api.model_routes(authenticate, self._path.model_names),
            *self._openai_routes(authenticate, files, batches, store_files),
        ]

    def _openai_routes(
        self, authenticate: api.Authenticator, files: Files, batches: Batches, store_files: StoreFiles
    ) -> list[Route]:
        return [
            *api.response_routes(authenticate, StoredResponses(self._path.gateway)),
            *api.file_routes(
                authenticate,
                files,
                max_file_bytes=self._settings.max_file_bytes,
                on_delete=store_files.forget,
            ),
            *api.batch_routes(authenticate, batches),
        ]

    def _vector_routes(
        self, authenticate: api.Authenticator, retrieval: RetrievalDeps, store_files: StoreFiles
    ) -> list[Route]:
        return [
            *vector_store_file_routes(authenticate, retrieval, store_files),
            *vector_store_routes(authenticate, retrieval, store_files),
        ]

    async def _describe(self, caller: Caller) -> Sequence[console.CatalogModel]:
        return describe(self._path.gateway.models, self._path.gateway.prices, caller)

    def _checks(self) -> list[api.Check]:
        async def keys() -> str | None:
            return None if self._path.ring.is_loaded else "The keys could not be read from Postgres yet."

        async def journal() -> str | None:
            return "The disk takes no more of the journal: free some space." if self._path.journal.full else None

        async def calls() -> str | None:
            return "This worker is shutting down." if self._path.gateway.draining else None

        async def postgres() -> str | None:
            away = "Postgres does not answer. Calls with known keys go on; their records are shipped later."
            return None if await self._path.database.is_ready() else away

        async def policy() -> str | None:
            problem = self._path.policy.problem
            return f"The policy file is refused, the one before it is in force. {problem}" if problem else None

        async def cache() -> str | None:
            off = [f"The semantic cache of {model} is off. {why}" for model, why in self._path.cache.problems.items()]
            return " ".join(off) or None

        return [
            api.Check(name="keys", probe=keys, essential=True),
            api.Check(name="journal", probe=journal, essential=True),
            api.Check(name="calls", probe=calls, essential=True),
            api.Check(name="postgres", probe=postgres),
            api.Check(name="policy", probe=policy),
            api.Check(name="cache", probe=cache),
        ]
