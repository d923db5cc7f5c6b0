"""What is added to the local model, without it: the engine's request, and the shaping of its answers."""

from typing import Any

import msgspec
import pytest

from backstay.core.chat import ChatRequest, ChatResponse, Choice, Finished, Text, TextDelta, ToolUse, UsageReported
from backstay.core.errors import InvalidRequest
from backstay.core.usage import Usage
from backstay.providers import local_chat
from backstay.providers.embedding_wire import MAX_INPUTS, read_embeddings_request
from backstay.providers.openai import OPENAI
from backstay.providers.types import Fields

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in ("a", "b")]


def _read(**fields: Any) -> tuple[Fields, ChatRequest]:
    body = {"model": "smollm2", "messages": [{"role": "user", "content": "hi"}], **fields}
    raw = msgspec.json.decode(msgspec.json.encode(body), type=Fields)
    return raw, OPENAI.read_request(raw)


def _engine_body(**fields: Any) -> dict[str, Any]:
    raw, request = _read(**fields)
    tools = local_chat.forced_tools(request)
    return msgspec.json.decode(local_chat.engine_request(raw, request, tools[0] if tools else None))


def test_unknown_fields_reach_the_engine() -> None:
    """llama.cpp's own parameters pass; tools that need not be called, and nulls, do not."""
    body = _engine_body(min_p=0.1, grammar='root ::= "x"', tools=TOOLS, seed=None)
    assert body["min_p"] == 0.1
    assert body["grammar"] == 'root ::= "x"'
    assert "tools" not in body
    assert "seed" not in body


def test_output_is_limited_where_the_caller_sets_no_limit() -> None:
    """The default limit steps back behind the caller's."""
    assert _engine_body()["max_tokens"] == local_chat.DEFAULT_OUTPUT_TOKENS
    limited = _engine_body(max_completion_tokens=5)
    assert (limited.get("max_tokens"), limited["max_completion_tokens"]) == (None, 5)


def test_a_forced_tool_becomes_a_schema_and_an_instruction() -> None:
    """The engine is held to the tool's schema, and told about it in the system message that is there."""
    choice = {"type": "function", "function": {"name": "b"}}
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    body = _engine_body(tools=TOOLS, tool_choice=choice, messages=messages)
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert body["messages"][0]["content"].startswith("Be brief.\n\nCall the tool b.")


def test_earlier_calls_and_results_become_text() -> None:
    """What the chat template cannot say is said in words."""
    call = {"id": "1", "type": "function", "function": {"name": "a", "arguments": '{"city": "Rome"}'}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "warm"},
    ]
    assert _engine_body(messages=messages)["messages"] == [
        {"role": "user", "content": "one\ntwo"},
        {"role": "assistant", "content": '[called a with {"city": "Rome"}]'},
        {"role": "user", "content": "[result of the call]\nwarm"},
    ]


def test_a_tool_choice_that_names_no_tool_is_refused() -> None:
    """The message names the tool that is missing."""
    choice = {"type": "function", "function": {"name": "c"}}
    with pytest.raises(InvalidRequest, match="'c'"):
        local_chat.check(_read(tools=TOOLS, tool_choice=choice)[1])


def _answer(text: str, reason: Any = "stop") -> ChatResponse:
    choice = Choice(index=0, parts=(Text(text=text),), finish_reason=reason)
    return ChatResponse(id="1", model="smollm2", created_s=0, choices=(choice,))


def test_the_models_choice_of_a_tool_is_read() -> None:
    """A name in quotes is that tool; an answer that was cut off is the first."""
    tools = _read(tools=TOOLS)[1].tools
    assert local_chat.selected_tool(_answer('"b"'), tools).name == "b"
    assert local_chat.selected_tool(_answer('"'), tools).name == "a"


@pytest.mark.parametrize(("reason", "expected"), [("stop", "tool_calls"), ("length", "length")])
def test_a_forced_call_is_shaped_alike_whole_and_streamed(reason: Any, expected: str) -> None:
    """Text becomes arguments; a call that was cut off says so."""
    tool = _read(tools=TOOLS)[1].tools[0]
    (choice,) = local_chat.shape_response(_answer('{"city": "Rome"}', reason), tool).choices
    (call,) = choice.parts
    assert isinstance(call, ToolUse)
    assert (call.name, call.arguments, choice.finish_reason) == ("a", '{"city": "Rome"}', expected)

    shaper = local_chat.EventShaper(tool)
    stream = [TextDelta(text='{"city"'), TextDelta(text=': "Rome"}'), Finished(reason=reason)]
    events = [event for said in stream for event in shaper.shape(said)]
    assert [type(event).__name__ for event in events] == ["ToolUseStarted", "ToolUseDelta", "ToolUseDelta", "Finished"]
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == expected


def test_other_events_pass() -> None:
    """Without a tool, and for events that are no text, nothing changes."""
    usage = UsageReported(usage=Usage(input_tokens=1))
    assert local_chat.EventShaper(None).shape(TextDelta(text="x")) == [TextDelta(text="x")]
    assert local_chat.EventShaper(_read(tools=TOOLS)[1].tools[0]).shape(usage) == [usage]


@pytest.mark.parametrize(
    ("value", "inputs"),
    [("a", ["a"]), (["a", "b"], ["a", "b"]), ([1, 2], [(1, 2)]), ([[1], [2, 3]], [(1,), (2, 3)])],
)
def test_embedding_inputs_are_read_in_each_form(value: Any, inputs: list[Any]) -> None:
    """A text, a list of texts, token ids and lists of those are told apart."""
    assert read_embeddings_request(msgspec.json.encode({"input": value})).inputs() == inputs


@pytest.mark.parametrize("value", [None, 1, "", [], [""], [[]], ["a", 1], [1, [2]], ["a"] * (MAX_INPUTS + 1)])
def test_other_embedding_inputs_are_refused(value: Any) -> None:
    """Empty, mixed and too many inputs are refused."""
    with pytest.raises(InvalidRequest):
        read_embeddings_request(msgspec.json.encode({"input": value}))
