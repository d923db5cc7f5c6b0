"""Owns the console's nouns: what it is given, and what it shows of models."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from backstay.access import AuditLog, Keys, People, Sessions
from backstay.alerts.book import AlertBook
from backstay.budgets.burn import Burns
from backstay.budgets.manage import Budgets
from backstay.core.caller import Caller
from backstay.core.clock import Clock
from backstay.gateway import RouteBoard
from backstay.jobs import Batches, Later
from backstay.ledger import LedgerStore
from backstay.ledger.forecasts import Forecasts
from backstay.ledger.savings import FoundSavings
from backstay.retrieval import Collections, Search
from backstay.retrieval.answering import Answers
from backstay.retrieval.ingests import Ingests
from backstay.retrieval.measuring import Measuring
from backstay.retrieval.migrating import Migrations
from backstay.retrieval.quality import QualityWatch
from backstay.retrieval.ranking import RankedSearch
from backstay.tracing import CallReading, StoredSpan, TraceStore


class CatalogTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A target of a model: whether it can answer now, and what it charges."""

    name: str
    dialect: str
    problem: str | None = None
    """Why it cannot answer, in words; ``None`` where nothing is known to be wrong."""
    is_free: bool = False
    prices: Mapping[str, str] | None = None
    """USD per million by unit, as exact decimals; ``None`` where no price is known."""
    price_source: str | None = None


class CatalogModel(msgspec.Struct, frozen=True, kw_only=True):
    """A name that callers use, with its targets in the order in which they are tried."""

    name: str
    targets: tuple[CatalogTarget, ...]
    collection: str | None = None
    """The collection of documents that answers by this name, instead of targets."""


@dataclass(frozen=True, kw_only=True)
class ConsoleDeps:
    """What the pages show and change, handed in by the composition root."""

    traces: TraceStore
    ledger: LedgerStore
    forecasts: Forecasts
    keys: Keys
    people: People
    sessions: Sessions
    audit: AuditLog
    catalog: Callable[[Caller], Awaitable[Sequence[CatalogModel]]]
    """Describes the models that a caller may use."""
    routes: RouteBoard
    batches: Batches
    later: Later
    alerts: AlertBook
    budgets: Budgets
    burns: Burns
    collections: Collections
    search: Search
    ranked: RankedSearch
    quality: QualityWatch
    measures: Measuring
    answers: Answers
    ingests: Ingests
    migrations: Migrations
    read_trace: Callable[[StoredSpan], CallReading]
    """Reads what a call's root span holds of its input and output into neutral form."""
    find_savings: Callable[..., Awaitable[FoundSavings]]
    """Looks for savings in a tenant's newest calls: ``tenant_id``, ``since``, ``until``. Takes some seconds."""
    clock: Clock
    secure_cookies: bool
    """Whether people reach the console by https only; then no cookie ever goes over plain http."""
    base_url: str | None = None
    """Where callers reach the gateway; ``None``: where the page was asked for."""
