"""Tests of the life of a call, over a real journal and simulated providers of every dialect."""

import asyncio
import json
from typing import Any, Literal

import pytest
from gateway_house import ASK, CALLER, WIRES, House, MemorySink

from backstay.core.money import NanoUSD
from backstay.core.usage import Usage
from backstay.gateway import Incoming, Route
from backstay.gateway.recording import Recording
from backstay.gateway.tries import RetryPolicy
from backstay.ledger import Cost
from backstay.providers import ANTHROPIC, OPENAI, ProviderRequest, ReplySummary, Timeouts
from backstay.providers.simulator import Simulator
from backstay.providers.simulator.provider import SimulatedExchange
from backstay.records import interrupted

Speech = Literal["openai", "anthropic", "gemini", "bedrock"]
both = pytest.mark.parametrize("wire", ["openai", "anthropic"])
all_ways = pytest.mark.parametrize("speaks", ["openai", "anthropic", "gemini", "bedrock"])


class Watched(Simulator):
    """A simulator that keeps what it was sent."""

    bodies: list[bytes]

    async def send(self, request: ProviderRequest) -> SimulatedExchange:
        self.bodies = [*getattr(self, "bodies", []), request.whole_body]
        return await super().send(request)


def failing(kind: str, speaks: Speech = "openai", **more: Any) -> Simulator:
    """A simulator that does the same wrong thing each time."""
    return Simulator("bad", speaks=speaks, script={"faults": [{"kind": kind, **more}], "tokens_per_second": 2000})


@both
@all_ways
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_is_priced_and_recorded_on_every_way(house: House, wire: str, speaks: Speech, stream: bool):
    """Each wire, to each dialect, streamed or not: one call span, one attempt, one entry, the same cost in both."""
    house.offer("m", Simulator("sim", speaks=speaks))
    dialect, body = WIRES[wire]
    sink = await house.call({**body, "stream": stream}, dialect=dialect)
    assert (sink.status, sink.ended) == (200, True)
    _, _, kept = house.journal.entries[-1][1]
    assert b"capital of France" in kept
    (document,) = house.documents
    root, attempt = document.spans
    (entry,) = document.entries
    assert (root.kind, root.status, attempt.kind, attempt.parent_id) == ("call", "ok", "attempt", root.span_id)
    assert root.cost_nanousd == entry.cost_nanousd == sum(line.amount_nanousd for line in entry.lines)
    assert entry.cost_nanousd and entry.input_tokens and entry.output_tokens and not entry.estimated
    assert sink.headers["x-backstay-trace-id"] == root.trace_id
    assert house.spans == [root]


@both
async def test_the_intent_is_written_before_the_provider_is_asked(house: House, wire: str):
    """A reservation in the journal comes first, and the record comes before the caller's last byte."""
    house.offer("m", Simulator("sim"))
    seen: list[int] = []
    dialect, body = WIRES[wire]
    sink = MemorySink(on_write=lambda chunk: seen.append(len(house.journal.entries)))
    await house.call({**body, "stream": True}, dialect=dialect, sink=sink)
    assert [kind for kind, _ in house.journal.entries] == ["intent", "call"]
    assert seen[0] == 1
    assert seen[-1] == 2


async def test_bytes_of_the_same_dialect_pass_untouched(house: House):
    """Unknown fields, odd numbers and odd spellings reach a provider of the caller's dialect as they were sent."""
    simulator = Watched("sim")
    house.offer("m", simulator)
    await house.call(
        b'{"model":"m","messages":[{"role":"user","content":"a\\u0062\\/c"}],'
        b'"x_new": {"n": 1.50, "big": 12345678901234567890123}}'
    )
    (body,) = simulator.bodies
    assert b'"x_new":{"n": 1.50, "big": 12345678901234567890123}' in body
    assert b'"a\\u0062\\/c"' in body
    assert json.loads(body)["model"] == "gpt-4o-mini"


async def test_thoughts_of_another_vendors_model_do_not_come_to_anthropic(house: House):
    """They came with a turn that another target answered, and would be refused for their signature."""
    simulator = Watched("sim", speaks="anthropic")
    house.offer("m", simulator)
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "gemini:CpcB"}
    said = [{"role": "assistant", "content": [thought, {"type": "text", "text": "Paris."}]}]
    messages = [*ASK["messages"], *said, *ASK["messages"]]
    assert (await house.call({"max_tokens": 9, "messages": messages}, dialect=ANTHROPIC)).status == 200
    (body,) = simulator.bodies
    assert json.loads(body)["messages"][1]["content"] == [{"type": "text", "text": "Paris."}]


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ({"model": "gpt-9", "messages": []}, "gpt-9"),
        ({"model": "a\x00b\u202ec\n" + 200 * "x"}, "a\ufffdb\ufffdc\ufffd" + 94 * "x"),
        ({"model": {"name": "m"}}, None),
        ({"model": ""}, None),
        (b'{"model": "half', None),
    ],
)
async def test_a_call_that_is_refused_shows_the_model_that_it_asked_for(
    house: House, body: dict[str, Any] | bytes, shown: str | None
):
    """However it is written, it is a short line of text; sums do not know it, for a caller may write anything."""
    house.offer("m", Simulator("sim"))
    sink = await house.call(body)
    assert sink.status in (400, 404)
    (document,) = house.documents
    (root,) = document.spans
    assert (root.model, root.counted_model) == (shown, None)
    assert root.name == (f"chat {shown}" if shown else "chat")


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False, "include_obfuscation": False}])
async def test_usage_is_asked_for_beside_the_callers_own_options(house: House, options: dict[str, bool] | None):
    """A stream is priced by the provider's usage whether or not the caller wants to see it, and keeps its options."""
    simulator = Watched("sim")
    house.offer("m", simulator)
    sink = await house.call({**ASK, "stream": True, "stream_options": options})
    assert json.loads(simulator.bodies[0])["stream_options"] == {**(options or {}), "include_usage": True}
    assert b'"prompt_tokens"' not in sink.body
    assert not house.documents[0].entries[0].estimated


async def test_stream_options_must_be_an_object(house: House):
    """Anything else is refused by its name."""
    house.offer("m", Simulator("sim"))
    sink = await house.call({**ASK, "stream": True, "stream_options": 7})
    assert (sink.status, sink.json["error"]["param"]) == (400, "stream_options")


@both
async def test_a_second_target_answers_where_the_first_fails(house: House, wire: str):
    """A retryable failure before any content is ridden out; both attempts are in the trace, one is billed."""
    house.offer("m", failing("status", status=503), Simulator("good"))
    dialect, body = WIRES[wire]
    sink = await house.call(body, dialect=dialect)
    assert sink.status == 200
    (document,) = house.documents
    root, first, second = document.spans
    assert [first.status, second.status, root.status] == ["error", "ok", "ok"]
    assert (first.http_status, first.target, root.target) == (503, "bad/gpt-4o-mini", "good/gpt-4o-mini")
    assert [entry.attempt for entry in document.entries] == [1]


@all_ways
@pytest.mark.parametrize("kind", ["reset", "error_event", "malformed", "cut"])
async def test_a_stream_that_fails_before_content_falls_back_silently(house: House, speaks: Speech, kind: str):
    """What came before the first content was held back, so that the caller sees one clean stream."""
    house.offer("m", failing(kind, speaks, after_tokens=0), Simulator("good", speaks=speaks))
    sink = await house.call({**ASK, "stream": True})
    assert sink.status == 200 and sink.body.count(b'"role":"assistant"') == 1
    assert sink.body.endswith(b"data: [DONE]\n\n")
    assert [span.status for span in house.documents[0].spans] == ["ok", "error", "ok"]


@both
async def test_one_event_that_is_no_json_does_not_end_a_stream_that_goes_on(house: House, wire: str):
    """It is left out, the rest comes, and the attempt says so."""
    house.offer("m", failing("malformed", after_tokens=3))
    dialect, body = WIRES[wire]
    sink = await house.call({**body, "stream": True}, dialect=dialect)
    assert (sink.status, sink.ended) == (200, True)
    assert b'"error"' not in sink.body
    (document,) = house.documents
    assert [span.status for span in document.spans] == ["ok", "ok"]
    assert document.spans[1].attributes["backstay.malformed_events"] == 1
    assert not document.entries[0].estimated


@both
@pytest.mark.parametrize("kind", ["cut", "error_event"])
async def test_a_stream_that_breaks_midway_ends_with_an_error_event(house: House, wire: str, kind: str):
    """The caller is told inside the stream, and what was received is priced as an estimate."""
    house.offer("m", failing(kind, after_tokens=3))
    dialect, body = WIRES[wire]
    sink = await house.call({**body, "stream": True}, dialect=dialect)
    assert (sink.status, sink.ended) == (200, True)
    last = sink.body.strip().split(b"\n\n")[-1]
    assert b'"error"' in last
    (document,) = house.documents
    assert document.spans[0].status == "error"
    assert document.entries[0].estimated and document.entries[0].cost_nanousd


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("kind", "is_billed"),
    [("cut", True), ("malformed", True), ("status", False), ("reset", False)],
)
async def test_an_answer_that_came_and_is_lost_is_priced(house: House, kind: str, is_billed: bool, stream: bool):
    """Who said 200 has worked, whether its answer breaks off or cannot be read; who told an error sends no bill."""
    house.offer("m", failing(kind, after_tokens=0), route=Route(retry=RetryPolicy(retries=0)))
    assert (await house.call({**ASK, "stream": stream})).status >= 500
    entries = house.documents[0].entries
    assert [(entry.estimated, bool(entry.cost_nanousd)) for entry in entries] == [(True, True)] * is_billed


@both
async def test_all_targets_failing_is_the_last_ones_error_in_the_callers_shape(house: House, wire: str):
    """The error of a provider reaches the caller in the caller's own dialect, with its retry-after."""
    house.offer("m", failing("status", "anthropic", status=429, retry_after_s=7))
    dialect, body = WIRES[wire]
    sink = await house.call(body, dialect=dialect)
    assert (sink.status, sink.headers["retry-after"]) == (429, "7")
    assert sink.json["error"]["type"] in ("rate_limit_error", "rate_limit_exceeded", "requests", "tokens")
    (document,) = house.documents
    assert (document.spans[0].http_status, document.entries) == (429, ())


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_that_goes_away_is_recorded_and_priced(house: House, stream: bool):
    """Cancelling a call closes the provider's exchange, and leaves a cancelled call with an estimated cost."""
    house.offer("m", Simulator("slow", script={"latency_s": 0 if stream else 30, "tokens_per_second": 20}))
    sink = MemorySink()
    task = asyncio.create_task(house.call({**ASK, "stream": stream}, sink=sink))
    await asyncio.sleep(0.4)
    assert len(sink.chunks) > 3 if stream else house.journal.entries
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (document,) = house.documents
    assert document.spans[0].status == document.spans[1].status == "cancelled"
    assert document.entries[0].estimated and document.entries[0].cost_nanousd
    assert house.gateway.open_calls == 0


async def test_a_provider_that_takes_too_long_is_a_timeout(house: House):
    """The model's own deadline ends the attempt, as 504, with an estimated entry: the provider may bill it."""
    house.offer("m", failing("hang"), timeouts=Timeouts(first_token_s=0.05, idle_s=0.05, total_s=0.05))
    sink = await house.call(ASK)
    assert (sink.status, sink.json["error"]["code"]) == (504, "provider_timeout")
    assert [entry.estimated for entry in house.documents[0].entries] == [True]


@both
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"nonsense", 400),
        (b"[1]", 400),
        (b'{"model":"m"}', 400),
        (b'{"model":"no","messages":[{}]}', 404),
        (b'{"model":7,"messages":[{}]}', 400),
        (b'{"model":"m","messages":"hi"}', 400),
        (b'{"model":"m","messages":[]}', 400),
        (b'{"model":"m","messages":[{}],"stream":"yes"}', 400),
        (b'{"model":"m","model":"m","messages":[{}]}', 400),
    ],
)
async def test_bad_requests_are_vendor_shaped_and_traced(house: House, wire: str, body: bytes, status: int):
    """A request that cannot be understood never reaches a provider, and leaves a trace all the same."""
    house.offer("m", Simulator("sim"))
    sink = await house.call(body, dialect=WIRES[wire][0])
    assert sink.status == status
    assert sink.json["error"]["message"]
    assert [kind for kind, _ in house.journal.entries] == ["call"]
    root = house.documents[0].spans[0]
    assert (root.status, root.http_status, root.cost_nanousd) == ("error", status, 0)


async def test_what_another_dialect_cannot_say_is_refused_by_its_name(house: House):
    """A field without a form at the target is never dropped silently."""
    house.offer("m", Simulator("sim", speaks="anthropic"))
    sink = await house.call({**ASK, "logit_bias": {"1": 2}})
    assert (sink.status, sink.json["error"]["param"]) == (400, "logit_bias")


async def test_a_target_that_can_say_it_is_asked_instead(house: House):
    """A request that the first target's dialect has no form for goes to the next target."""
    house.offer("m", Simulator("sim", speaks="anthropic"), Simulator("other"))
    sink = await house.call({**ASK, "seed": 7})
    assert (sink.status, house.documents[0].spans[0].target) == (200, "other/gpt-4o-mini")


async def test_a_draining_worker_refuses(house: House):
    """A worker that shuts down answers at once with 503, which SDKs try again elsewhere."""
    house.offer("m", Simulator("sim"))
    house.gateway.draining = True
    sink = await house.call(ASK)
    assert (sink.status, sink.json["error"]["code"]) == (503, "draining")


async def test_a_full_disk_refuses_before_the_provider_is_asked(house: House, monkeypatch: pytest.MonkeyPatch):
    """No room for the record: 503 with the reason, to be tried again, and no provider was called."""
    simulator = Watched("sim")
    house.offer("m", simulator)
    house.gateway.journal.full = True
    monkeypatch.setattr("backstay.store.journal.PARKED_BYTES", 0)
    sink = await house.call(ASK)
    assert (sink.status, sink.json["error"]["code"]) == (503, "journal_full")
    assert not hasattr(simulator, "bodies")


async def test_capture_can_be_off(house: House):
    """With figures only, no text of request or answer is in the journal."""
    house.offer("m", Simulator("sim"))
    house.gateway.capture = False
    await house.call(ASK)
    assert all(b"France" not in part for _, parts in house.journal.entries for part in parts)


async def test_an_intent_without_outcome_is_an_interrupted_call_of_unknown_cost(house: House):
    """What a dead worker left open is booked as unconfirmed, and its cost is unknown, not 0."""
    house.offer("m", Simulator("sim"))
    await house.call(ASK)
    kind, parts = house.journal.entries[0]
    assert kind == "intent"
    document = json.loads(interrupted(parts[0])[0])
    assert document["spans"][0]["status"] == "interrupted"
    assert document["spans"][0]["span_id"] == house.documents[0].spans[0].span_id
    assert document["entries"][0]["cost_nanousd"] is None and document["entries"][0]["unconfirmed"] is True


async def test_concurrent_calls_do_not_mix(house: House):
    """A thousand calls at once each get their own answer and their own record."""
    house.offer("m", Simulator("sim", script={"latency_s": {"low": 0, "high": 0.05}, "answer": "echo"}))
    sinks = await asyncio.gather(
        *(house.call({"messages": [{"role": "user", "content": f"number {n}!"}]}) for n in range(1000))
    )
    assert [sink.json["choices"][0]["message"]["content"] for sink in sinks] == [f"number {n}!" for n in range(1000)]
    assert (
        len({span.span_id for span in house.spans})
        == len({sink.headers["x-backstay-trace-id"] for sink in sinks})
        == 1000
    )


@pytest.mark.parametrize(
    ("used", "expected"),
    [
        ([(10, 5, True), (20, 7, True)], (30, 12)),
        ([(10, 5, True), (20, 7, False)], (10, 5)),
        ([(10, 5, True), (20, None, True)], (30, None)),
        ([(10, 5, True), (None, None, True)], (None, None)),
        ([(10, 5, False), (20, 7, False)], (None, None)),
    ],
)
async def test_a_calls_tokens_are_those_of_all_that_is_billed(
    house: House, used: list[tuple[int | None, int | None, bool]], expected: tuple[int | None, int | None]
):
    """As its cost: what was not billed does not count, and where some is unknown, so is the sum."""
    house.offer("m", Simulator("one"))
    incoming = Incoming(
        operation="chat", path="/v1/chat/completions", dialect=OPENAI, caller=CALLER, body=b'{"model":"m"}'
    )
    recording = Recording(incoming, house.gateway.clock)
    (model,) = house.gateway.models
    for input_tokens, output_tokens, is_billed in used:
        attempt = recording.begin_attempt(model.targets[0], "first")
        attempt.summary = ReplySummary(usage=Usage(input_tokens=input_tokens, output_tokens=output_tokens))
        attempt.cost = Cost(amount_nanousd=NanoUSD(1), source="test") if is_billed else None
    root = recording.root()
    assert (root.input_tokens, root.output_tokens) == expected
