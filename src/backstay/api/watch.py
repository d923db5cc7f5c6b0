"""Owns the API's watch over spend: what is out of the ordinary, and what a month will have cost."""

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from backstay.access.types import Instant
from backstay.alerts.budget_forecasts import BudgetForecast as Forecasted
from backstay.alerts.budget_forecasts import BudgetForecasts, Verdict
from backstay.api.endpoint import Asked, Endpoint, Nothing, get
from backstay.api.filters import own_key, window
from backstay.api.shapes import ExactUSD, Moment
from backstay.budgets.types import Terms
from backstay.core.money import NanoUSD, from_usd, usd
from backstay.ledger.anomalies import LONGEST, Anomalies
from backstay.ledger.anomaly import Anomaly, AnomalyConfig, Part, Sums
from backstay.ledger.anomaly import Scope as Watched
from backstay.ledger.forecasts import COVERAGE, Forecasts, Outlook, month_of
from backstay.statistics.seasonal import Basis
from backstay.store import Database


class WatchDeps:
    """What these endpoints use."""

    def __init__(
        self, database: Database, rules: Callable[[], AnomalyConfig], policy_budgets: Callable[[], Sequence[Terms]]
    ):
        """``rules`` and ``policy_budgets`` give what is in force now."""
        self.anomalies = Anomalies(database)
        self.forecasts = Forecasts(database)
        self.budgets = BudgetForecasts(database, policy_budgets)
        self.rules = rules


class AnomalyQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    since: Moment = "7d"
    """At most 31 days before the end; what is earlier is left out."""
    until: Moment | None = None
    min_usd: Annotated[float, Meta(ge=0.000001, le=1_000_000)] | None = None
    """So much above the usual, instead of the policy's."""


class Hours(msgspec.Struct, frozen=True, kw_only=True):
    """What some hours came to. The usual ones are means, so that calls may be a fraction."""

    calls: float
    cost_usd: ExactUSD
    cost_per_call_usd: ExactUSD | None
    """`null` where there were no calls."""
    input_tokens_per_call: float | None
    output_tokens_per_call: float | None


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """A value of a dimension that adds to the excess."""

    dimension: Watched
    name: str | None
    """`null`: calls that have none."""
    excess_usd: ExactUSD
    found: Hours
    usual: Hours


class AnomalyRow(msgspec.Struct, frozen=True, kw_only=True):
    """Hours in which a scope cost far more than usual, and what changed."""

    scope: Watched
    name: str
    also: list[str]
    """Other scopes that the same excess is out of the ordinary in, as `key:ID`."""
    since: Instant
    until: Instant
    compared_with: Basis
    """`week`: the same hours of the six weeks before; `day`: of the days before, while three weeks are not known;
    `busy`: the busy hours of a scope that is usually quiet then."""
    excess_usd: ExactUSD
    limit_usd: ExactUSD
    """What these hours might have come to."""
    by_calls_usd: ExactUSD
    """What more calls add to the usual."""
    by_cost_per_call_usd: ExactUSD
    """What dearer calls add; with the former it is the excess."""
    found: Hours
    usual: Hours
    changed: list[Changed]
    """Of each dimension the values that add most, the largest first."""
    text: str


class AnomalyReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is out of the ordinary, that with the largest excess first."""

    since: Instant
    until: Instant
    min_usd: ExactUSD
    time_zone: str
    anomalies: list[AnomalyRow]


class ForecastQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    by: Literal["feature", "model", "key", "user"] | None = None


class ForecastDay(msgspec.Struct, frozen=True, kw_only=True):
    day: Instant
    expected_usd: ExactUSD


class ForecastRow(msgspec.Struct, frozen=True, kw_only=True):
    """What the whole month will have cost, what is spent already included."""

    name: str | None
    spent_usd: ExactUSD
    expected_usd: ExactUSD | None
    """`null`: less than three days of history."""
    low_usd: ExactUSD | None
    high_usd: ExactUSD | None
    """`null`: too little history to say how wrong the forecast may be."""
    history_days: int
    tried: int
    """From how many days in the past the forecast was tried, to see how wrong it was."""


class BudgetForecast(msgspec.Struct, frozen=True, kw_only=True):
    """What a budget's window will have cost at its end."""

    budget_id: str
    name: str
    scope: str
    limit_usd: ExactUSD
    spent_usd: ExactUSD
    expected_usd: ExactUSD | None
    low_usd: ExactUSD | None
    high_usd: ExactUSD | None
    ends_at: Instant | None
    verdict: Verdict
    spent_at: Instant | None
    """When the limit is expected to be reached, if that is before the window ends."""


class ForecastReport(msgspec.Struct, frozen=True, kw_only=True):
    """Forecasts of the month that runs (UTC), and of budgets' windows of a day or longer."""

    since: Instant
    now: Instant
    until: Instant
    coverage: float
    """The share of months in which the sum should lie between `low_usd` and `high_usd`."""
    total: ForecastRow
    days: list[ForecastDay]
    """What is expected of each day that is left, the rest of today first."""
    rows: list[ForecastRow]
    budgets: list[BudgetForecast]
    """None for keys that see their own calls alone."""


async def anomalies(deps: WatchDeps, asked: Asked[AnomalyQuery, Nothing]) -> AnomalyReport:
    query = asked.query
    since, until = window(query.since, query.until)
    since = max(since, until - LONGEST)
    rules = _rules(deps.rules(), query)
    found = await deps.anomalies.find(
        asked.caller.tenant_id, rules, since=since, until=until, key_id=own_key(asked.caller)
    )
    return AnomalyReport(
        since=since,
        until=until,
        min_usd=usd(from_usd(str(rules.min_usd))),
        time_zone=rules.time_zone,
        anomalies=[_anomaly(each) for each in found],
    )


async def forecast(deps: WatchDeps, asked: Asked[ForecastQuery, Nothing]) -> ForecastReport:
    now, own = dt.datetime.now(dt.UTC), own_key(asked.caller)
    starts, ends = month_of(now)
    budgets = [] if own is not None else await deps.budgets.of(asked.caller, now)
    total, rows = await deps.forecasts.month(asked.caller.tenant_id, now, by=asked.query.by or "", key_id=own)
    return ForecastReport(
        since=starts,
        now=now,
        until=ends,
        coverage=COVERAGE,
        total=_row(total),
        days=[ForecastDay(day=day, expected_usd=usd(NanoUSD(round(amount)))) for day, amount in total.daily],
        rows=[_row(each) for each in rows],
        budgets=[_budget(each) for each in budgets],
    )


def _budget(found: Forecasted) -> BudgetForecast:
    return BudgetForecast(
        budget_id=found.budget_id,
        name=found.name,
        scope=found.scope,
        limit_usd=usd(found.limit_nanousd),
        spent_usd=usd(found.spent_nanousd),
        expected_usd=_exact(found.expected_nanousd),
        low_usd=_exact(found.low_nanousd),
        high_usd=_exact(found.high_nanousd),
        ends_at=found.ends_at,
        verdict=found.verdict,
        spent_at=found.spent_at,
    )


def _row(found: Outlook) -> ForecastRow:
    return ForecastRow(
        name=found.name,
        spent_usd=usd(found.spent_nanousd),
        expected_usd=_exact(found.expected_nanousd),
        low_usd=_exact(found.low_nanousd),
        high_usd=_exact(found.high_nanousd),
        history_days=found.history_days,
        tried=found.tried,
    )


def _exact(amount: NanoUSD | None) -> str | None:
    return None if amount is None else usd(amount)


def _rules(rules: AnomalyConfig, query: AnomalyQuery) -> AnomalyConfig:
    return rules if query.min_usd is None else rules.model_copy(update={"min_usd": query.min_usd})


def _anomaly(found: Anomaly) -> AnomalyRow:
    by_calls, by_cost = found.split()
    return AnomalyRow(
        scope=found.scope,
        name=found.name,
        also=[f"{scope}:{name}" for scope, name in found.also],
        since=found.since,
        until=found.until,
        compared_with=found.basis,
        excess_usd=usd(found.excess_nanousd),
        limit_usd=usd(found.limit_nanousd),
        by_calls_usd=usd(by_calls),
        by_cost_per_call_usd=usd(by_cost),
        found=_hours(found.found),
        usual=_hours(found.usual),
        changed=[_changed(part) for part in found.parts],
        text=found.describe(),
    )


def _changed(part: Part) -> Changed:
    return Changed(
        dimension=part.dimension,
        name=part.name,
        excess_usd=usd(NanoUSD(part.excess_nanousd)),
        found=_hours(part.found),
        usual=_hours(part.usual),
    )


def _hours(sums: Sums) -> Hours:
    return Hours(
        calls=round(sums.calls, 2),
        cost_usd=usd(NanoUSD(round(sums.cost_nanousd))),
        cost_per_call_usd=usd(NanoUSD(round(sums.each(sums.cost_nanousd)))) if sums.calls else None,
        input_tokens_per_call=round(sums.each(sums.input_tokens), 2) if sums.calls else None,
        output_tokens_per_call=round(sums.each(sums.output_tokens), 2) if sums.calls else None,
    )


WATCH_ENDPOINTS: tuple[Endpoint[WatchDeps, Any, Any], ...] = (
    get(
        "/v1/costs/anomalies", "List hours in which somebody spent far more than usual, and what changed", anomalies,
        answer=AnomalyReport, query=AnomalyQuery, right="read",
    ),
    get(
        "/v1/costs/forecast", "Forecast what the month and budgets' windows will have cost, with an interval", forecast,
        answer=ForecastReport, query=ForecastQuery, right="read",
    ),
)  # fmt: skip
