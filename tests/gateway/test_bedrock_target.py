"""Targets on Bedrock, through a whole call: damaged messages, and answers that do not say their own name."""

from collections.abc import AsyncIterator

import pytest
from gateway_house import ASK, WIRES, House

from backstay.core.errors import ProviderError
from backstay.providers import ANTHROPIC, ProviderRequest
from backstay.providers.event_stream import read_event
from backstay.providers.simulator import Simulator
from backstay.providers.simulator.provider import SimulatedExchange

both = pytest.mark.parametrize("wire", ["openai", "anthropic"])


class DamagedExchange(SimulatedExchange):
    """A stream of which some messages have one wrong byte, so that their checksum does not fit."""

    damaged: frozenset[int]

    async def frames(self) -> AsyncIterator[bytes]:
        number = 0
        async for frame in super().frames():
            if number in self.damaged:
                frame = frame[:-6] + bytes((frame[-6] ^ 1,)) + frame[-5:]
                with pytest.raises(ProviderError, match="does not fit its checksum"):
                    read_event(frame)
            yield frame
            number += 1


class Damaging(Simulator):
    """A Bedrock behind a bad line."""

    def __init__(self, *damaged: int):
        super().__init__("bad", speaks="bedrock", script={"tokens_per_second": 5000, "output_tokens": 30})
        self._damaged = frozenset(damaged)

    async def send(self, request: ProviderRequest) -> SimulatedExchange:
        exchange = await super().send(request)
        exchange.__class__ = DamagedExchange
        assert isinstance(exchange, DamagedExchange)
        exchange.damaged = self._damaged
        return exchange


@both
async def test_a_message_with_a_wrong_checksum_is_left_out(house: House, wire: str) -> None:
    """After the first content it counts as an event that is none: the rest comes, and the attempt says so."""
    house.offer("m", Damaging(4))
    dialect, body = WIRES[wire]
    sink = await house.call({**body, "stream": True}, dialect=dialect)
    assert (sink.status, sink.ended) == (200, True)
    assert b'"error"' not in sink.body
    (document,) = house.documents
    assert [span.status for span in document.spans] == ["ok", "ok"]
    assert document.spans[1].attributes["backstay.malformed_events"] == 1


async def test_a_wrong_checksum_before_content_falls_back(house: House) -> None:
    """Nothing was passed on yet, so another target gives the whole answer."""
    house.offer("m", Damaging(0), Simulator("good", speaks="bedrock"))
    sink = await house.call({**ASK, "stream": True})
    assert sink.body.endswith(b"data: [DONE]\n\n")
    assert [span.status for span in house.documents[0].spans] == ["ok", "error", "ok"]


async def test_a_stream_of_damage_is_given_up(house: House) -> None:
    """A line that spoils message after message ends in an error, never as if the answer were whole."""
    house.offer("m", Damaging(*range(3, 30)))
    sink = await house.call({**ASK, "stream": True})
    assert b'"error"' in sink.body.strip().split(b"\n\n")[-1]


@both
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_is_named_after_its_call_and_model(house: House, wire: str, stream: bool) -> None:
    """Converse says neither, and every caller's SDK demands both."""
    house.offer("m", Simulator("sim", speaks="bedrock"))
    dialect, body = WIRES[wire]
    sink = await house.call({**body, "stream": stream}, dialect=dialect)
    assert b'"model":"gpt-4o-mini"' in sink.body
    assert b'"id":""' not in sink.body


async def test_tokens_are_counted_here(house: House) -> None:
    """The dialect has no counter, so Anthropic's callers get an estimate."""
    house.offer("m", Simulator("sim", speaks="bedrock"))
    sink = await house.call(ASK, operation="count_tokens", dialect=ANTHROPIC)
    assert sink.status == 200
    assert sink.json["input_tokens"] > 0
