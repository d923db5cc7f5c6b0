"""Tests of calls on OpenAI's responses wire: bytes that pass, streams that fail, and who is asked in which dialect."""

import json
from typing import Any

from gateway_house import House, MemorySink

from backstay.conversations import Conversations
from backstay.core.clock import SystemClock
from backstay.providers import RESPONSES, ProviderRequest
from backstay.providers.simulator import Simulator
from backstay.providers.simulator.provider import SimulatedExchange
from backstay.store import Database

ASK: dict[str, Any] = {"input": "What is the capital of France?"}


class Watched(Simulator):
    """A simulator that also keeps what it was sent and what it said."""

    def __init__(self, name: str, **more: Any):
        super().__init__(name, **more)
        self.sent: list[ProviderRequest] = []

    async def send(self, request: ProviderRequest) -> SimulatedExchange:
        self.sent.append(request)
        return await super().send(request)


def events(sink: MemorySink) -> list[Any]:
    return [json.loads(frame.partition(b"data: ")[2]) for frame in sink.body.split(b"\n\n")[:-1]]


async def test_who_serves_the_wire_gets_it_untouched(house: House):
    """Fields that nobody knows reach the provider as they came, and its answer the caller."""
    provider = Watched("native", responses=True)
    house.offer("m", provider)
    body = b'{"model":"m","input":"hi", "tools":[{"type":"web_search","x":1.50}],"store":false,"new_field":{"a":1e2}}'
    sink = await house.call(body, dialect=RESPONSES)
    (request,) = provider.sent
    assert request.dialect == "responses"
    assert request.body == body.replace(b'"model":"m"', b'"model":"gpt-4o-mini"').replace(b', "tools"', b',"tools"')
    assert sink.json["id"].startswith("resp_") and sink.json["tools"] == [{"type": "web_search", "x": 1.5}]


async def test_a_native_stream_passes_untouched(house: House):
    """Not one byte of a stream in the same dialect is changed; usage and text are in the books all the same."""
    provider = Watched("native", responses=True)
    house.offer("m", provider)
    sink = await house.call({**ASK, "stream": True}, dialect=RESPONSES)
    assert [event["sequence_number"] for event in events(sink)] == list(range(len(events(sink))))
    last = events(sink)[-1]["response"]
    assert house.spans[0].output_tokens == last["usage"]["output_tokens"]
    (entry,) = house.documents[0].entries
    assert entry.input_tokens == last["usage"]["input_tokens"]


async def test_a_caller_of_chat_is_answered_by_chat(house: House):
    """A provider of both wires is spoken to in the caller's own."""
    provider = Watched("both", responses=True)
    house.offer("m", provider)
    await house.call({"messages": [{"role": "user", "content": "hi"}]})
    assert provider.sent[0].dialect == "openai"


async def test_another_target_takes_over_in_its_dialect(house: House):
    """When the native target fails before it spoke, the next one answers, translated."""
    down = Watched("down", responses=True, script={"faults": [{"kind": "status", "status": 500}]})
    house.offer("m", down, Watched("up", speaks="anthropic"))
    for stream in (False, True):
        sink = await house.call({**ASK, "stream": stream}, dialect=RESPONSES)
        assert (sink.status == 200 and b"capital of France" in sink.body.replace(b'","', b"")) or stream
    assert house.spans[-1].target == "up/gpt-4o-mini"


async def test_a_stream_that_breaks_is_told_with_its_number(house: House):
    """The failure goes on with the numbers of the stream, names its response, and says why."""
    house.offer("m", Watched("cut", script={"faults": [{"kind": "cut", "after_tokens": 3}]}))
    sink = await house.call({**ASK, "stream": True}, dialect=RESPONSES.of_call({}, "resp_1"))
    told = events(sink)
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    assert [event["type"] for event in told[-2:]] == ["response.failed", "error"]
    assert (told[-2]["response"]["id"], told[-2]["response"]["status"]) == ("resp_1", "failed")
    assert told[-1]["message"] == told[-1]["error"]["message"] == house.spans[0].error_message


async def test_postgres_away_stops_no_call(house: House):
    """Without Postgres a response is answered, kept in the journal, and can be gone on from at this worker."""
    house.offer("m", Watched("sim"))
    nowhere = Database("postgresql://nobody@127.0.0.1:1/nothing")
    house.gateway.conversations = Conversations(nowhere, house.journal, SystemClock())
    first = await house.call(ASK, dialect=RESPONSES)
    again = {"input": "And of Spain?", "previous_response_id": first.json["id"], "stream": True}
    second = events(await house.call(again, dialect=RESPONSES))[-1]["response"]
    assert (first.status, second["previous_response_id"]) == (200, first.json["id"])
    assert second["usage"]["input_tokens"] > 2 * first.json["usage"]["input_tokens"]
    kept = [parts for kind, parts in house.journal.entries if kind == "call" and b'"turn"' in parts[0]]
    assert [json.loads(parts[0])["turn"]["response_id"] for parts in kept] == [first.json["id"], second["id"]]
    refused = await house.call({"input": "?", "previous_response_id": "resp_other"}, dialect=RESPONSES)
    assert (refused.status, refused.json["error"]["code"]) == (503, "store_unavailable")
