"""Tests of routes over simulated providers: who is asked, what is ridden out, and how broken streams go on."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import pytest
from gateway_house import ASK, CALLER, WIRES, House, MemorySink

from backstay.core.chat import ChatResponse, Text, ToolUse
from backstay.gateway import Ability, Degraded, Incoming, Model, Models, RetryPolicy, Route, Target, call
from backstay.providers import DIALECTS, OPENAI, Dialect, Timeouts
from backstay.providers.accumulate import accumulate
from backstay.providers.simulator import Simulator
from backstay.providers.sse import FrameSplitter

Speech = Literal["openai", "anthropic", "bedrock"]
STORY = " ".join(f"On day {day} the ship made {day * 7 % 31} miles under her backstay." for day in range(1, 9)) + " "
TELL = {"answer": "echo", "canned": [{"contains": "story", "text": STORY}], "tokens_per_second": 5000}
STORY_PLEASE: dict[str, Any] = {"messages": [{"role": "user", "content": "Tell me a story."}], "stream": True}


def simulator(name: str, *faults: dict[str, Any], speaks: Speech = "openai", **script: Any) -> Simulator:
    return Simulator(name, speaks=speaks, script={**TELL, **script, "faults": list(faults)})


def answer_of(sink: MemorySink, dialect: Dialect) -> ChatResponse:
    """Read a stream as the vendor's client would."""
    reader, splitter = dialect.stream_reader(), FrameSplitter()
    events = [event for frame in splitter.feed(sink.body) for event in reader.read(frame)]
    assert reader.finished
    return accumulate(events)


def text_of(sink: MemorySink, dialect: Dialect) -> str:
    """Return what a stream says."""
    (choice,) = answer_of(sink, dialect).choices
    return "".join(part.text for part in choice.parts if isinstance(part, Text))


async def test_a_stream_that_begins_and_says_nothing_is_given_up_in_time(house: House):
    """The first token is what is waited for, not the first event: the next target answers."""
    bad, good = simulator("bad", first_token_s=30.0), simulator("good")
    house.offer("m", bad, good, timeouts=Timeouts(first_token_s=0.2))
    sink = await house.call({**ASK, **STORY_PLEASE})
    assert (sink.status, text_of(sink, OPENAI)) == (200, STORY)
    _, silent, _ = house.documents[0].spans
    assert silent.error_code == "provider_timeout"


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
@pytest.mark.parametrize("first", ["openai", "anthropic", "bedrock"])
@pytest.mark.parametrize("second", ["openai", "anthropic", "bedrock"])
@pytest.mark.parametrize("kind", ["cut", "error_event"])
async def test_a_stream_goes_on_where_it_broke(house: House, wire: str, first: Speech, second: Speech, kind: str):
    """With `continue`, on every way: the text is whole, it is one stream, both attempts are in the trace and priced."""
    house.offer(
        "m",
        simulator("bad", {"kind": kind, "after_tokens": 11}, speaks=first),
        simulator("good", speaks=second),
        route=Route(on_broken_stream="continue"),
    )
    dialect = WIRES[wire][0]
    sink = await house.call({**WIRES[wire][1], **STORY_PLEASE, "max_tokens": 1000}, dialect=dialect)
    assert (sink.status, sink.ended) == (200, True)
    assert text_of(sink, dialect) == STORY
    assert sink.body.count(b'"message_start"') == (wire == "anthropic") * sink.body.count(b"event: message_start")
    (document,) = house.documents
    root, broken, whole = document.spans
    assert [span.status for span in document.spans] == ["ok", "error", "ok"]
    assert whole.attributes["backstay.attempt.reason"] == "continue"
    assert [entry.attempt for entry in document.entries] == [0, 1]
    assert all(entry.cost_nanousd for entry in document.entries)
    assert [entry.estimated for entry in document.entries] == [True, False]
    assert root.cost_nanousd == sum(entry.cost_nanousd or 0 for entry in document.entries)
    assert root.input_tokens == sum(entry.input_tokens or 0 for entry in document.entries) > (whole.input_tokens or 0)
    assert root.output_tokens == sum(entry.output_tokens or 0 for entry in document.entries)
    assert 11 < whole.attributes["backstay.attempt.seam"] < len(STORY) / 2
    tried = {target.name.partition("/")[0]: (target.made, target.ended) for target in house.gateway.fleet}
    assert tried == {
        "bad": ({"first": 1}, {broken.attributes["backstay.attempt.outcome"]: 1}),
        "good": ({"continue": 1}, {"ok": 1}),
    }
    assert broken.target == "bad/gpt-4o-mini" and root.target == "good/gpt-4o-mini"
    kept = json.dumps(json.loads(house.journal.entries[-1][1][2]))
    assert STORY.strip() in kept


async def test_a_stream_may_break_again_and_again(house: House):
    """Each time it is gone on with, as long as the route allows tries."""
    house.offer(
        "m",
        simulator("one", {"kind": "cut", "after_tokens": 17}),
        simulator("two", {"kind": "cut", "after_tokens": 23}),
        route=Route(on_broken_stream="continue", retry=RetryPolicy(base_s=0.001)),
    )
    sink = await house.call(STORY_PLEASE)
    assert text_of(sink, OPENAI) == STORY
    assert int(sink.headers["x-backstay-attempts"]) == 1  # the headers went out with the first
    assert len(house.documents[0].spans) > 4


async def test_a_restart_that_says_the_same_is_one_text(house: House):
    """With `restart`, another target answers anew; what it repeats is not shown twice."""
    house.offer(
        "m",
        simulator("bad", {"kind": "cut", "after_tokens": 11}),
        simulator("good"),
        route=Route(on_broken_stream="restart"),
    )
    assert text_of(await house.call(STORY_PLEASE), OPENAI) == STORY


async def test_a_stream_that_lost_only_its_end_is_whole(house: House):
    """Where the answer had finished and only the closing event is missing, nobody else is asked."""
    tokens = -(-len(STORY) // 4)
    house.offer("m", simulator("bad", {"kind": "cut", "after_tokens": tokens}), simulator("good"))
    sink = await house.call(STORY_PLEASE)
    assert text_of(sink, OPENAI) == STORY
    assert house.gateway.fleet.of("good/gpt-4o-mini").tries == 0


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
async def test_tool_calls_that_lost_only_the_streams_end_are_whole(house: House, wire: str):
    """A server may close after the reason to finish, without more: what it called is called."""
    dialect, ask = WIRES[wire]
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"name": "look", "input_schema": schema}
    if wire == "openai":
        tool = {"type": "function", "function": {"name": "look", "parameters": schema}}
    house.offer("m", simulator("bad", {"kind": "cut", "after_tokens": 1000}), simulator("good"))
    sink = await house.call({**ask, "tools": [tool], "stream": True}, dialect=dialect)
    (choice,) = answer_of(sink, dialect).choices
    (use,) = [part for part in choice.parts if isinstance(part, ToolUse)]
    assert (choice.finish_reason, list(json.loads(use.arguments))) == ("tool_calls", ["city"])
    assert house.gateway.fleet.of("good/gpt-4o-mini").tries == 0


@pytest.mark.parametrize("after_tokens", [1000, 20])
async def test_several_choices_are_whole_when_each_has_finished(house: House, after_tokens: int):
    """Where one is still missing, the caller is told; where only the end of the stream is, it is ended."""
    house.offer("m", simulator("bad", {"kind": "cut", "after_tokens": after_tokens}), simulator("good"))
    sink = await house.call({**STORY_PLEASE, "n": 2})
    if after_tokens == 20:
        assert b'"error"' in sink.body.strip().split(b"\n\n")[-1]
    else:
        assert [choice.finish_reason for choice in answer_of(sink, OPENAI).choices] == ["stop", "stop"]


async def test_tool_calls_are_not_gone_on_with(house: House):
    """Half of a tool's arguments cannot be continued by another model: the caller is told."""
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    house.offer(
        "m",
        simulator("bad", {"kind": "cut", "after_tokens": 0}),
        simulator("good"),
        route=Route(on_broken_stream="continue"),
    )
    sink = await house.call({**STORY_PLEASE, "tools": tools})
    assert b'"error"' in sink.body.strip().split(b"\n\n")[-1]


async def test_partial_failure_is_ridden_out(house: House):
    """With 30 % errors and 10 % cut streams at two targets, all of 400 streams are whole, with few extra calls."""
    faults = ({"kind": "status", "status": 500, "rate": 0.3}, {"kind": "cut", "rate": 0.1})
    targets = [Simulator(name, script={**TELL, "faults": list(faults)}, seed=seed) for seed, name in enumerate("ab")]
    house.offer("m", *targets, route=Route(on_broken_stream="continue", retry=RetryPolicy(base_s=0.001)))
    sinks = [each for _ in range(20) for each in await asyncio.gather(*(house.call(STORY_PLEASE) for _ in range(20)))]
    assert [text_of(sink, OPENAI) for sink in sinks] == [STORY] * 400
    made = sum(house.gateway.fleet.of(f"{name}/gpt-4o-mini").tries for name in "ab")
    failed = sum(span.status == "error" for document in house.documents for span in document.spans[1:])
    assert made == 400 + failed


async def test_a_dead_target_is_soon_left_alone(house: House):
    """After its breaker has opened, calls go straight to the other one, but for a probe now and then."""
    house.offer("m", simulator("dead", {"kind": "reset"}), simulator("good"))
    for _ in range(200):
        assert (await house.call(ASK)).status == 200
    assert house.gateway.fleet.of("dead/gpt-4o-mini").tries < 10


async def test_an_outage_is_not_amplified(house: House):
    """With the only target down, a hundred calls make some twenty tries, the rest are told at once when to return."""
    house.offer("m", simulator("dead", {"kind": "status", "status": 500}), route=Route(retry=RetryPolicy(base_s=0.001)))
    sinks = [await house.call(ASK) for _ in range(100)]
    assert {sink.status for sink in sinks[30:]} == {503}
    assert sinks[-1].json["error"]["code"] == "targets_unavailable"
    assert "is down" in sinks[-1].json["error"]["message"] and int(sinks[-1].headers["retry-after"]) >= 1
    assert house.gateway.fleet.of("dead/gpt-4o-mini").tries <= 25


async def test_a_rate_limited_target_is_left_alone_as_long_as_it_says(house: House):
    """One 429 moves all traffic, rather than collecting one for each call."""
    limited = simulator("limited", {"kind": "status", "status": 429, "retry_after_s": 30})
    house.offer("m", limited, simulator("good"))
    for _ in range(50):
        assert (await house.call(ASK)).status == 200
    assert limited.simulation.outcomes["status"] == 1


async def test_a_busy_target_is_waited_for_in_turn(house: House):
    """When the limit of open calls is reached, calls wait for one another instead of failing."""
    house.offer("m", simulator("one", latency_s=0.02))
    house.gateway.fleet.of("one/gpt-4o-mini").concurrency.on_overload(100.0, 3)
    sinks = await asyncio.gather(*(house.call(ASK) for _ in range(12)))
    assert [sink.status for sink in sinks] == [200] * 12
    assert len(house.gateway.room.lines) == 0 and house.gateway.fleet.of("one/gpt-4o-mini").in_flight == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_the_callers_deadline_shrinks_all(house: House, stream: bool):
    """A caller who waits for 80 ms gets an answer or an error by then, whatever the targets' own limits are."""
    house.offer("m", simulator("slow", {"kind": "hang"}), timeouts=Timeouts())
    sink = MemorySink()
    incoming = Incoming(
        operation="chat", path="/v1/chat/completions", dialect=OPENAI, caller=CALLER, deadline_s=0.08,
        body=json.dumps({"model": "m", "stream": stream, **ASK}).encode(),
    )  # fmt: skip
    async with asyncio.timeout(5.0):
        await call(house.gateway, incoming, sink)
    assert sink.status == 504


async def test_errors_of_one_target_alone_are_tried_elsewhere(house: House):
    """A wrong key, a missing model and a spent account are the target's trouble, not the caller's."""
    for status in (401, 402, 403, 404):
        house.offer("m", simulator("bad", {"kind": "status", "status": status}), simulator("good"))
        assert (await house.call(ASK)).status == 200


async def test_a_target_that_cannot_is_never_asked(house: House):
    """Conditions choose; when none fits, the error says why for each."""
    plain = Target(
        name="a/plain", provider=simulator("a"), model_id="plain", price_model="x",
        can=Ability(tools=False, images=False, json_schema=False, context_tokens=1000),
    )  # fmt: skip
    vip = Target(
        name="b/vip", provider=simulator("b"), model_id="vip", price_model="x",
        can=Ability(tags=frozenset({"vip"}), tenants=frozenset({"other"})),
    )  # fmt: skip
    model = Model(name="m", targets=(plain, vip), route=Route(is_conditional=True))
    house.gateway.models = Models({"m": model})
    assert (await house.call(ASK)).headers["x-backstay-target"] == "a/plain"
    tool = {"type": "function", "function": {"name": "look"}}
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://e.org/a.png"}}]}]
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"tools": [tool]}, "no tools"),
        ({"functions": [tool["function"]]}, "no tools"),
        ({"messages": image}, "no images"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}}, "no JSON schema"),
        ({"messages": [{"role": "user", "content": "a" * 9000}]}, "it takes 1,000"),
    )
    for more, why in cases:
        sink = await house.call({**ASK, **more})
        message = sink.json["error"]["message"]
        assert (sink.status, sink.json["error"]["code"]) == (400, "no_capable_target")
        assert why in message and "b/vip: it is not for this tenant" in message
    asks_for_none: tuple[dict[str, Any], ...] = (
        {"tools": [], "functions": None},
        {"messages": [*ASK["messages"], LOOKS_LIKE_AN_IMAGE]},
    )
    for more in asks_for_none:
        assert (await house.call({**ASK, **more})).status == 200


LOOKS_LIKE_AN_IMAGE = {"role": "assistant", "content": "", "metadata": {"type": "image"}}


async def test_a_target_whose_dialect_cannot_say_it_is_never_asked(house: House):
    """It is no attempt, and holds nothing up; when none can say it, the error says why for each."""
    speakers = [Simulator("a", speaks="anthropic"), Simulator("b", speaks="bedrock")]
    house.offer("m", *speakers, Simulator("c"))
    sink = await house.call({**ASK, "logit_bias": {"1": 2}})
    assert (sink.headers["x-backstay-target"], sink.headers["x-backstay-attempts"]) == ("c/gpt-4o-mini", "1")
    (attempt,) = [span for span in house.documents[0].spans if span.kind == "attempt"]
    assert attempt.attributes["backstay.attempt.reason"] == "first"
    house.offer("m", *speakers)
    error = (await house.call({**ASK, "logit_bias": {"1": 2}})).json["error"]
    assert (error["code"], error["param"]) == ("no_capable_target", "logit_bias")
    assert all(f"{name}: logit_bias: " in error["message"] for name in ("a/gpt-4o-mini", "b/gpt-4o-mini"))


async def test_all_that_keeps_targets_from_a_call_is_told(house: House):
    """What one cannot do, what another's dialect cannot say, and that the third is out of use."""
    speaks: dict[str, Speech] = {"a": "openai", "b": "anthropic", "c": "openai"}
    targets = tuple(
        Target(
            name=name, provider=Simulator(name, speaks=speech), model_id="m", price_model="m",
            can=Ability(tools=name != "a"),
        )
        for name, speech in speaks.items()
    )  # fmt: skip
    house.gateway.models = Models({"m": Model(name="m", targets=targets, route=Route(is_conditional=True))})
    house.gateway.fleet.drain(["c"])
    sink = await house.call({**ASK, "tools": [{"type": "function", "function": {"name": "f"}}], "seed": 7})
    message = sink.json["error"]["message"]
    assert sink.status == 503
    assert all(why in message for why in ("a: it has no tools", "b: seed: ", "c: it was taken out of use"))


def many(strategy: str, house: House, **more: Any) -> None:
    """Offer three targets of weights 1, 2 and 7, the first one dear and the last one slow."""
    targets = tuple(
        Target(
            name=f"{name}/{model}", provider=simulator(name, latency_s=latency_s), model_id=model, weight=weight,
            price_provider="openai", price_model=model,
        )
        for name, model, weight, latency_s in (
            ("a", "gpt-4o", 1.0, 0.0), ("b", "gpt-4o-mini", 2.0, 0.002), ("c", "gpt-4.1", 7.0, 0.02)
        )
    )  # fmt: skip
    house.gateway.chance = random.Random(11)
    house.gateway.models = Models({"m": Model(name="m", targets=targets, route=Route(strategy=strategy, **more))})  # pyright: ignore[reportArgumentType]


async def asked(house: House, count: int = 200, **more: Any) -> Counter[str]:
    return Counter([(await house.call({**ASK, **more})).headers["x-backstay-target"][0] for _ in range(count)])


async def asked_by_many(house: House, asks: Sequence[Mapping[str, Any]], callers: int = 20) -> Counter[str]:
    left = iter(asks)

    async def ask_on() -> Counter[str]:
        return Counter([(await house.call(ask)).headers["x-backstay-target"][0] for ask in left])

    return sum(await asyncio.gather(*(ask_on() for _ in range(callers))), Counter[str]())


async def test_weights_share_the_traffic(house: House):
    """Each target gets its weight's share; all of them stay fallbacks of one another."""
    many("weighted", house)
    shares = await asked_by_many(house, [ASK] * 1000)
    assert 60 <= shares["a"] <= 140 and 150 <= shares["b"] <= 250 and 640 <= shares["c"] <= 760


async def test_the_fastest_the_cheapest_the_least_busy(house: House):
    """Measured strategies choose by what was measured, and price by the price."""
    many("least_cost", house)
    assert (await asked(house, 20)) == {"b": 20}
    many("least_latency", house)
    await asked(house, 60)
    assert (await asked(house, 100))["a"] > 85
    many("least_busy", house)
    shares = await asked_by_many(house, [ASK] * 100, callers=100)
    assert shares["c"] > shares["b"] > shares["a"] > 0


@pytest.mark.parametrize("strategy", ["priority", "weighted", "least_latency", "least_busy", "least_cost"])
@pytest.mark.parametrize("sticky", [False, True])
async def test_fallbacks_are_tried_after_all_of_a_models_own_targets(house: House, strategy: str, sticky: bool):
    """Whatever the strategy, and though they be cheaper and faster: all of the traffic is the model's own."""
    many(strategy, house, sticky=sticky)
    (model,) = house.gateway.models
    dear, cheap, slow = model.targets
    staged = msgspec.structs.replace
    targets = (staged(dear, stage=0), staged(slow, stage=0), staged(cheap, stage=1))
    house.gateway.models = Models({"m": staged(model, targets=targets)})
    assert set(await asked(house, 40)) <= {"a", "c"}
    house.gateway.fleet.drain([dear.name, slow.name])
    assert set(await asked(house, 2)) == {"b"}


async def test_a_user_stays_with_one_target(house: House):
    """Sticky: one user, one target; many users, all targets by weight."""
    many("weighted", house, sticky=True)
    for user in ("ada", "grace", "edsger"):
        assert len(await asked(house, 10, user=user)) == 1
    shares = await asked_by_many(house, [{**ASK, "user": f"user {number}"} for number in range(300)])
    assert shares["c"] > shares["b"] > shares["a"] > 0


async def test_a_drained_target_gets_nothing_new(house: House):
    """An operator takes a target out of use; alone, its callers are told so."""
    house.offer("m", simulator("one"), simulator("two"))
    house.gateway.fleet.drain(["one/gpt-4o-mini"])
    assert await asked(house, 5) == {"t": 5}
    house.offer("m", simulator("one"))
    sink = await house.call(ASK)
    assert (sink.status, "was taken out of use" in sink.json["error"]["message"]) == (503, True)


@pytest.mark.parametrize("wire", ["openai", "anthropic"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_route_may_end_in_something_less(house: House, wire: str, stream: bool):
    """When no target answers, a last one does, or a fixed message; the answer says so, and costs what it cost."""
    down = simulator("down", {"kind": "status", "status": 503})
    house.offer("small", simulator("small"))
    small = house.gateway.models.find("small", CALLER).targets[0]
    for degraded, expected, marked in (
        (Degraded(target=small, message="Later, please."), STORY, "target"),
        (Degraded(message="Later, please."), "Later, please.", "message"),
    ):
        house.offer("m", down, route=Route(retry=RetryPolicy(retries=0), degraded=degraded))
        dialect, body = WIRES[wire]
        sink = await house.call({**body, **STORY_PLEASE, "max_tokens": 900, "stream": stream}, dialect=dialect)
        assert (sink.status, sink.headers["x-backstay-degraded"]) == (200, marked)
        said = text_of(sink, dialect) if stream else sink.body.decode()
        assert said == expected if stream else expected in said
        assert house.documents[-1].spans[0].attributes["backstay.degraded"] == marked
    assert house.documents[-1].spans[0].cost_nanousd == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_late_target_is_hedged(house: House, stream: bool):
    """When the first target is late, the second is asked too; its answer comes, the loser is given up and priced."""
    house.offer("m", simulator("one"), simulator("two"), route=Route(hedge_share=0.5))
    for _ in range(25):
        await house.call({**STORY_PLEASE, "stream": stream})
    one = simulator("one", latency_s=5.0)
    house.offer("m", one, simulator("two"), route=Route(hedge_share=0.5))
    async with asyncio.timeout(3.0):
        sink = await house.call({**STORY_PLEASE, "stream": stream})
    assert sink.headers["x-backstay-target"] == "two/gpt-4o-mini"
    assert STORY in (text_of(sink, OPENAI) if stream else sink.body.decode())
    root, loser, winner = house.documents[-1].spans
    assert (root.status, loser.status, winner.status) == ("ok", "cancelled", "ok")
    assert winner.attributes["backstay.attempt.reason"] == "hedge"
    assert [entry.estimated for entry in house.documents[-1].entries] == [True, False]
    assert house.gateway.fleet.of("one/gpt-4o-mini").in_flight == 0
    hedges = house.gateway.fleet.hedges["m"]
    assert hedges.ended["won"] == 1 and sum(hedges.ended.values()) == hedges.started


async def test_hedges_are_counted_by_how_they_end(house: House):
    """The first target answers after all; both fail; the caller goes away."""
    house.offer("m", simulator("one"), simulator("two"))
    for _ in range(25):
        await house.call(STORY_PLEASE)
    hedges = house.gateway.fleet.hedges_of("m")
    route = Route(hedge_share=1.0, retry=RetryPolicy(retries=0))
    house.offer("m", simulator("one", first_token_s=0.3), simulator("two", first_token_s=5.0), route=route)
    assert (await house.call(STORY_PLEASE)).status == 200
    assert (hedges.started, hedges.ended) == (1, {"lost": 1})
    hanging = [simulator(name, first_token_s=30.0) for name in ("one", "two")]
    house.offer("m", *hanging, timeouts=Timeouts(first_token_s=0.3), route=route)
    assert (await house.call(STORY_PLEASE)).status == 504
    assert (hedges.started, hedges.ended) == (2, {"lost": 1, "failed": 1})
    house.offer("m", simulator("one", first_token_s=5.0), simulator("two", first_token_s=5.0), route=route)
    caller = asyncio.create_task(house.call(STORY_PLEASE))
    while hedges.started < 3:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert hedges.ended == {"lost": 1, "failed": 1, "cancelled": 1}


async def test_hedges_are_a_bounded_share(house: House):
    """However late the first target is, no more than the share of calls is made twice."""
    house.offer("m", simulator("one"), simulator("two"), route=Route(hedge_share=0.1))
    for _ in range(25):
        await house.call(ASK)
    house.offer("m", simulator("one", latency_s=0.01), simulator("two", latency_s=0.02), route=Route(hedge_share=0.1))
    for _ in range(60):
        assert (await house.call(ASK)).status == 200
    assert house.gateway.fleet.of("two/gpt-4o-mini").tries <= 1 + 0.1 * 85


async def test_a_bad_request_gets_no_stand_in(house: House):
    """What is the caller's own fault is told, not papered over."""
    house.offer("m", simulator("one", {"kind": "status", "status": 400}), route=Route(degraded=Degraded(message="No.")))
    assert (await house.call(ASK)).status == 400


async def test_every_wire_has_a_reader_for_what_it_writes() -> None:
    """The helpers of these tests read each dialect as it is written."""
    assert set(WIRES) <= set(DIALECTS)
