"""Savings and what-if over a week of traffic in the real tables: what was planted is found, to the nano-dollar."""

import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backstay.api.cost_shapes import SavingsQuery, WhatIfQuery
from backstay.api.endpoint import Asked, Nothing
from backstay.api.what_if import savings, what_if
from backstay.cache.request_key import request_digest
from backstay.catalog import TargetPrices
from backstay.core.caller import Caller
from backstay.core.clock import SystemClock
from backstay.core.money import NanoUSD, usd
from backstay.core.usage import Usage
from backstay.gateway import Model, Models, Target
from backstay.ledger import MERGE_ENTRIES, LedgerEntry, PriceBook
from backstay.ledger.prefix import Prefix
from backstay.ledger.savings import PromptCache, find_savings
from backstay.ledger.traffic import PastCall, Traffic
from backstay.providers.simulator import Simulator
from backstay.store import Database
from backstay.store.backlog import Entry
from backstay.store.shipment import Shipment
from backstay.tracing import MERGE_SPANS, Span
from rollup_books import Document

MONDAY = datetime(2026, 11, 16, tzinfo=UTC)
WEEK = MONDAY, MONDAY + timedelta(days=7)
SYSTEM = "You are the help desk. " * 900
CALLER = Caller(tenant_id="acme", kind="operator", id="operator", name="", rights=frozenset({"admin"}))

# Nano-USD a token. Source: Anthropic's pricing as transcribed by genai-prices 0.2.3 (read 2026-11-23).
INPUT, OUTPUT, CACHE_READ, CACHE_WRITE = 1_000, 5_000, 100, 1_250
LARGE_INPUT, LARGE_OUTPUT = 3_000, 15_000


def _target(model_id: str) -> Target:
    return Target(
        name=f"anthropic/{model_id}", provider=Simulator("anthropic"), model_id=model_id, price_provider="anthropic",
        price_model=model_id,
    )  # fmt: skip


SMALL, LARGE = _target("claude-haiku-4-5"), _target("claude-sonnet-4-5")
MODELS = Models({"small": Model(name="small", targets=(SMALL,)), "large": Model(name="large", targets=(LARGE,))})


@dataclass(frozen=True)
class Deps:
    traffic: Traffic
    prices: TargetPrices


class Planted(msgspec.Struct, frozen=True, kw_only=True):
    at: datetime
    feature: str
    text: str
    tokens: tuple[int, int]
    system: str | None = None
    priority: str | None = None
    is_cut: bool = False
    unused: Any = None

    @property
    def cost(self) -> int:
        return self.tokens[0] * INPUT + self.tokens[1] * OUTPUT


def _week() -> Iterator[Planted]:
    """Plant, by feature: a long system prompt; equal questions; work for the night; answers cut short; and the rest."""
    for number in range(200):
        at = MONDAY + timedelta(days=1, minutes=number)
        yield Planted(at=at, feature="help", text=f"question {number:03}", tokens=(6_000, 100), system=SYSTEM)
    for number in range(100):
        at, text = MONDAY + timedelta(days=2, minutes=number), f"document {number}"
        yield Planted(at=at, feature="nightly", text=text, tokens=(10_000, 1_000), priority="batch")
    for number in range(50):
        at = MONDAY + timedelta(days=3, minutes=10 * number)
        yield Planted(at=at, feature="faq", text="When do you open?", tokens=(1_000, 200))
    for number in range(30):
        at = MONDAY + timedelta(days=4, minutes=number)
        yield Planted(at=at, feature="essay", text=f"essay {number}", tokens=(100, 500), is_cut=number >= 2)
    for number in range(60):
        at = MONDAY + timedelta(days=5, minutes=10 * number)
        yield Planted(
            at=at, feature="rest", text=f"rest {number:02}", tokens=(6_000, 1), system=SYSTEM[::-1], is_cut=number < 5
        )
    yield Planted(at=MONDAY, feature="faq", text="When do you open?", tokens=(10**6, 0), unused="retry")


def _entry(planted: Planted, tenant_id: str, rng: random.Random) -> Entry:
    call_id, trace_id = f"{rng.getrandbits(64):016x}", f"{rng.getrandbits(128):032x}"
    at_ns = int(planted.at.timestamp()) * 1_000_000_000
    input_tokens, output_tokens = planted.tokens
    told = {"backstay.priority": planted.priority} if planted.priority else {}
    root = Span(
        span_id=call_id, trace_id=trace_id, kind="call", name="chat small", started_at_ns=at_ns, duration_ns=1,
        status="ok", operation="chat", model="small", target=SMALL.name, cost_nanousd=NanoUSD(planted.cost),
        attributes=told, input_dialect="anthropic",
    )  # fmt: skip
    attempt = Span(
        span_id=f"{rng.getrandbits(64):016x}", trace_id=trace_id, parent_id=call_id, kind="attempt", name="chat",
        started_at_ns=at_ns + 1_000, duration_ns=1, status="ok", target=SMALL.name,
        attributes={
            "backstay.attempt": 0, "gen_ai.response.finish_reasons": ["length" if planted.is_cut else "stop"],
        },
    )  # fmt: skip
    cost = PriceBook().cost(
        provider="anthropic", model_id="claude-haiku-4-5", at_ns=at_ns,
        usage=Usage(input_tokens=input_tokens, output_tokens=output_tokens),
    )  # fmt: skip
    assert cost.amount_nanousd == planted.cost
    ledger = LedgerEntry(
        call_id=call_id, attempt=0, at_ns=at_ns, trace_id=trace_id, key_id="key_1", feature=planted.feature,
        model="small", target=SMALL.name, input_tokens=input_tokens, output_tokens=output_tokens,
        cost_nanousd=cost.amount_nanousd, price_source=cost.source, lines=cost.lines, unused=planted.unused,
    )  # fmt: skip
    body = {"model": "small", "messages": [{"role": "user", "content": planted.text}]}
    if planted.system:
        body["system"] = planted.system
    document = Document(tenant_id=tenant_id, spans=(root, attempt), entries=(ledger,))
    return Entry.of(os.urandom(8), (msgspec.json.encode(document), json.dumps(body).encode(), b"{}"))


@pytest.fixture
async def deps(database: Database, tenant: str, tmp_path: Path) -> Deps:
    """What reads the week of one tenant; another has the same."""
    rng = random.Random(7)
    entries = [_entry(planted, name, rng) for planted in _week() for name in (tenant, "default")]
    rng.shuffle(entries)
    shipment = Shipment(database, [MERGE_SPANS, MERGE_ENTRIES], tmp_path / "rejected")
    for start in range(0, len(entries), 100):
        await shipment.ship(entries[start : start + 100])
    assert shipment.rejected == 0
    prices = PriceBook()
    return Deps(Traffic(database, request_digest), TargetPrices(lambda: (MODELS, prices), SystemClock()))


def _prefix_tokens(text: str) -> int:
    """Share the tokens out by bytes: the system's text, and the messages."""
    system, said = len(json.dumps(SYSTEM)), len(json.dumps({"role": "user", "content": text}, separators=(",", ":")))
    return 6_000 * system // (system + said)


HELP = _prefix_tokens("question 000")
REST = _prefix_tokens("rest 00")


async def test_planted_savings_are_named_the_largest_first(deps: Deps) -> None:
    """Each is there once, in order, with its money; what would save nothing is not."""
    found = await find_savings(deps.traffic, deps.prices.price, "acme", since=WEEK[0], until=WEEK[1])
    assert (found.read_calls, found.is_partial) == (440, False), "the attempt that nobody used is not read"
    assert [(each.kind, each.feature, each.calls, each.amount_nanousd) for each in found.savings] == [
        ("prompt_cache", "help", 199, HELP * (199 * (INPUT - CACHE_READ) - (CACHE_WRITE - INPUT))),
        ("batch", "nightly", 100, 100 * (10_000 * INPUT + 1_000 * OUTPUT) // 2),
        ("duplicates", "faq", 42, 42 * (1_000 * INPUT + 200 * OUTPUT)),
        ("cut", "essay", 28, 28 * (100 * INPUT + 500 * OUTPUT)),
    ]
    prompt, night = found.savings[:2]
    assert (prompt.target, prompt.tokens, night.key_id) == (SMALL.name, HELP, "key_1")


async def test_a_key_finds_savings_in_its_own_calls_alone(deps: Deps) -> None:
    """A key with `read` looks through what it may read."""
    key = Caller(tenant_id="acme", kind="key", id="key_2", name="", rights=frozenset({"read"}))
    request: Any = None
    query = SavingsQuery(since=WEEK[0].isoformat(), until=WEEK[1].isoformat())
    report = await savings(deps, Asked(request=request, caller=key, query=query, body=Nothing()))
    assert (report.read_calls, report.savings) == (0, [])


async def test_the_newest_calls_are_read(deps: Deps) -> None:
    """Where there are more calls than are read, it is said, and they are the last ones of the time."""
    since, until = WEEK
    some = [each async for each in deps.traffic.calls("acme", since=since, until=until, most=60)]
    calls = [call for each in some for call in each.calls]
    assert all(each.is_partial for each in some)
    assert ({call.feature for call in calls}, len(calls)) == ({"rest"}, 60)
    assert calls == sorted(calls, key=lambda call: call.at_us)


async def _ask(deps: Deps, to: str | None) -> Any:
    query = WhatIfQuery(model="small", to=to, since=WEEK[0].isoformat(), until=WEEK[1].isoformat())
    request: Any = None
    return await what_if(deps, Asked(request=request, caller=CALLER, query=query, body=Nothing()))


async def test_traffic_is_priced_anew(deps: Deps) -> None:
    """At its own prices it costs what it did; in batches half; elsewhere what a sum by hand says."""
    planted = list(_week())
    spent = sum(each.cost for each in planted)
    same = await _ask(deps, None)
    assert (same.target, same.attempts, same.cost_usd) == (SMALL.name, 441, _usd(spent))
    cached = HELP * (199 * (INPUT - CACHE_READ) - (CACHE_WRITE - INPUT)) - 60 * REST * (CACHE_WRITE - INPUT)
    assert [(each.name, each.cost_usd, each.difference_usd) for each in same.scenarios] == [
        ("standard", _usd(spent), "0.000000"),
        ("batch", _usd(spent // 2), _usd(spent // 2 - spent)),
        ("prompt_cache", _usd(spent - cached), _usd(-cached)),
    ]
    large = sum(each.tokens[0] * LARGE_INPUT + each.tokens[1] * LARGE_OUTPUT for each in planted if not each.unused)
    # The one call of a million tokens is in the tier of long contexts: twice the price of input.
    large += 10**6 * 2 * LARGE_INPUT
    other = await _ask(deps, "large")
    assert (other.target, other.scenarios[0].cost_usd) == (LARGE.name, _usd(large))


def _usd(nano: int) -> str:
    return usd(NanoUSD(nano))


def test_a_prompt_that_was_cached_saves_nothing_more() -> None:
    """Calls that had read or written the provider's cache are left as they were."""
    call = PastCall(
        trace_id="1", at_us=0, model="small", target=SMALL.name, feature=None, key_id=None,
        usage=Usage(input_tokens=5_000, cache_read_tokens=4_000), cost_nanousd=NanoUSD(1), prefix=Prefix(b"", 4_000),
    )  # fmt: skip
    assert PromptCache().usage(call, SMALL.name) is None
