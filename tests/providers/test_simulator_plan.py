"""What the simulator decides: deterministic, within the caller's limits, and valid by the caller's schemas."""

import random
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.core.chat import ChatRequest, Text, ToolUse
from backstay.providers.openai import OPENAI
from backstay.providers.simulator import Simulation
from backstay.providers.simulator.json_schema import break_instance, make_instance
from backstay.providers.simulator.performance import Performance
from backstay.providers.simulator.plan import Plan, plan
from backstay.providers.simulator.script import Behaviour
from backstay.providers.types import Fields
from backstay.testing import FixedClock

WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"enum": ["c", "f"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}


def _request(content: str = "What is the capital of France?", **fields: Any) -> ChatRequest:
    body = {"model": "sim", "messages": [{"role": "user", "content": content}], **fields}
    return OPENAI.read_request(msgspec.json.decode(msgspec.json.encode(body), type=Fields))


def _plan(request: ChatRequest, *, seed: int = 1, **behaviour: Any) -> Plan:
    return plan(Behaviour.model_validate(behaviour), request, random.Random(seed), created_s=0)


def _text(planned: Plan) -> str:
    (part,) = planned.response.choices[0].parts
    assert isinstance(part, Text)
    return part.text


def _tools(*names: str) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": name, "parameters": WEATHER}} for name in names]


SCRIPT = {
    "latency_s": {"p50": 1.0, "p95": 3.0},
    "tokens_per_second": {"low": 10, "high": 99},
    "faults": [{"kind": "status", "status": 429, "rate": 0.3}, {"kind": "cut", "rate": 0.3}],
}


def _run(seed: int, count: int, *, stream: bool = True) -> list[Performance]:
    simulation = Simulation(SCRIPT, seed=seed, clock=FixedClock())
    body = msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": stream})
    return [simulation.perform(OPENAI, "chat", body) for _ in range(count)]


def test_the_nth_call_is_the_same_in_each_run() -> None:
    """Two runs of one seed give the same bytes, waits and faults, call by call."""
    assert _run(5, 40) == _run(5, 40)


def test_calls_and_seeds_differ() -> None:
    """Neither one call after another nor one seed beside another gives the same."""
    first, second = _run(5, 2)
    assert first != second
    assert _run(5, 1) != _run(6, 1)


def test_reset_starts_the_run_anew() -> None:
    """After a reset the next call is the first again."""
    simulation = Simulation(SCRIPT, seed=5, clock=FixedClock())
    body = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'
    before = [simulation.perform(OPENAI, "chat", body) for _ in range(5)]
    simulation.reset()
    assert [simulation.perform(OPENAI, "chat", body) for _ in range(5)] == before
    assert simulation.outcomes.total() == 5


def test_faults_strike_at_their_rates() -> None:
    """Of many calls, each fault strikes its share."""
    outcomes = [performance.outcome for performance in _run(3, 2000, stream=False)]
    shares = {kind: outcomes.count(kind) / len(outcomes) for kind in ("status", "cut", "answer")}
    assert shares == pytest.approx({"status": 0.3, "cut": 0.3, "answer": 0.4}, abs=0.04)  # pyright: ignore[reportUnknownMemberType]


def test_a_schedule_follows_the_clock() -> None:
    """An outage of a phase begins and ends when its time comes."""
    clock = FixedClock()
    simulation = Simulation({"phases": [{"after_s": 10, "for_s": 30, "faults": [{"kind": "reset"}]}]}, clock=clock)
    seen: list[str] = []
    for step_s in (0, 10, 29, 1):
        clock.advance(step_s)
        body = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'
        seen.append(simulation.perform(OPENAI, "chat", body).outcome)
    assert seen == ["answer", "reset", "reset", "answer"]


def test_the_answer_depends_on_the_prompt() -> None:
    """The default answer quotes what it answers."""
    assert '"What is the capital of France?"' in _text(_plan(_request()))
    assert _text(_plan(_request("a"))) != _text(_plan(_request("b")))


def test_usage_counts_four_characters_a_token() -> None:
    """Input and output are counted by the stated rule."""
    planned = _plan(_request("x" * 41), answer="echo", reasoning_tokens=5, cached_share=0.5)
    usage = planned.response.usage
    assert (usage.input_tokens, usage.output_tokens) == (11, 11 + 5)
    assert (usage.cache_read_tokens, usage.reasoning_tokens) == (5, 5)


def test_canned_answers_come_first_and_can_be_wrong() -> None:
    """A prompt that contains the text gets the canned answer, or its wrong one."""
    canned = [{"contains": "capital of france", "text": "Paris", "wrong": "Lyon"}]
    assert _text(_plan(_request(), canned=canned)) == "Paris"
    assert _text(_plan(_request(), canned=canned, faults=[{"kind": "wrong"}])) == "Lyon"
    assert _text(_plan(_request("other"), canned=canned)) != "Paris"


def test_output_has_the_scripted_length_within_the_callers_limit() -> None:
    """``output_tokens`` sets the length; the caller's limit wins and shows in the finish reason."""
    assert _plan(_request(), output_tokens=100).response.usage.output_tokens == 100
    limited = _plan(_request(max_tokens=7), output_tokens=100).response
    assert (limited.usage.output_tokens, limited.choices[0].finish_reason) == (7, "length")


def test_a_stop_sequence_ends_the_text_before_it() -> None:
    """The text ends before the first stop sequence that it holds."""
    planned = _plan(_request("one two three", stop=["three", "two"]), answer="echo")
    assert _text(planned) == "one "
    assert planned.response.choices[0].finish_reason == "stop_sequence"


def test_the_named_tool_is_called_with_fitting_arguments() -> None:
    """``tool_choice`` decides which; the arguments fit its schema."""
    choice = {"type": "function", "function": {"name": "b"}}
    (part,) = _plan(_request(tools=_tools("a", "b"), tool_choice=choice)).response.choices[0].parts
    assert isinstance(part, ToolUse)
    assert part.name == "b"
    jsonschema.validate(msgspec.json.decode(part.arguments), WEATHER)


def test_wrong_arguments_do_not_fit() -> None:
    """The fault ``wrong`` breaks the arguments of a tool call."""
    (part,) = _plan(_request(tools=_tools("a")), faults=[{"kind": "wrong"}]).response.choices[0].parts
    assert isinstance(part, ToolUse)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(msgspec.json.decode(part.arguments), WEATHER)


@pytest.mark.parametrize(
    ("fields", "behaviour", "called"),
    [
        ({}, {}, ["a"]),
        ({}, {"tool_calls": 2}, ["a", "b"]),
        ({"parallel_tool_calls": False}, {"tool_calls": 2}, ["a"]),
        ({}, {"tool_calls": 0}, []),
        ({"tool_choice": "required"}, {"tool_calls": 0}, ["a"]),
        ({"tool_choice": "none"}, {}, []),
    ],
)
def test_tools_are_called_as_asked(fields: dict[str, Any], behaviour: dict[str, Any], called: list[str]) -> None:
    """The script says how many tools are called; the caller's choice bounds it."""
    parts = _plan(_request(tools=_tools("a", "b", "c"), **fields), **behaviour).response.choices[0].parts
    assert [part.name for part in parts if isinstance(part, ToolUse)] == called


def test_after_a_tools_result_comes_an_answer() -> None:
    """A conversation that ends with a tool's result is not answered by another tool call."""
    messages = [
        {"role": "user", "content": "weather?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "a", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "sunny"},
    ]
    assert "sunny" in _text(_plan(_request(messages=messages, tools=_tools("a"))))


def test_json_output_fits_the_schema() -> None:
    """A request for JSON by schema gets a valid instance, and an invalid one from the fault ``wrong``."""
    form = {"type": "json_schema", "json_schema": {"name": "w", "schema": WEATHER}}
    jsonschema.validate(msgspec.json.decode(_text(_plan(_request(response_format=form)))), WEATHER)
    wrong = msgspec.json.decode(_text(_plan(_request(response_format=form), faults=[{"kind": "wrong"}])))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, WEATHER)


_LEAVES = st.one_of(
    st.sampled_from(["string", "boolean", "null"]).map(lambda kind: {"type": kind}),
    st.tuples(st.integers(-50, 50), st.integers(0, 50)).map(
        lambda pair: {"type": "integer", "minimum": pair[0], "maximum": pair[0] + pair[1]}
    ),
    st.tuples(st.integers(-50, 50), st.integers(1, 50)).map(
        lambda pair: {"type": "number", "exclusiveMinimum": pair[0], "exclusiveMaximum": pair[0] + pair[1]}
    ),
    st.tuples(st.integers(0, 30), st.integers(0, 30)).map(
        lambda pair: {"type": "string", "minLength": pair[0], "maxLength": pair[0] + pair[1]}
    ),
    st.lists(st.one_of(st.integers(), st.text()), min_size=1, max_size=3).map(lambda values: {"enum": values}),
    st.integers().map(lambda value: {"const": value}),
    st.just({"type": ["null", "integer"]}),
    st.just({"$ref": "#/$defs/point"}),
)


def _containers(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    fields = st.dictionaries(st.sampled_from("abcd"), inner, max_size=3)
    return st.one_of(
        st.tuples(fields, st.booleans()).map(
            lambda pair: {
                "type": "object",
                "properties": pair[0],
                "required": sorted(pair[0]) if pair[1] else [],
                "additionalProperties": False,
            }
        ),
        st.tuples(inner, st.integers(0, 3), st.integers(0, 3)).map(
            lambda parts: {
                "type": "array",
                "items": parts[0],
                "minItems": parts[1],
                "maxItems": parts[1] + parts[2],
            }
        ),
        st.tuples(inner, inner).map(lambda pair: {"anyOf": list(pair)}),
        inner.map(lambda schema: {"allOf": [schema]}),
    )


_SCHEMAS = st.recursive(_LEAVES, _containers, max_leaves=6)
_DEFS = {"point": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}}


@given(_SCHEMAS, st.integers(0, 1000))
def test_instances_fit_their_schema(schema: dict[str, Any], seed: int) -> None:
    """Whatever a schema of the supported words demands, the instance has."""
    whole = {**schema, "$defs": _DEFS}
    jsonschema.validate(make_instance(whole, random.Random(seed)), whole)


def test_a_schema_that_contains_itself_ends() -> None:
    """A recursive schema gives an instance that ends where the recursion is optional."""
    node = {"type": "object", "properties": {"next": {"$ref": "#"}, "n": {"type": "integer"}}, "required": ["n"]}
    value = make_instance(node, random.Random(1))
    jsonschema.validate(value, node)


@pytest.mark.parametrize("value", [{"a": 1}, "text", 3, [1], True, None])
def test_a_broken_instance_is_another_value(value: Any) -> None:
    """Breaking never gives the same value again."""
    assert break_instance(value) != value
