"""Tests of what one call may spend, over simulated providers; budgets themselves are tested as served."""

import json
from typing import Any

import pytest
from gateway_house import CALLER, WIRES, House, MemorySink

from backstay.core.money import NanoUSD
from backstay.gateway import Incoming, Route, call
from backstay.providers import ProviderRequest
from backstay.providers.simulator import Simulator
from backstay.providers.simulator.provider import SimulatedExchange


class Watched(Simulator):
    """A simulator that keeps what it was sent."""

    body: dict[str, Any]

    async def send(self, request: ProviderRequest) -> SimulatedExchange:
        self.body = json.loads(request.whole_body)
        return await super().send(request)


async def capped(house: House, wire: str, cap: int, **more: Any) -> MemorySink:
    """Make a call that may cost so many nano-USD."""
    dialect, body = WIRES[wire]
    incoming = Incoming(
        operation="chat",
        path="/v1/chat/completions",
        dialect=dialect,
        caller=CALLER,
        body=json.dumps({"model": "m", **body, **more}).encode(),
        max_cost_nanousd=NanoUSD(cap),
    )
    sink = MemorySink()
    await call(house.gateway, incoming, sink)
    return sink


@pytest.mark.parametrize(
    ("wire", "speaks", "field"),
    [
        ("openai", "openai", "max_completion_tokens"),
        ("openai", "anthropic", "max_tokens"),
        ("anthropic", "anthropic", "max_tokens"),
        ("anthropic", "openai", "max_completion_tokens"),
    ],
)
async def test_an_answer_is_limited_to_what_the_cap_covers(house: House, wire: str, speaks: Any, field: str):
    """In the target's own field, and the price stays within the cap."""
    simulator = Watched("sim", speaks=speaks)
    house.offer("m", simulator)
    cap = 200_000
    sink = await capped(house, wire, cap, **({"max_tokens": 4000} if wire == "anthropic" else {}))
    assert sink.status == 200
    limit: int = simulator.body.get(field) or simulator.body["max_tokens"]
    assert 1 <= limit < 4000
    (document,) = house.documents
    assert (document.spans[0].cost_nanousd or 0) <= cap


async def test_a_field_of_the_callers_own_is_made_smaller(house: House):
    """Whatever its name."""
    simulator = Watched("sim")
    house.offer("m", simulator)
    await capped(house, "openai", 200_000, max_tokens=9000)
    assert simulator.body["max_tokens"] < 9000
    assert "max_completion_tokens" not in simulator.body


async def test_an_answer_that_fits_is_left_alone(house: House):
    """No field is added, none is changed."""
    simulator = Watched("sim")
    house.offer("m", simulator)
    await capped(house, "openai", 10**9)
    assert not {"max_tokens", "max_completion_tokens"} & simulator.body.keys()


@pytest.mark.parametrize("more", [{}, {"n": 2, "max_tokens": 9000}])
async def test_what_cannot_fit_is_refused_before_anybody_is_asked(house: House, more: dict[str, Any]):
    """Not even the input fits; or several candidates, which no single number makes shorter."""
    simulator = Watched("sim")
    house.offer("m", simulator)
    sink = await capped(house, "openai", 1_000 if not more else 200_000, **more)
    assert (sink.status, sink.json["error"]["code"]) == (402, "budget_exhausted")
    assert not hasattr(simulator, "body")
    assert [kind for kind, _ in house.journal.entries] == ["call"]


async def test_the_intent_holds_the_worst_case(house: House):
    """Should the worker die, the call is booked at it."""
    house.offer("m", Watched("sim"))
    await capped(house, "openai", 200_000)
    kind, parts = house.journal.entries[0]
    assert kind == "intent" and 0 < json.loads(parts[0])["worst_nanousd"] <= 200_000


@pytest.mark.parametrize(("cap", "asked"), [(1_400_000, 1), (10**9, 2)])
async def test_a_hedge_is_made_only_where_it_fits_whole(house: House, cap: int, asked: int):
    """A shorter answer, limited to what is left beside the first try, might win over the whole one."""
    house.offer("m", Watched("one"), Watched("two"))
    for _ in range(25):  # it is known how long an answer takes
        await capped(house, "openai", 10**9)
    one, two = Watched("one", script={"latency_s": 0.4}), Watched("two", script={"latency_s": 5.0})
    house.offer("m", one, two, route=Route(hedge_share=1.0))
    sink = await capped(house, "openai", cap, max_tokens=900)
    assert (sink.status, sink.headers["x-backstay-target"]) == (200, "one/gpt-4o-mini")
    document = house.documents[-1]
    assert sum(hasattr(each, "body") for each in (one, two)) == asked == len(document.spans) - 1
    assert one.body["max_tokens"] == 900
