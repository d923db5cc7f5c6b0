"""A key that repeats itself: told in the record, slowed or refused; and who is left alone."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from gateway_house import ASK, CALLER, WIRES, House, MemorySink

from backstay.gateway import Incoming, call
from backstay.loops import LoopConfig, Loops
from backstay.providers import OPENAI
from backstay.providers.simulator import Simulator


def _watched(house: House, config: Mapping[str, Any]) -> Loops:
    """Offer one model, and watch its calls."""
    house.offer("m", Simulator("openai"))
    loops = house.gateway.loops = Loops()
    loops.adopt(LoopConfig.model_validate(config))
    return loops


def _counts(house: House) -> list[Any]:
    return [span.attributes.get("backstay.loop.calls") for span in house.spans]


async def test_a_loop_is_told_and_goes_on(house: House, caplog: pytest.LogCaptureFixture):
    """The default: every call is answered, those of the loop say which they are, and the log says it once."""
    loops = _watched(house, {"repeats": 3})
    for _ in range(5):
        assert (await house.call(ASK)).status == 200
    assert _counts(house) == [None, None, 3, 4, 5]
    assert loops.counts["alert"] == 3
    assert [
        record.getMessage().partition(":")[0] for record in caplog.records if "repeats nearly" in record.message
    ] == ["Key key_1 repeats nearly the same call of m"]


@pytest.mark.parametrize("wire", WIRES)
async def test_a_loop_is_refused(house: House, wire: str):
    """In the caller's own dialect, with a status that its SDK raises and does not try again, and at no cost."""
    dialect, body = WIRES[wire]
    _watched(house, {"repeats": 3, "on_loop": "refuse"})
    sinks = [await house.call(body, dialect=dialect) for _ in range(4)]
    assert [sink.status for sink in sinks] == [200, 200, 422, 422]
    assert "3 of them within 300 s" in sinks[-1].json["error"]["message"]
    assert sinks[-1].json["error"]["type"] == "invalid_request_error"
    assert "retry-after" not in sinks[-1].headers
    assert [(span.status, span.cost_nanousd) for span in house.spans][2:] == [("error", 0), ("error", 0)]
    other = {**body, "messages": [{"role": "user", "content": "And the capital of Peru, do you know it?"}]}
    assert (await house.call(other, dialect=dialect)).status == 200, "another question is no part of it"


async def test_a_loop_is_slowed(house: House, monkeypatch: pytest.MonkeyPatch):
    """Each call waits longer than the one before it, and no longer than half of what its caller waits."""
    pauses: list[float] = []

    async def no_pause(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("backstay.gateway.looping.asyncio.sleep", no_pause)
    _watched(house, {"repeats": 2, "on_loop": "slow", "slow_s": 4})
    for _ in range(4):
        await house.call(ASK)
    monkeypatch.undo()
    assert pauses == [4, 8, 12]


async def test_who_waits_for_a_pause_may_go(house: House):
    """A caller that goes away meanwhile is not called for, and its call is recorded as cancelled."""
    _watched(house, {"repeats": 2, "on_loop": "slow", "slow_s": 20})
    await house.call(ASK)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await house.call(ASK)
    assert [span.status for span in house.spans] == ["ok", "cancelled"]


@pytest.mark.parametrize("exempt", [{"job_id": "job_1"}, {"is_shadow": True}])
async def test_what_is_many_by_design_is_left_alone(house: House, exempt: dict[str, Any]):
    """Calls of batches, and those that check the cache."""
    _watched(house, {"repeats": 2, "on_loop": "refuse"})
    body = b'{"model": "m", "messages": [{"role": "user", "content": "hello"}]}'
    for _ in range(4):
        sink = MemorySink()
        incoming = Incoming(
            operation="chat", path="/v1/chat/completions", dialect=OPENAI, caller=CALLER, body=body, **exempt
        )  # fmt: skip
        await call(house.gateway, incoming, sink)
        assert sink.status == 200


async def test_embeddings_are_left_alone(house: House):
    """The same text is embedded again and again, at hardly a cost."""
    _watched(house, {"repeats": 2, "on_loop": "refuse"})
    for _ in range(4):
        assert (await house.call({"input": "hello"}, operation="embeddings")).status == 200
