"""Tests of calls that Backstay makes for its own API: what they may cost together, and what a reranker may bill."""

import asyncio
from typing import Any

import msgspec
import pytest
from gateway_house import CALLER, House

from backstay.core.caller import Allowance, Caller, CallTerms
from backstay.core.clock import SystemClock
from backstay.core.errors import BackstayError
from backstay.core.money import NanoUSD, from_usd
from backstay.gateway import Capacity, Gate
from backstay.gateway.own_calls import OwnCalls
from backstay.providers.rerank_wire import (
    most_rerank_tokens,
    most_search_units,
    read_rerank_request,
    read_rerank_summary,
)
from backstay.providers.simulator import Simulator

BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hello there."}], "max_tokens": 200}


def own_calls(house: House) -> OwnCalls:
    return OwnCalls(house.gateway, Gate(Capacity(calls=10, size_bytes=10_000_000), SystemClock()))


def allowed(most: int) -> Caller:
    terms = CallTerms(allowance=Allowance(NanoUSD(most)))
    return msgspec.structs.replace(CALLER, terms=terms)


async def spend(house: House, caller: Caller, calls: int) -> list[int | str]:
    """Make calls at once, and return what each cost, or the code of its refusal."""

    async def one(own: OwnCalls) -> int | str:
        try:
            answer = await own.make(caller, "chat", BODY)
        except BackstayError as error:
            return error.code
        assert answer.cost_usd is not None
        return from_usd(answer.cost_usd)

    own = own_calls(house)
    return list(await asyncio.gather(*(one(own) for _ in range(calls))))


@pytest.mark.parametrize(("most", "made"), [(0, "none"), (250_000, "some"), (10_000_000, "all")])
async def test_calls_for_one_request_cost_no_more_together_than_was_allowed(house: House, most: int, made: str) -> None:
    """However many there are and all at once: what does not fit is made shorter, or refused."""
    house.offer("m", Simulator("sim"))
    told = await spend(house, allowed(most), 40)
    costs = [each for each in told if isinstance(each, int)]
    assert sum(costs) <= most
    assert {each for each in told if isinstance(each, str)} <= {"provider_error", "budget_exhausted"}
    assert made == ("all" if len(costs) == 40 else "some" if costs else "none")
    assert sum(document.spans[0].cost_nanousd or 0 for document in house.documents) == sum(costs)


async def test_a_call_of_unknown_cost_leaves_nothing(house: House) -> None:
    """Nobody knows how much of the allowance is left."""
    allowance = Allowance(NanoUSD(1_000))
    allowance.spend(NanoUSD(400))
    async with allowance.turn() as left:
        assert left == 600
    allowance.spend(None)
    async with allowance.turn() as left:
        assert left == 0


def _request(query: str, *documents: str):
    fields = {"model": "r", "query": query, "documents": documents}
    return read_rerank_request({name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()})


def test_a_reranker_bills_no_more_than_its_bound() -> None:
    """The query counts once for each document; a search unit is a hundred documents, long ones by their parts."""
    assert most_rerank_tokens(_request("four", "eight888", "a")) == 4 + 8 + 4 + 1
    assert most_search_units(_request("q", *["short"] * 100)) == 1
    assert most_search_units(_request("q", *["short"] * 101)) == 2
    assert most_search_units(_request("q", *["x" * 300] * 100)) == 2


@pytest.mark.parametrize(
    ("body", "tokens", "searches"),
    [
        (b'{"results": [], "meta": {"billed_units": {"search_units": 2}}, "id": "x"}', 0, 2),
        (b'{"data": [], "model": "rerank-2.5", "usage": {"total_tokens": 8}}', 8, 0),
        (b'{"model": "jina", "results": [], "usage": {"total_tokens": 9}}', 9, 0),
        (b'{"results": []}', None, 0),
    ],
)
def test_what_rerankers_bill_is_read(body: bytes, tokens: int | None, searches: int) -> None:
    """Cohere's search units, the tokens of the others; nothing said is not known."""
    usage = read_rerank_summary(body).usage
    assert (usage.input_tokens, usage.web_searches) == (tokens, searches)
