"""Owns what the console's tests share: the site over a real Postgres, people of each role, and books to look at."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from console_seed import make_month, ship
from console_site import BASE_URL, CATALOG, MODELS, TENANT, Browser, Site
from starlette.applications import Starlette

from backstay.access import AuditLog, Keys, People, Sessions
from backstay.access.types import NewKey, Role
from backstay.alerts.book import AlertBook
from backstay.api.retrieval import RetrievalDeps
from backstay.budgets import Terms
from backstay.budgets.burn import Burns
from backstay.budgets.manage import Budgets
from backstay.cache.request_key import request_digest
from backstay.catalog import TargetPrices
from backstay.console import CatalogModel, ConsoleDeps, routes
from backstay.core.caller import Caller
from backstay.core.clock import SystemClock
from backstay.core.errors import ProviderUnreachable
from backstay.core.ports import ModelAnswer, OwnOperation
from backstay.gateway import RouteBoard
from backstay.health import HealthStore
from backstay.jobs import Batches, Files, Later
from backstay.ledger import LedgerStore, PriceBook
from backstay.ledger.forecasts import Forecasts
from backstay.ledger.savings import find_savings
from backstay.ledger.traffic import Traffic
from backstay.providers import ANTHROPIC, OPENAI
from backstay.store import Database
from backstay.tracing import TraceStore, read_call


@pytest.fixture
def policy_budgets() -> list[Terms]:
    """The budgets of the policy in force; a test may put some in."""
    return []


class NoModels:
    """Has no model: pages search by meaning in the tests of a whole server alone."""

    async def make(self, caller: Caller, operation: OwnOperation, body: Mapping[str, Any]) -> ModelAnswer:
        raise ProviderUnreachable

    async def stream(
        self, caller: Caller, body: Mapping[str, Any], on_text: Callable[[str], Awaitable[None]]
    ) -> ModelAnswer:
        raise ProviderUnreachable


@pytest.fixture
def deps(database: Database, tenant: str, policy_budgets: list[Terms]) -> ConsoleDeps:
    """The rooms behind the console, over one database."""
    clock, secret = SystemClock(), bytes(range(32))

    async def catalog(by: Caller) -> Sequence[CatalogModel]:
        return CATALOG

    book = PriceBook()
    prices = TargetPrices(lambda: (MODELS, book), clock)
    dialects = {"openai": OPENAI, "anthropic": ANTHROPIC}
    retrieval = RetrievalDeps(database, NoModels())
    return ConsoleDeps(
        traces=TraceStore(database),
        ledger=LedgerStore(database),
        forecasts=Forecasts(database),
        keys=Keys(database, secret, clock),
        people=People(database, secret, public_url=BASE_URL),
        sessions=Sessions(database, secret, clock),
        audit=AuditLog(database),
        catalog=catalog,
        routes=RouteBoard(lambda: MODELS, HealthStore(database), AuditLog(database), clock),
        batches=Batches(database, Files(database), ["/v1/chat/completions"]),
        later=Later(database),
        alerts=AlertBook(database),
        budgets=Budgets(database, lambda: policy_budgets),
        burns=Burns(database),
        collections=retrieval.collections,
        search=retrieval.search,
        ranked=retrieval.ranked,
        quality=retrieval.quality.watch,
        measures=retrieval.quality.measures,
        answers=retrieval.answers,
        ingests=retrieval.ingesting.ingests,
        migrations=retrieval.migration.migrations,
        read_trace=lambda span: read_call(span, dialects),
        find_savings=partial(find_savings, Traffic(database, request_digest), prices.price),
        clock=clock,
        secure_cookies=False,
    )


@pytest.fixture
def site(database: Database, deps: ConsoleDeps) -> Site:
    return Site(Starlette(routes=routes(deps)), database, deps.keys, deps.people)


@pytest.fixture
async def browser(site: Site) -> AsyncIterator[Browser]:
    """A browser in which nobody is signed in."""
    browser = Browser(site.app)
    yield browser
    await browser.http.aclose()


@pytest.fixture
async def enter(site: Site, browser: Browser) -> Callable[[Role], Awaitable[Browser]]:
    """Sign somebody of a role in."""

    async def enter(role: Role) -> Browser:
        await browser.sign_in(await site.link_for(role))
        return browser

    return enter


@pytest.fixture
async def month(site: Site) -> list[str]:
    """A month of calls under three keys; returns the keys' ids."""
    names = ("checkout", "support bot", "batch jobs")
    made = [await site.keys.create(site.operator(), NewKey(name=name)) for name in names]
    key_ids = [key.id for key in made]
    await ship(site.database, TENANT, make_month(datetime.now(UTC), key_ids))
    return key_ids
