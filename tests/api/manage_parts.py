"""What the tests of Backstay's own API build it of: all its endpoints over one database, with no worker behind them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from backstay.access import AuditLog, KeyRing, Keys, People, Sessions
from backstay.alerts import AlertRules, ChannelConfig
from backstay.alerts.book import AlertBook, Channels
from backstay.alerts.sending import Sender
from backstay.api.alerts import AlertDeps
from backstay.api.auth import Authenticator
from backstay.api.budgets import BudgetDeps
from backstay.api.manage import ManageDeps
from backstay.api.retrieval import RetrievalDeps
from backstay.api.watch import WatchDeps
from backstay.cache import Cache
from backstay.cache.request_key import request_digest
from backstay.catalog import TargetPrices
from backstay.core.caller import Caller
from backstay.core.clock import SystemClock
from backstay.core.currencies import Currencies
from backstay.core.errors import UnknownModel
from backstay.core.ports import ModelAnswer, OwnOperation
from backstay.gateway import Model, Models, RouteBoard, Target
from backstay.health import HealthStore
from backstay.jobs import Later, WebhookSecrets
from backstay.jobs.posting import Poster
from backstay.ledger import LedgerStore, PriceBook
from backstay.ledger.anomaly import AnomalyConfig
from backstay.ledger.export import LedgerExport
from backstay.ledger.traffic import Traffic
from backstay.providers import DIALECTS
from backstay.providers.simulator import Simulator
from backstay.store import Database
from backstay.tracing import TraceStore, read_call

TOKEN = "operator-token-of-the-test"
SECRET = bytes(32)
PRICES = PriceBook()
_TARGET = Target(name="acme/m", provider=Simulator("acme"), model_id="m", price_model="m")
MODELS = Models({"fast": Model(name="fast", targets=(_TARGET,))})


class _NoModels:
    async def make(self, caller: Caller, operation: OwnOperation, body: Mapping[str, Any]) -> ModelAnswer:
        raise UnknownModel(f"There is no model {body['model']!r}.", param="model")

    async def stream(
        self, caller: Caller, body: Mapping[str, Any], on_text: Callable[[str], Awaitable[None]]
    ) -> ModelAnswer:
        raise UnknownModel(f"There is no model {body['model']!r}.", param="model")


def manage_deps(database: Database, ring: KeyRing, catalog: Callable[[Caller], Awaitable[Sequence[Any]]]) -> ManageDeps:
    """Build what the endpoints use: no alert has a rule, its channel reaches nobody, and no model answers."""
    clock = SystemClock()
    rules = AlertRules({}, {"ops": ChannelConfig(kind="email", to=["ops@example.org"])})
    channels = Channels(lambda: rules, Sender(Poster(()), None, {}), "")
    return ManageDeps(
        authenticate=Authenticator(ring, TOKEN),
        keys=Keys(database, SECRET, clock),
        people=People(database, SECRET),
        sessions=Sessions(database, SECRET, clock),
        audit=AuditLog(database),
        traces=TraceStore(database),
        ledger=LedgerStore(database),
        budget=BudgetDeps(database, tuple),
        database=database,
        currencies=Currencies,
        watch=WatchDeps(database, AnomalyConfig, lambda: ()),
        alerts=AlertDeps(book=AlertBook(database), channels=channels, audit=AuditLog(database)),
        retrieval=RetrievalDeps(database, _NoModels()),
        export=LedgerExport(database),
        traffic=Traffic(database, request_digest),
        prices=TargetPrices(lambda: (MODELS, PRICES), clock),
        cache=Cache(database, clock, memory_bytes=0),
        later=Later(database),
        webhooks=WebhookSecrets(database, SECRET),
        catalog=catalog,
        routes=RouteBoard(lambda: MODELS, HealthStore(database), AuditLog(database), clock),
        read_call=lambda span: read_call(span, DIALECTS),
    )
