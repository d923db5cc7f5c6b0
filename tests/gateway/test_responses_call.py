"""Tests of calls on OpenAI's responses wire: bytes that pass, streams that fail, and who is asked in which dialect."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from gateway_house import CALLER, House, MemorySink

from backstay.conversations import Conversations
from backstay.core.chat import ChatRequest, Started, TextDelta
from backstay.core.clock import SystemClock
from backstay.core.errors import ProviderUnreachable
from backstay.core.routing import OnBrokenStream
from backstay.gateway import Degraded, RetryPolicy, Route
from backstay.idempotency import Claims
from backstay.providers import RESPONSES, ProviderRequest
from backstay.providers.simulator import Simulator
from backstay.providers.simulator.provider import SimulatedExchange
from backstay.providers.simulator.script import read_script
from backstay.providers.sse import data_of
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


@pytest.mark.parametrize("stream", [False, True])
async def test_a_turn_with_a_key_is_made_once(house: House, database: Database, tenant: str, stream: bool):
    """A repeat gets the same response, whose id can be gone on from, also after what it went on from was deleted."""
    house.offer("m", Watched("sim"))
    house.gateway.conversations = conversations = Conversations(database, house.journal, SystemClock())
    house.gateway.claims = Claims(database, SystemClock())
    first = await house.call(ASK, dialect=RESPONSES, idempotency_key="a")
    body = {"input": "And of Spain?", "previous_response_id": first.json["id"], "stream": stream}
    second = await house.call(body, dialect=RESPONSES, idempotency_key="b")
    told = events(second)[-1]["response"] if stream else second.json
    assert [turn.response_id for turn in await conversations.follow(CALLER, told["id"])] == [
        first.json["id"],
        told["id"],
    ]
    await conversations.delete(CALLER, first.json["id"])
    repeat = await house.call(body, dialect=RESPONSES, idempotency_key="b")
    assert repeat.headers["idempotency-replayed"] == "true" and repeat.body == second.body
    assert (await conversations.find(CALLER, told["id"])).response is not None
    assert [len(document.entries) for document in house.documents] == [1, 1, 0]


STORY = " ".join(f"On day {day} the ship made {day * 7 % 31} miles under her backstay." for day in range(1, 9)) + " "
TELL = {"answer": "echo", "canned": [{"contains": "story", "text": STORY}], "tokens_per_second": 5000}
KINDS: dict[str, dict[str, Any]] = {
    "native": {"speaks": "responses"},
    "both": {"responses": True},
    "openai": {},
    "anthropic": {"speaks": "anthropic"},
    "gemini": {"speaks": "gemini"},
}
AWAY = "postgresql://nobody@127.0.0.1:1/nothing"


def teller(name: str, kind: str, *faults: dict[str, Any]) -> Watched:
    return Watched(name, **KINDS[kind], script={**TELL, "faults": list(faults)})


def output_text(response: Any) -> str:
    return "".join(part["text"] for item in response["output"] for part in item.get("content", ()))


class CutBefore(Watched):
    """Serves the wire itself, and breaks off before the first event of a kind. Items may be said to be otherwise."""

    def __init__(self, kind: str, **item: str):
        super().__init__("one", speaks="responses", script=TELL)
        self._kind = kind
        self._item = item

    async def send(self, request: ProviderRequest) -> SimulatedExchange:
        exchange = await super().send(request)
        exchange.frames = self._frames(exchange.frames())
        return exchange

    def _frames(self, frames: AsyncIterator[bytes]) -> Callable[[], AsyncIterator[bytes]]:
        async def until_cut() -> AsyncIterator[bytes]:
            async for frame in frames:
                event = json.loads(data_of(frame) or b"null")
                if event["type"] == self._kind:
                    raise ProviderUnreachable("The connection broke.")
                if "item" in event:
                    event["item"] |= self._item
                yield b"event: %b\ndata: %b\n\n" % (event["type"].encode(), json.dumps(event).encode())

        return until_cut


TOOLS: dict[str, Any] = {
    "tools": [{"type": "function", "name": "look", "parameters": {"type": "object"}}],
    "tool_choice": "none",
}
ENDS: list[tuple[str, dict[str, str], dict[str, Any], bool]] = [
    ("response.completed", {}, {}, True),
    ("response.completed", {}, {"text": {"format": {"type": "json_object"}}}, True),
    ("response.output_item.done", {}, {}, True),
    ("response.content_part.done", {}, {}, True),
    ("response.output_text.done", {}, {}, False),
    ("response.completed", {"status": "incomplete"}, {}, False),
    ("response.completed", {"phase": "commentary"}, {}, False),
    ("response.completed", {}, {"tools": []}, True),
    ("response.completed", {}, TOOLS, False),
    ("response.completed", {"phase": "final_answer"}, TOOLS, True),
]


@pytest.mark.parametrize("mode", ["error", "continue"])
@pytest.mark.parametrize(("cut", "item", "more", "is_whole"), ENDS)
async def test_a_native_stream_that_lost_only_its_end_is_ended(
    house: House, cut: str, item: dict[str, str], more: dict[str, Any], is_whole: bool, mode: OnBrokenStream
):
    """Where the message is known to be whole and the last one, nobody else is asked, and the usage is estimated."""
    two = teller("two", "native")
    house.offer("m", CutBefore(cut, **item), two, route=Route(on_broken_stream=mode))
    house.gateway.conversations = Conversations(Database(AWAY), house.journal, SystemClock())
    told = events(await house.call({"input": "Tell me a story.", "stream": True, **more}, dialect=RESPONSES))
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    assert len(two.sent) == (mode == "continue" and not is_whole)
    assert (told[-1]["type"] == "response.completed") == (is_whole or mode == "continue")
    if not is_whole:
        return
    last, (root, attempt) = told[-1]["response"], house.documents[0].spans
    said = "".join(event["delta"] for event in told if event["type"] == "response.output_text.delta")
    assert (output_text(last), last["status"], len(last["output"])) == (said, "completed", 1)
    assert (root.status, attempt.error_code) == ("ok", "provider_unreachable")
    assert last["usage"]["output_tokens"] == root.output_tokens == -(-len(said) // 4) > 1
    assert [entry.estimated for entry in house.documents[0].entries] == [True]
    again = {"input": "And then?", "previous_response_id": last["id"]}
    assert (await house.call(again, dialect=RESPONSES)).status == 200


@pytest.mark.parametrize("text", ["Tell me a story.", [{"role": "user", "content": "Tell me a story."}]])
@pytest.mark.parametrize("second", KINDS)
@pytest.mark.parametrize("first", KINDS)
async def test_a_stream_goes_on_where_it_broke(house: House, first: str, second: str, text: Any):
    """With `continue`, the caller sees one response: its id, its item, its numbers and its text, on every way."""
    one, two = teller("one", first, {"kind": "cut", "after_tokens": 11}), teller("two", second)
    house.offer("m", one, two, route=Route(on_broken_stream="continue"))
    house.gateway.conversations = Conversations(Database(AWAY), house.journal, SystemClock())
    ask = {"input": text, "stream": True, "max_output_tokens": 1000}
    told = events(await house.call(ask, dialect=RESPONSES))
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    assert "".join(event["delta"] for event in told if event["type"] == "response.output_text.delta") == STORY
    last = told[-1]["response"]
    assert (told[-1]["type"], output_text(last)) == ("response.completed", STORY)
    assert {event["response"]["id"] for event in told if "response" in event} == {last["id"]}
    assert {event["item_id"] for event in told if "item_id" in event} == {last["output"][0]["id"]}
    assert [span.status for span in house.documents[0].spans] == ["ok", "error", "ok"]
    kept = [json.loads(parts[0])["turn"] for _, parts in house.journal.entries if b'"turn"' in parts[0]]
    assert [(turn["response_id"], turn["target"]) for turn in kept] == [(last["id"], None)]
    again = {"input": "And then?", "previous_response_id": last["id"]}
    assert (await house.call(again, dialect=RESPONSES)).status == 200


async def test_a_native_stream_may_break_again(house: House):
    """Each target goes on where the last one broke; the numbers and the item stay those of the one stream."""
    one, two = (teller(name, "native", {"kind": "cut", "after_tokens": 17}) for name in ("one", "two"))
    house.offer("m", one, two, teller("three", "native"), route=Route(on_broken_stream="continue"))
    ask = {"input": "Tell me a story.", "stream": True}
    told = events(await house.call(ask, dialect=RESPONSES.of_call({}, "resp_1")))
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    assert output_text(told[-1]["response"]) == STORY
    assert {event["item_id"] for event in told if "item_id" in event} == {told[-1]["response"]["output"][0]["id"]}
    assert [span.status for span in house.documents[0].spans] == ["ok", "error", "error", "ok"]


async def test_a_native_stream_that_nobody_goes_on_with_ends_with_its_number(house: House):
    """Where every next try fails, the error has the number after the last event that the caller has seen."""
    one, two = teller("one", "native", {"kind": "cut", "after_tokens": 11}), teller("two", "native", {"kind": "reset"})
    route = Route(on_broken_stream="continue", retry=RetryPolicy(retries=0))
    house.offer("m", one, two, route=route)
    ask = {"input": "Tell me a story.", "stream": True}
    told = events(await house.call(ask, dialect=RESPONSES.of_call({}, "resp_1")))
    assert told[-1]["type"] == "error"
    assert [event["sequence_number"] for event in told] == list(range(len(told)))


async def test_json_is_not_gone_on_with(house: House):
    """Half of a document cannot be continued: the caller is told."""
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in "abcdef"}, "required": [*"abcdef"]}
    shape = {"type": "json_schema", "name": "n", "schema": schema}
    one, two = teller("one", "openai", {"kind": "cut", "after_tokens": 3}), teller("two", "openai")
    house.offer("m", one, two, route=Route(on_broken_stream="continue"))
    ask = {"input": "Tell me a story.", "stream": True, "text": {"format": shape}}
    assert events(await house.call(ask, dialect=RESPONSES))[-1]["type"] == "error"
    assert not two.sent


async def test_only_the_target_that_keeps_a_conversation_is_asked(house: House):
    """Neither another target nor the one that stands in may answer; a fixed text may, and can be gone on from."""
    keeps, other, last = teller("keeps", "native"), teller("other", "native"), teller("last", "native")
    house.offer("m", keeps, other)
    (stand_in,) = (target for target in house.gateway.models.find("m", CALLER).targets if target.provider is other)
    degraded = Degraded(target=msgspec.structs.replace(stand_in, name="last/m", provider=last), message="Later.")
    house.offer("m", keeps, other, route=Route(degraded=degraded, retry=RetryPolicy(retries=0)))
    house.gateway.conversations = Conversations(Database(AWAY), house.journal, SystemClock())
    first = (await house.call({"input": "Tell me a story."}, dialect=RESPONSES)).json
    script = keeps.simulation.script
    keeps.simulation.script = read_script({"faults": [{"kind": "status", "status": 500}]})
    again = {"input": "And then?", "previous_response_id": first["id"]}
    fixed = (await house.call(again, dialect=RESPONSES)).json
    assert (output_text(fixed), other.sent, last.sent) == ("Later.", [], [])
    keeps.simulation.script = script
    third = await house.call({"input": "Now?", "previous_response_id": fixed["id"]}, dialect=RESPONSES)
    asked = json.loads(keeps.sent[-1].whole_body)
    assert (third.status, asked["previous_response_id"], len(asked["input"])) == (200, first["id"], 3)


def test_items_of_a_broken_native_stream_stay():
    """Thoughts and hosted tools that have no neutral form are in the whole response, and places count on after them."""
    dialect = RESPONSES.of_call({}, "resp_own")
    reader = dialect.stream_reader()
    thought: dict[str, Any] = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": None}
    sent: list[dict[str, Any]] = [
        {"type": "response.created", "response": {"id": "resp_1", "model": "m", "created_at": 1}},
        {"type": "response.output_item.added", "output_index": 0, "item": thought},
        {"type": "response.output_item.done", "output_index": 0, "item": thought},
        {"type": "response.output_item.added", "output_index": 1, "item": {"type": "message", "id": "msg_1"}},
        {"type": "response.output_text.delta", "output_index": 1, "item_id": "msg_1", "delta": "On and "},
    ]
    frames = [
        b"data: " + json.dumps({**event, "sequence_number": at}).encode() + b"\n\n" for at, event in enumerate(sent)
    ]
    said = [event for frame in frames for event in reader.read(frame)]
    assert [type(event) for event in said] == [Started, TextDelta]
    writer = dialect.resumed_writer(ChatRequest(model="m", messages=()), said)
    written = writer.write(TextDelta(text="on.")) + writer.end()
    told = [json.loads(frame.partition(b"data: ")[2]) for frame in written.split(b"\n\n")[:-1]]
    assert [event["sequence_number"] for event in told] == list(range(5, 5 + len(told)))
    assert (told[0]["type"], told[0]["output_index"], told[0]["item_id"]) == ("response.output_text.delta", 1, "msg_1")
    output = told[-1]["response"]["output"]
    assert (output[0], output[1]["id"], output[1]["content"][0]["text"]) == (thought, "msg_1", "On and on.")
