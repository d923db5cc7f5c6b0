"""Owns ``python -m bench budgets``: what a budget adds to a call, and whether it holds under many callers."""

import asyncio
import importlib.util
import json
import time
from collections.abc import Sequence

from backstay.budgets import Charge, Escrow, Purse, Share, Terms
from backstay.budgets.vault import Lease, Vault
from backstay.core.caller import Caller
from backstay.core.clock import SystemClock
from backstay.core.money import NanoUSD
from backstay.gateway import Incoming, Model, Models, Target
from backstay.gateway.recording import Recording
from backstay.gateway.resolve import resolve
from backstay.gateway.spending import Spending
from backstay.ledger import PriceBook
from backstay.providers import OPENAI
from backstay.providers.simulator import Simulator
from bench.budget_peer import CALLERS, LIMIT_USD, PROBE_USD, spend_with_backstay, spend_with_litellm

_LIMIT_US = 50.0
"""Target of p50: check, reservation and settlement of one budget, the bound of the price included."""
_CALLS = 5_000
_PLENTY = 10**15

_CALLER = Caller(tenant_id="acme", kind="key", id="key_1", name="bench", rights=frozenset({"call"}))
_TARGET = Target(
    name="sim/gpt-4o-mini",
    provider=Simulator("sim"),
    model_id="gpt-4o-mini",
    price_provider="openai",
    price_model="gpt-4o-mini",
)


class _Leased(Escrow):
    """An escrow that has a lease and needs no book."""

    def __init__(self) -> None:
        self.refused = self.uncovered = 0
        self._vault = Vault(now_us=0, wall_us=0)
        terms = Terms(tenant_id="acme", id="b", limit=NanoUSD(_PLENTY), span="day")
        self.purse = self._vault.purse("acme", terms, "", 0)
        self.purse.lease = Lease(0, 2**62)
        self.purse.lease.available = _PLENTY

    def take(self, purses: Sequence[Purse], amount: int) -> list[Share] | None:
        found = self._vault.take(purses, amount, 0)
        return None if isinstance(found, Purse) else found

    def settle(self, shares: Sequence[Share], cost: int, at_ns: int) -> list[Charge]:
        return self._vault.settle(shares, cost, at_ns // 1000)


def main() -> int:
    """Measure: 0 if the target holds and nothing is overspent, 1 if not."""
    status = 0
    print(f"{'request':>12}{'p50':>10}{'p99':>10}   one budget: bound, reserve, pledge, settle")
    for size in (200, 4_000):
        took_us = sorted(asyncio.run(_measure(size)))
        p50, p99 = took_us[len(took_us) // 2], took_us[len(took_us) * 99 // 100]
        status |= p50 > _LIMIT_US
        verdict = "pass" if p50 <= _LIMIT_US else "FAIL"
        print(f"{size:>6} bytes{p50:>7.1f} µs{p99:>7.1f} µs   {verdict} (p50 ≤ {_LIMIT_US:.0f} µs)")
    return int(status or _compare())


def _compare() -> bool:
    """Print what a budget comes to under many callers, LiteLLM's too if installed; return whether ours fails."""
    print(
        f"\n${LIMIT_USD} under {CALLERS} callers at once{'answered':>12}{'refused':>10}{'spent':>12}{'overspent':>12}"
        f"{'left':>12}{'falsely':>10}"
    )
    ours = asyncio.run(spend_with_backstay())
    sides = {"backstay, 2 workers": ours}
    if importlib.util.find_spec("litellm") is not None:
        sides["litellm router"] = asyncio.run(spend_with_litellm())
    for name, spent in sides.items():
        told = f"{spent.answered:>12}{spent.refused:>10}{f'${spent.spent_usd:.6f}':>12}{spent.overspent:>12.1%}"
        print(f"{name:<33}{told}{f'${spent.left_usd:.6f}':>12}{spent.refused_falsely:>10}")
    print(f"falsely: of short calls afterwards, those refused although ${PROBE_USD:.5f} or more was left for each")
    return ours.overspent > 0 or ours.refused_falsely > 0


async def _measure(size: int) -> list[float]:
    body = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "word " * (size // 5)}]}
    incoming = Incoming(
        operation="chat", path="/v1/chat/completions", dialect=OPENAI, caller=_CALLER, body=json.dumps(body).encode()
    )
    models = Models({"m": Model(name="m", targets=(_TARGET,))})
    escrow, prices, clock = _Leased(), PriceBook(), SystemClock()
    took_us: list[float] = []
    for _ in range(_CALLS):
        recording = Recording(incoming, clock)
        recording.request = resolve(models, incoming)
        began_ns = time.perf_counter_ns()
        spending = Spending(escrow, [escrow.purse], prices, recording, lambda: None)
        await spending.reserve(_TARGET, more_bytes=0, for_s=1.0)
        spending.pledges()
        spending.settle()
        took_us.append((time.perf_counter_ns() - began_ns) / 1000)
    return took_us
