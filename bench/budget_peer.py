"""Owns a budget of $0.05 under 96 callers at once: Backstay's, and ``max_budget`` of a deployment of LiteLLM's router.

Source: docs.litellm.ai/docs/proxy/provider_budget_routing, and litellm 1.110.2, ``router_strategy/budget_limiter.py``:
what was spent is added up after the answer, and looked at before the next call (2026-11). The proxy's budgets of keys
and users need a database of its own and are not measured.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiohttp
import msgspec

from backstay.core.money import from_usd
from backstay.drills.private import MODEL, private_instance
from backstay.drills.scenario import parse_scenario
from backstay.drills.simulators import Simulators, running_simulators
from backstay.providers.litellm_adaptor.library import load
from backstay.providers.simulator import Script

LIMIT_USD = 0.05
CALLERS = 96
_CALLS = 12
"""Calls of each caller, more than the budget has for them."""
_BODY = {"model": "m", "messages": [{"role": "user", "content": "word " * 180}], "max_tokens": 200}
_PROBES = 40
"""Short calls that are asked for afterwards, one after the other, when nothing else runs."""
_PROBE = {"model": "m", "messages": [{"role": "user", "content": "one two three"}], "max_tokens": 8}
PROBE_USD = 0.00002
"""More than one of them can cost, at the dearest tier of gpt-4o-mini ($0.25 and $1 per million): who refuses one while
so much is left refuses falsely. Source: genai-prices 0.2.3 (2026-11)."""
_SCRIPT = {"answer": "echo", "latency_s": 0.05}


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    answered: int
    refused: int
    spent_usd: float
    """By the answers' usage, at the vendor's price."""
    refused_falsely: int
    """Of the short calls afterwards, those that were refused though what was left covers them."""

    @property
    def left_usd(self) -> float:
        """What nobody had."""
        return max(0.0, LIMIT_USD - self.spent_usd)

    @property
    def overspent(self) -> float:
        """Share of the limit that was spent beyond it."""
        return max(0.0, self.spent_usd / LIMIT_USD - 1)


async def spend_with_litellm() -> Spent:
    """Spend LiteLLM's budget of $0.05 with 96 callers at once, against the simulator's HTTP server."""
    litellm: Any = await asyncio.to_thread(load)
    async with running_simulators(["one"]) as urls, aiohttp.ClientSession() as session:
        await Simulators(session, urls).play({"one": Script.model_validate(_SCRIPT)})
        deployment = {
            "model": "openai/gpt-4o-mini", "api_base": f"{urls['one']}/v1", "api_key": "simulated",
            "max_budget": LIMIT_USD, "budget_duration": "1d",
        }  # fmt: skip
        router = litellm.Router(model_list=[{"model_name": "m", "litellm_params": deployment}], num_retries=0)
        costs: list[float] = []
        refused: list[str] = []

        async def call(body: dict[str, Any]) -> bool:
            try:
                answer = await router.acompletion(**body)
            except Exception as error:  # noqa: BLE001 - LiteLLM raises many kinds; which, is said below
                refused.append(f"{type(error).__name__}: {error}"[:200])
                return False
            costs.append(litellm.completion_cost(completion_response=answer, model="gpt-4o-mini"))
            return True

        at_once = await _call_at_once(call, costs)
        falsely = await _probe(call, costs)
        router.reset()
    strange = [each for each in refused if "budget" not in each.lower()]
    if strange:
        raise RuntimeError(f"LiteLLM refused calls for other reasons than its budget: {strange[0]}")
    return Spent(**at_once, spent_usd=sum(costs), refused_falsely=falsely)


async def _call_at_once(call: Callable[[dict[str, Any]], Awaitable[bool]], costs: Sequence[float]) -> dict[str, int]:
    async def call_on() -> None:
        for _ in range(_CALLS):
            await call(_BODY)

    await asyncio.gather(*(call_on() for _ in range(CALLERS)))
    return {"answered": len(costs), "refused": CALLERS * _CALLS - len(costs)}


async def _probe(call: Callable[[dict[str, Any]], Awaitable[bool]], costs: Sequence[float]) -> int:
    """Ask for short calls while they surely fit, and count those that are refused all the same."""
    falsely = 0
    for _ in range(_PROBES):
        if sum(costs) + PROBE_USD > LIMIT_USD:
            break
        falsely += not await call(_PROBE)
    return falsely


_SCENARIO = """
title = "A budget under many callers."
seconds = 1
workers = 2
[targets.one]
answer = "echo"
latency_s = 0.05
[[stretches]]
name = "all"
from_s = 0
until_s = 1
"""
_PRICES = (0.15e-6, 0.6e-6)
"""Of gpt-4o-mini, US dollars a token of input and output. Source: the price list of litellm 1.110.2 (2026-11)."""


async def spend_with_backstay() -> Spent:
    """Do the same over HTTP with two workers of Backstay and a hard budget; it may not limit the calls' output."""
    scenario = parse_scenario(_SCENARIO, "budgets", "budgets.toml")
    async with running_simulators(["one"]) as urls, aiohttp.ClientSession() as session:
        await Simulators(session, urls).play(scenario.targets)
        async with private_instance(scenario, urls, session) as (installation, _):
            key = await installation.make_key("bench")
            await installation.make_budget(from_usd(str(LIMIT_USD)))
            await asyncio.sleep(1.0)  # every worker follows within a second
            costs: list[float] = []

            async def call(body: dict[str, Any]) -> bool:
                async with session.post(
                    f"{installation.url}/v1/chat/completions",
                    json=body | {"model": MODEL},
                    headers={"authorization": f"Bearer {key}"},
                ) as answer:
                    if answer.status == 200:
                        used = (await answer.json())["usage"]
                        costs.append(used["prompt_tokens"] * _PRICES[0] + used["completion_tokens"] * _PRICES[1])
                    return answer.status == 200

            at_once = await _call_at_once(call, costs)
            falsely = await _probe(call, costs)
    return Spent(**at_once, spent_usd=sum(costs), refused_falsely=falsely)
