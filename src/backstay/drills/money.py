"""Owns what became of a drill's budget: what callers were charged, beside what was leased and what the books say."""

import asyncio
import time
from collections.abc import Sequence

import aiohttp
import msgspec

from backstay.budgets.burn import Holding
from backstay.core.errors import BackstayError
from backstay.core.money import NanoUSD
from backstay.drills.installation import Booked, Installation
from backstay.drills.load import Call
from backstay.drills.private import PROBE, PrivateInstance
from backstay.drills.scenario import Budget, Scenario

_IDLE_S = 20.0
"""How long is waited for workers to give back what they do not use: some seconds."""
FOLLOWED_S = 1.5
"""Within which every worker knows of a new budget."""


class Money(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a budget. Amounts in nano-USD."""

    limit: NanoUSD
    charged: NanoUSD
    """What callers were told that their calls cost."""
    untold: int
    """Calls of which their callers heard nothing, as their patience was over: each cost up to its worst case."""
    booked: NanoUSD
    """What the ledger says of these calls."""
    spent: NanoUSD
    """What the budget says."""
    held: NanoUSD
    """What workers still hold of it when nobody has called for long."""
    granted_away: NanoUSD
    """What had been leased, ever, when Postgres came back."""
    charged_away: NanoUSD
    """What calls that were answered until then cost."""
    refused_away: int
    """Calls that were refused meanwhile."""
    unused: NanoUSD
    """The most that a worker had left of its lease then."""
    running: int
    """Calls that ran at that moment, each of which may have reserved its worst case."""
    worst_case: NanoUSD
    """What is reserved for one call."""
    differing: int
    """Accounts that do not balance."""
    is_rest_usable: bool
    """Whether a call of all that is left is let through."""
    is_more_refused: bool
    """Whether a call of one nano-dollar more is not."""

    @property
    def overspent(self) -> int:
        """What was spent beyond the limit, or could have been."""
        return max(0, max(self.charged, self.spent) - self.limit) + (not self.is_more_refused)

    @property
    def beyond_leased(self) -> int:
        return max(0, self.charged_away - self.granted_away)

    @property
    def misbooked(self) -> int:
        """How far the budget is from the ledger, or the ledger from what callers were charged."""
        unknown = self.booked - self.charged - self.untold * self.worst_case
        return max(abs(self.spent - self.booked), self.charged - self.booked, unknown)

    @property
    def needless(self) -> int:
        """What a worker that refused calls had left beyond what running calls had reserved."""
        return self.unused - self.running * self.worst_case if self.refused_away else 0

    @property
    def unusable(self) -> int:
        """What of the budget nobody can have."""
        return self.held if self.is_rest_usable else self.limit - self.spent


async def begin_budget(budget: Budget, installation: Installation) -> str:
    """Make the budget, and wait until every worker knows of it."""
    budget_id = await installation.make_budget(budget.limit)
    await asyncio.sleep(FOLLOWED_S)
    return budget_id


async def count_money(
    scenario: Scenario,
    budget_id: str,
    installation: Installation,
    inside: PrivateInstance,
    key: str,
    calls: Sequence[Call],
    booked: Booked,
) -> Money:
    """Read the books once all is shipped, and ask for all that is left of the budget, and for more.

    Raises:
        BackstayError: The installation does not answer.
    """
    assert scenario.budget is not None
    limit = scenario.budget.limit
    spent, held = await _settled(installation, budget_id)
    differing = await installation.differing_accounts()
    holdings = await inside.holdings(budget_id)
    went_s, back_s = scenario.outages()[-1]
    is_more_refused = not await _is_let_through(installation, key, limit - spent + 1)
    is_rest_usable = spent >= limit or await _is_let_through(installation, key, limit - spent)
    return Money(
        limit=limit,
        charged=_charged(calls),
        untold=sum(call.answered.ending in ("late", "failed", "wrong") for call in calls),
        booked=booked.cost_nanousd,
        spent=spent,
        held=held,
        granted_away=NanoUSD(sum(each.granted for each in holdings)),
        charged_away=_charged([call for call in calls if call.ended_s <= back_s]),
        running=sum(call.at_s <= back_s < call.ended_s for call in calls),
        refused_away=sum(call.answered.ending == "refused" for call in calls if went_s <= call.at_s < back_s),
        unused=_unused(holdings),
        worst_case=scenario.budget.worst_case,
        differing=differing,
        is_rest_usable=is_rest_usable,
        is_more_refused=is_more_refused,
    )


def _charged(calls: Sequence[Call]) -> NanoUSD:
    return NanoUSD(sum(call.answered.cost_nanousd or 0 for call in calls))


def _unused(holdings: Sequence[Holding]) -> NanoUSD:
    """Tell the most that a worker who was called while Postgres was away had left of its lease in the end."""
    return max((NanoUSD(each.granted - each.charged) for each in holdings if each.charged_lately), default=NanoUSD(0))


async def _settled(installation: Installation, budget_id: str) -> tuple[NanoUSD, NanoUSD]:
    """Read what is spent, once workers have given back what they do not use."""
    give_up = time.monotonic() + _IDLE_S
    while True:
        spent, held = await installation.budget(budget_id)
        if not held or time.monotonic() > give_up:
            return spent, held
        await asyncio.sleep(0.3)


async def _is_let_through(installation: Installation, key: str, amount: int) -> bool:
    """Make a call that may cost just this amount of nano-dollars. Raises ``BackstayError`` for another answer."""
    body = {"model": PROBE, "messages": [{"role": "user", "content": "Is there enough left?"}], "max_tokens": amount}
    async with (
        aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as session,
        session.post(f"{installation.url}/v1/chat/completions", json=body) as answer,
    ):
        told = await answer.read()
    if answer.status not in (200, 402):
        raise BackstayError(f"A call for all that is left was answered {answer.status}: {told[:200].decode()}")
    return answer.status == 200
