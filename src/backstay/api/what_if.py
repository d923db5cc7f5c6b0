"""Owns the API's questions to past traffic: what it would have cost otherwise, and what could have been saved on it."""

import asyncio
import datetime as dt
from contextlib import aclosing
from typing import Protocol

from backstay.api.cost_shapes import SavingRow, SavingsQuery, SavingsReport, Scenario, Way, WhatIf, WhatIfQuery
from backstay.api.endpoint import Asked, Nothing
from backstay.api.filters import own_key, window
from backstay.core.caller import Caller
from backstay.core.money import NanoUSD, usd
from backstay.core.usage import Usage
from backstay.ledger import Cost
from backstay.ledger.rates import Rates
from backstay.ledger.savings import ADVICE, PromptCache, Saving, find_savings
from backstay.ledger.traffic import PastCall, Traffic
from backstay.ledger.what_if import reprice

_NOTE = (
    "Tokens are those that were billed: another vendor's tokenizer counts the same text differently, and another model "
    "writes answers of other lengths. Cached prompts stay as cached as they were. Prices are today's."
)


class Prices(Protocol):
    """Tells what targets ask for today."""

    def find(self, name: str, caller: Caller) -> str: ...
    def rates(self, target_name: str, tier: str | None = None) -> Rates | Cost: ...
    def price(self, target_name: str, usage: Usage, tier: str | None = None) -> NanoUSD | None: ...


class TrafficDeps(Protocol):
    @property
    def traffic(self) -> Traffic: ...
    @property
    def prices(self) -> Prices: ...


async def what_if(deps: TrafficDeps, asked: Asked[WhatIfQuery, Nothing]) -> WhatIf:
    query, tenant_id, own = asked.query, asked.caller.tenant_id, own_key(asked.caller)
    to = query.to or query.model
    target, (since, until) = deps.prices.find(to, asked.caller), window(query.since, query.until)
    rates, batch = deps.prices.rates(target), deps.prices.rates(target, "batch")
    tiers = frozenset(start for each in (rates, batch) if isinstance(each, Rates) for start in each.tier_starts)
    sums = await deps.traffic.usage(tenant_id, query.model, tiers=tiers, since=since, until=until, key_id=own)
    saved, is_partial = await _cached(deps, asked.caller, query.model, target, since, until)
    known = [each for each in sums if each.above is not None]
    standard = reprice(known, rates)
    costs: dict[Way, NanoUSD | None] = {
        "standard": standard,
        "batch": reprice(known, batch) if batch.source != rates.source else None,
        "prompt_cache": None if standard is None else NanoUSD(standard - saved),
    }
    spent, unpriced = sum(each.cost_nanousd for each in known), sum(each.unknown_cost_attempts for each in known)
    return WhatIf(
        since=since,
        until=until,
        model=query.model,
        to=to,
        target=target,
        attempts=sum(each.attempts for each in sums),
        input_tokens=sum(each.usage.input_tokens or 0 for each in known),
        output_tokens=sum(each.usage.output_tokens or 0 for each in known),
        cost_usd=usd(NanoUSD(spent)),
        unknown_cost_attempts=unpriced,
        unknown_usage_attempts=sum(each.attempts for each in sums if each.above is None),
        scenarios=[
            Scenario(
                name=name,
                cost_usd=None if cost is None else usd(cost),
                difference_usd=None if cost is None or unpriced else usd(NanoUSD(cost - spent)),
            )
            for name, cost in costs.items()
        ],
        prompt_cache_is_partial=is_partial,
        note=_NOTE,
    )


async def savings(deps: TrafficDeps, asked: Asked[SavingsQuery, Nothing]) -> SavingsReport:
    since, until = window(asked.query.since, asked.query.until)
    tenant_id, own = asked.caller.tenant_id, own_key(asked.caller)
    found = await find_savings(deps.traffic, deps.prices.price, tenant_id, since=since, until=until, key_id=own)
    return SavingsReport(
        since=since,
        until=until,
        read_calls=found.read_calls,
        is_partial=found.is_partial,
        savings=[_row(saving) for saving in found.savings],
    )


async def _cached(
    deps: TrafficDeps, caller: Caller, model: str, target: str, since: dt.datetime, until: dt.datetime
) -> tuple[int, bool]:
    """Say how many nano-USD cached prompts would have saved at a target, and whether older calls were not read."""
    prompts, saved, is_partial = PromptCache(), 0, False

    def add_up(calls: list[PastCall]) -> int:
        return sum(prompts.saved(call, target, deps.prices.price) for call in calls)

    own = own_key(caller)
    async with aclosing(
        deps.traffic.calls(caller.tenant_id, since=since, until=until, model=model, key_id=own)
    ) as calls:
        async for some in calls:
            saved, is_partial = saved + await asyncio.to_thread(add_up, some.calls), some.is_partial
    return saved, is_partial


def _row(saving: Saving) -> SavingRow:
    return SavingRow(
        kind=saving.kind,
        amount_usd=usd(saving.amount_nanousd),
        calls=saving.calls,
        model=saving.model,
        target=saving.target,
        feature=saving.feature,
        key_id=saving.key_id,
        prefix_tokens=saving.tokens,
        trace_id=saving.trace_id,
        advice=ADVICE[saving.kind],
    )
