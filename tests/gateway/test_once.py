"""Calls with an idempotency key, inside one worker: who shares an answer, and what is kept of it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from gateway_house import WIRES, House

from backstay.core.clock import SystemClock
from backstay.gateway import Degraded, Route
from backstay.idempotency import Claims, Terms
from backstay.providers.simulator import Simulator
from backstay.store import Database

ASK = WIRES["openai"][1]
SLOW: dict[str, Any] = {"tokens_per_second": 40, "output_tokens": 40}


@pytest.fixture
async def once(house: House, database: Database, tenant: str) -> AsyncIterator[House]:
    """A gateway that looks at idempotency keys."""
    claims = Claims(database, SystemClock(), Terms(lease_s=2.0, margin_s=1.0, confirm_s=0.2))
    house.gateway.claims = claims
    upkeep = asyncio.create_task(claims.run())
    yield house
    upkeep.cancel()
    await asyncio.gather(upkeep, return_exceptions=True)


def attempts(house: House) -> list[str]:
    """How each try of each call ended, in the order of the records."""
    return [span.status for document in house.documents for span in document.spans if span.kind == "attempt"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_goes_on_for_those_who_wait(once: House, stream: bool):
    """The first caller goes away while another waits: there is one try, and the other gets all of its answer."""
    once.offer("m", Simulator("sim", script=SLOW))
    body = {**ASK, "stream": stream}
    first = asyncio.create_task(once.call(body, idempotency_key="k"))
    await asyncio.sleep(0.2)
    second = asyncio.create_task(once.call(body, idempotency_key="k"))
    await asyncio.sleep(0.2)
    first.cancel()
    sink = await second
    assert first.cancelled() and (sink.status, sink.headers["idempotency-replayed"]) == (200, "true")
    assert attempts(once) == ["ok"] and (not stream or sink.body.endswith(b"data: [DONE]\n\n"))


async def test_a_call_ends_with_the_last_who_wants_it(once: House):
    """The caller goes away, then who waited: the provider's call is cancelled and recorded, and the key free."""
    once.offer("m", Simulator("sim", script=SLOW))
    callers: list[asyncio.Task[object]] = []
    for _ in range(2):
        callers.append(asyncio.create_task(once.call(ASK, idempotency_key="k")))
        await asyncio.sleep(0.2)
    callers[0].cancel()
    await asyncio.sleep(0.1)
    assert attempts(once) == []
    callers[1].cancel()
    await asyncio.sleep(0.1)
    assert attempts(once) == ["cancelled"] and once.gateway.open_calls == 0
    assert "idempotency-replayed" not in (await once.call(ASK, idempotency_key="k")).headers


@pytest.mark.parametrize("kind", ["cut", "error_event"])
async def test_a_stream_that_broke_is_not_kept(once: House, kind: str):
    """Half of an answer is no answer: the repeat is a call of its own."""
    once.offer("m", Simulator("sim", script={"faults": [{"kind": kind, "after_tokens": 3}]}))
    for _ in range(2):
        sink = await once.call({**ASK, "stream": True}, idempotency_key="k")
        assert sink.status == 200 and b"[DONE]" not in sink.body
        await asyncio.sleep(0.1)
    assert attempts(once) == ["error", "error"]


async def test_a_message_that_stands_in_is_not_kept(once: House):
    """What a route ends in when nobody answers must not be all that a caller ever gets."""
    down = Simulator("sim", script={"faults": [{"kind": "status", "status": 401}]})
    once.offer("m", down, route=Route(degraded=Degraded(message="Later, please.")))
    sink = await once.call(ASK, idempotency_key="k")
    assert sink.headers["x-backstay-degraded"] == "message"
    once.offer("m", Simulator("sim"))
    sink = await once.call(ASK, idempotency_key="k")
    assert "idempotency-replayed" not in sink.headers and b"capital of France" in sink.body


async def test_a_call_that_may_not_be_the_only_one_is_given_up(once: House):
    """Its caller is told so, and what the provider may bill for is estimated."""
    once.offer("m", Simulator("sim", script=SLOW))
    calling = asyncio.create_task(once.call(ASK, idempotency_key="k"))
    await asyncio.sleep(0.2)
    assert once.gateway.claims is not None
    (claim,) = once.gateway.claims.running
    claim.lose()
    sink = await calling
    assert (sink.status, sink.json["error"]["code"]) == (503, "store_unavailable")
    (document,) = once.documents
    assert [(entry.estimated, bool(entry.cost_nanousd)) for entry in document.entries] == [(True, True)]


async def test_a_repeat_leaves_a_small_trace(once: House):
    """No messages, no attempts, no cost; the origin's name."""
    once.offer("m", Simulator("sim"))
    for _ in range(2):
        await once.call(ASK, idempotency_key="k")
    origin, repeat = (document.spans for document in once.documents)
    assert [(span.cost_nanousd, span.attributes["backstay.idempotency.origin"]) for span in repeat] == [
        (0, origin[0].trace_id)
    ]
    assert once.journal.entries[-1][1][1:] == [b"", b""]
