"""Owns forecasts of budgets: what their windows will have cost at their end, by the calls that fit their scope."""

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from backstay.budgets.manage import Budgets
from backstay.budgets.outlook import BudgetPart, budget_parts
from backstay.budgets.types import Terms
from backstay.core.caller import Caller
from backstay.core.money import NanoUSD, from_usd
from backstay.ledger.forecasts import Forecasts, History, Outlook, Scope, outlook, spent_at
from backstay.store import Database

Verdict = Literal["over", "may_exceed", "within", "unknown"]
"""``over``: the whole interval is above the limit; ``may_exceed``: its upper end is; ``unknown``: there is too little
history, or the budget's window never ends."""


class BudgetForecast(msgspec.Struct, frozen=True, kw_only=True):
    """What a budget's window will have cost at its end; ``None``: nobody can say."""

    budget_id: str
    name: str
    scope: str
    limit_nanousd: NanoUSD
    spent_nanousd: NanoUSD
    expected_nanousd: NanoUSD | None
    low_nanousd: NanoUSD | None
    high_nanousd: NanoUSD | None
    ends_at: dt.datetime | None
    verdict: Verdict
    spent_at: dt.datetime | None
    """When the limit is expected to be reached, if that is before the window ends."""


class BudgetForecasts:
    """Forecasts all budgets of a tenant at once."""

    def __init__(self, database: Database, policy_budgets: Callable[[], Sequence[Terms]]):
        """``policy_budgets`` gives those of the policy that are in force."""
        self._budgets = Budgets(database, policy_budgets)
        self._forecasts = Forecasts(database)

    async def of(self, caller: Caller, now: dt.datetime) -> list[BudgetForecast]:
        """Forecast the windows of a day or longer that are in use.

        Budgets of a user and a tag at once are left out: there are no sums by both.

        Raises ``StoreUnavailable`` if Postgres does not answer.
        """
        views = await self._budgets.list(caller)
        parts = [each for each in budget_parts(views) if _scope(each).is_added_up]
        if not parts:
            return []
        histories = await self._forecasts.histories(caller.tenant_id, [_scope(each) for each in parts], now)
        return [_forecast(part, history, now) for part, history in zip(parts, histories, strict=True)]


def _scope(part: BudgetPart) -> Scope:
    return Scope(**dict(part.scope))


def _forecast(part: BudgetPart, history: History, now: dt.datetime) -> BudgetForecast:
    spent, limit, ends = from_usd(part.spent_usd), from_usd(part.limit_usd), part.ends_at
    found = None if ends is None else outlook(history, spent, now, ends)
    reached = spent_at(history, NanoUSD(max(0, limit - spent)), now)
    return BudgetForecast(
        budget_id=part.budget_id,
        name=part.name,
        scope=part.described,
        limit_nanousd=limit,
        spent_nanousd=spent,
        expected_nanousd=None if found is None else found.expected_nanousd,
        low_nanousd=None if found is None else found.low_nanousd,
        high_nanousd=None if found is None else found.high_nanousd,
        ends_at=ends,
        verdict=_verdict(found, limit),
        spent_at=reached if reached is not None and (ends is None or reached < ends) else None,
    )


def _verdict(found: Outlook | None, limit: NanoUSD) -> Verdict:
    if found is None or found.low_nanousd is None or found.high_nanousd is None:
        return "unknown"
    if found.low_nanousd > limit:
        return "over"
    return "may_exceed" if found.high_nanousd > limit else "within"
