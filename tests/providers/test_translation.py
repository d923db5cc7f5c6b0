"""Translation between the dialects, case by case: what becomes what, and what is refused under which name."""

from typing import Any

import msgspec
import pytest
from dialect_checks import fields_of

from backstay.core.errors import InvalidRequest, Untranslatable
from backstay.providers import ANTHROPIC, OPENAI
from backstay.providers.anthropic import DEFAULT_MAX_TOKENS
from backstay.providers.anthropic import request_writer as to_anthropic
from backstay.providers.openai import OpenAIDialect, Quirks
from backstay.providers.openai import request_writer as to_openai

USER: dict[str, Any] = {"role": "user", "content": "hi"}
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def _to_anthropic(**fields: Any) -> Any:
    body = {"model": "m", "messages": [USER], **fields}
    return msgspec.json.decode(ANTHROPIC.write_request(OPENAI.read_request(fields_of(body)), "claude"))


def _to_openai(**fields: Any) -> Any:
    body = {"model": "m", "max_tokens": 10, "messages": [USER], **fields}
    return msgspec.json.decode(OPENAI.write_request(ANTHROPIC.read_request(fields_of(body)), "gpt"))


def test_the_output_limit_has_a_default_where_it_must_be_given() -> None:
    """Anthropic demands `max_tokens`; a caller who names none gets the documented default."""
    assert _to_anthropic()["max_tokens"] == DEFAULT_MAX_TOKENS
    assert _to_anthropic(max_tokens=5)["max_tokens"] == 5
    assert _to_anthropic(max_tokens=5, max_completion_tokens=7)["max_tokens"] == 7


def test_a_limit_of_zero_is_not_taken_for_none() -> None:
    """A caller's 0 is the caller's: the provider judges it."""
    assert _to_anthropic(max_tokens=0)["max_tokens"] == 0


def test_system_messages_keep_their_place() -> None:
    """Those at the beginning become `system`; a later one stays between the turns."""
    messages = [
        {"role": "system", "content": "a"},
        {"role": "developer", "content": "b"},
        USER,
        {"role": "system", "content": "c"},
        USER,
    ]
    body = _to_anthropic(messages=messages)
    assert [block["text"] for block in body["system"]] == ["a", "b"]
    assert [message["role"] for message in body["messages"]] == ["user", "system", "user"]


def test_tool_results_become_one_turn() -> None:
    """Results that follow one another, and what the user then says, are one user turn, results first."""
    calls = [{"id": name, "type": "function", "function": {"name": "f", "arguments": ""}} for name in ("a", "b")]
    messages = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "2"}]},
        {"role": "user", "content": "and?"},
    ]
    turns = _to_anthropic(messages=messages, tools=[TOOL])["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert [block["input"] for block in turns[1]["content"]] == [{}, {}]
    assert [block["type"] for block in turns[2]["content"]] == ["tool_result", "tool_result", "text"]


def test_tool_results_become_messages_of_their_own() -> None:
    """OpenAI has a message for each result; a failure says so in its text."""
    results = [
        {"type": "tool_result", "tool_use_id": "a", "content": "fine"},
        {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "no"}], "is_error": True},
        {"type": "text", "text": "and?"},
    ]
    uses = [{"type": "tool_use", "id": name, "name": "f", "input": {"x": 1}} for name in ("a", "b")]
    messages = [USER, {"role": "assistant", "content": uses}, {"role": "user", "content": results}]
    written = _to_openai(messages=messages)["messages"]
    assert [call["function"]["arguments"] for call in written[1]["tool_calls"]] == ['{"x":1}', '{"x":1}']
    assert written[2:] == [
        {"role": "tool", "tool_call_id": "a", "content": "fine"},
        {"role": "tool", "tool_call_id": "b", "content": to_openai.TOOL_ERROR_PREFIX + "no"},
        {"role": "user", "content": "and?"},
    ]


def test_arguments_that_are_not_json_survive() -> None:
    """What a model wrote comes back to it word for word, through an object on Anthropic's wire."""
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"torn": '}}
    messages = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "?"},
    ]
    body = _to_anthropic(messages=messages)
    assert body["messages"][1]["content"][0]["input"] == {"INVALID_JSON": '{"torn": '}
    back = msgspec.json.decode(OPENAI.write_request(ANTHROPIC.read_request(fields_of(body)), "m"))
    assert back["messages"][1]["tool_calls"] == [call]


def test_inline_images_change_their_clothes() -> None:
    """A data URL is Anthropic's base64 source, and back."""
    image = {"type": "image_url", "image_url": {"url": PIXEL}}
    body = _to_anthropic(messages=[{"role": "user", "content": [image]}])
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    assert body["messages"][0]["content"] == [{"type": "image", "source": source}]
    assert _to_openai(messages=body["messages"])["messages"][0]["content"] == [image]


def test_documents_change_their_clothes() -> None:
    """A PDF goes inline both ways; plain text becomes a text part between tags."""
    pdf = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}
    body = _to_anthropic(messages=[{"role": "user", "content": [pdf]}])
    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
    assert body["messages"][0]["content"] == [{"type": "document", "source": source, "title": "a.pdf"}]
    assert _to_openai(messages=body["messages"])["messages"][0]["content"] == [pdf]
    plain = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}, "title": "t"}
    written = _to_openai(messages=[{"role": "user", "content": [plain]}])["messages"][0]["content"]
    assert written == '<document title="t">\nx\n</document>'


def test_a_text_file_becomes_a_text_document() -> None:
    """Plain text inside a data URL is a document of text for Anthropic."""
    file = {"type": "file", "file": {"filename": "a.txt", "file_data": "data:text/plain;base64,aGVsbG8="}}
    content = _to_anthropic(messages=[{"role": "user", "content": [file]}])["messages"][0]["content"]
    assert content[0]["source"] == {"type": "text", "media_type": "text/plain", "data": "hello"}


def test_json_output_uses_the_native_field() -> None:
    """A JSON schema is each dialect's own output format; Anthropic's keeps what OpenAI calls strict."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}}
    config = _to_anthropic(response_format=wanted)["output_config"]
    assert config == {"format": {"type": "json_schema", "schema": schema}}
    written = _to_openai(output_config=config)["response_format"]
    assert (written["json_schema"]["schema"], written["json_schema"]["strict"]) == (schema, True)


def test_tool_choices_and_parallel_calls() -> None:
    """`required` is `any`, a named function a named tool, and `parallel_tool_calls` its opposite inside the choice."""
    body = _to_anthropic(tools=[TOOL], tool_choice="required", parallel_tool_calls=False)
    assert body["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
    assert body["tools"] == [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]
    named = {"type": "function", "function": {"name": "f"}}
    assert _to_anthropic(tools=[TOOL], tool_choice=named)["tool_choice"] == {"type": "tool", "name": "f"}
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    choice = {"type": "tool", "name": "f", "disable_parallel_tool_use": True}
    body = _to_openai(tools=tools, tool_choice=choice)
    assert (body["tool_choice"], body["parallel_tool_calls"]) == (named, False)


def test_reasoning_effort_is_output_effort() -> None:
    """Efforts carry over; `none` is thinking disabled, both ways."""
    assert _to_anthropic(reasoning_effort="high")["output_config"] == {"effort": "high"}
    assert _to_anthropic(reasoning_effort="minimal")["output_config"] == {"effort": "low"}
    assert _to_anthropic(reasoning_effort="none")["thinking"] == {"type": "disabled"}
    assert _to_openai(output_config={"effort": "max"})["reasoning_effort"] == "max"
    assert _to_openai(thinking={"type": "disabled"})["reasoning_effort"] == "none"
    assert "reasoning_effort" not in _to_openai(thinking={"type": "adaptive", "display": "omitted"})


def test_users_and_tiers_carry_over() -> None:
    """The end user and the service tier have a name in both dialects."""
    body = _to_anthropic(user="u1", service_tier="default")
    assert (body["metadata"], body["service_tier"]) == ({"user_id": "u1"}, "standard_only")
    assert _to_anthropic(user="u1", safety_identifier="s1")["metadata"] == {"user_id": "s1"}
    body = _to_openai(metadata={"user_id": "u1"}, service_tier="standard_only")
    assert (body["user"], body["service_tier"]) == ("u1", "default")


def test_streams_ask_for_usage() -> None:
    """Anthropic's streams always end with usage, so OpenAI's is asked for it."""
    assert _to_openai(stream=True)["stream_options"] == {"include_usage": True}


def test_empty_texts_are_left_out_for_anthropic() -> None:
    """Anthropic refuses empty text blocks, which OpenAI's clients send beside tool calls."""
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        USER,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": ""},
    ]
    turns = _to_anthropic(messages=messages)["messages"]
    assert [block["type"] for block in turns[1]["content"]] == ["tool_use"]
    assert turns[2]["content"] == [{"type": "tool_result", "tool_use_id": "a", "content": []}]


@pytest.mark.parametrize("hint", sorted(to_anthropic.HARMLESS_HINTS))
def test_openai_hints_that_change_nothing_are_left_out(hint: str) -> None:
    """Each of them, at the top or inside a part, leaves no trace in the translation."""
    part = {"type": "text", "text": "hi", hint: {"mode": "explicit"}}
    assert _to_anthropic(**{hint: "x"}, messages=[{"role": "user", "content": [part]}]) == _to_anthropic()


@pytest.mark.parametrize("hint", sorted(to_openai.HARMLESS_HINTS))
def test_anthropic_hints_that_change_nothing_are_left_out(hint: str) -> None:
    """Each of them leaves no trace in the translation."""
    value = {"type": "adaptive"} if hint == "thinking" else {"type": "ephemeral"}
    assert _to_openai(**{hint: value}) == _to_openai()


def test_cache_markers_are_left_out_for_openai() -> None:
    """Markers on blocks, tools and the system prompt change no answer."""
    marker = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    system = [{"type": "text", "text": "s", **marker}]
    tools = [{"name": "f", "input_schema": {"type": "object"}, **marker}]
    messages = [{"role": "user", "content": [{"type": "text", "text": "hi", **marker}]}]
    plain = _to_openai(system="s", tools=[{"name": "f", "input_schema": {"type": "object"}}])
    assert _to_openai(system=system, tools=tools, messages=messages) == plain


def test_cache_markers_inside_openais_parts_are_carried() -> None:
    """Callers who know Anthropic's markers send them inside OpenAI's parts and tools: they arrive."""
    marker = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    part = {"type": "text", "text": "hi", **marker}
    body = _to_anthropic(messages=[{"role": "user", "content": [part]}], tools=[{**TOOL, **marker}])
    assert body["messages"][0]["content"] == [part]
    assert body["tools"][0]["cache_control"] == marker["cache_control"]


def test_what_has_no_effect_anyway_is_not_refused() -> None:
    """Asking for the default of a field that the other dialect lacks is asking for nothing."""
    defaults: dict[str, Any] = {
        "n": 1,
        "logprobs": False,
        "frequency_penalty": 0,
        "presence_penalty": 0,
        "logit_bias": {},
        "modalities": ["text"],
        "store": False,
        "response_format": {"type": "text"},
        "metadata": {"team": "blue"},
        "functions": None,
    }
    assert _to_anthropic(**defaults) == _to_anthropic()


_AUDIO: dict[str, Any] = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
_FILE_ID: dict[str, Any] = {"type": "file", "file": {"file_id": "file-abc"}}


REFUSED_BY_ANTHROPIC: list[tuple[str, dict[str, Any]]] = [
    ("n", {"n": 2}),
    ("logprobs", {"logprobs": True}),
    ("top_logprobs", {"top_logprobs": 3}),
    ("logit_bias", {"logit_bias": {"1": 5}}),
    ("seed", {"seed": 0}),
    ("frequency_penalty", {"frequency_penalty": 0.5}),
    ("presence_penalty", {"presence_penalty": -0.5}),
    ("temperature", {"temperature": 1.5}),
    ("response_format", {"response_format": {"type": "json_object"}}),
    ("response_format.type", {"response_format": {"type": "grammar"}}),
    ("modalities", {"modalities": ["text", "audio"]}),
    ("audio", {"audio": {"voice": "alloy", "format": "wav"}}),
    ("prediction", {"prediction": {"type": "content", "content": "x"}}),
    ("verbosity", {"verbosity": "low"}),
    ("store", {"store": True}),
    ("web_search_options", {"web_search_options": {"search_context_size": "low"}}),
    ("web_search_options", {"web_search_options": {}}),
    ("functions", {"functions": [{"name": "f"}]}),
    ("function_call", {"function_call": "auto"}),
    ("service_tier", {"service_tier": "flex"}),
    ("reasoning_effort", {"reasoning_effort": "extreme"}),
    ("tools[0].type", {"tools": [{"type": "custom", "custom": {"name": "c"}}]}),
    ("tools[0].function.examples", {"tools": [{**TOOL, "function": {**TOOL["function"], "examples": [1]}}]}),
    ("tool_choice", {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}}),
    ("repetition_penalty", {"repetition_penalty": 1.1}),
    ("messages[0].content[0].input_audio", {"messages": [{"role": "user", "content": [_AUDIO]}]}),
    ("messages[0].content[0].file", {"messages": [{"role": "user", "content": [_FILE_ID]}]}),
    ("messages[0].content[0].type", {"messages": [{"role": "user", "content": [{"type": "video"}]}]}),
    ("messages[0].name", {"messages": [{**USER, "name": "ann"}]}),
    ("messages[1]", {"messages": [USER, {"role": "assistant", "content": "and so"}]}),
    ("messages[1].role", {"messages": [USER, {"role": "function", "name": "f", "content": "1"}]}),
    ("messages", {"messages": [{"role": "system", "content": "s"}]}),
    (
        "messages[1].function_call",
        {"messages": [USER, {"role": "assistant", "function_call": {"name": "f", "arguments": ""}}, USER]},
    ),
    ("messages[1].audio", {"messages": [USER, {"role": "assistant", "audio": {"id": "a"}}, USER]}),
]


@pytest.mark.parametrize(("param", "fields"), REFUSED_BY_ANTHROPIC)
def test_what_anthropic_cannot_say_is_refused_by_its_name(param: str, fields: dict[str, Any]) -> None:
    """The error names the caller's own field, and says what to do."""
    with pytest.raises(Untranslatable, match="choose a model that speaks your dialect") as refused:
        _to_anthropic(**fields)
    assert refused.value.param == param


_URL_DOCUMENT: dict[str, Any] = {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}
_PIXEL_BLOCK: dict[str, Any] = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"},
}


REFUSED_BY_OPENAI: list[tuple[str, dict[str, Any]]] = [
    ("top_k", {"top_k": 5}),
    ("thinking.budget_tokens", {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
    ("thinking.type", {"thinking": {"type": "between_tools"}}),
    ("container", {"container": "c"}),
    ("speed", {"speed": "fast"}),
    ("inference_geo", {"inference_geo": "eu"}),
    ("mcp_servers", {"mcp_servers": [{"type": "url"}]}),
    ("tools[0].type", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
    (
        "tools[0].input_examples",
        {"tools": [{"name": "f", "input_schema": {"type": "object"}, "input_examples": [{"a": 1}]}]},
    ),
    ("messages[0].content[0].source", {"messages": [{"role": "user", "content": [_URL_DOCUMENT]}]}),
    (
        "messages[0].content[0].citations",
        {"messages": [{"role": "user", "content": [{**_URL_DOCUMENT, "citations": {"enabled": True}}]}]},
    ),
    (
        "messages[0].content[0].content[0]",
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": "a", "content": [_PIXEL_BLOCK]}],
                }
            ]
        },
    ),
    ("messages[0].content[0].type", {"messages": [{"role": "user", "content": [{"type": "search_result"}]}]}),
    ("messages[1]", {"messages": [USER, {"role": "assistant", "content": "The answer is ("}], "system": "s"}),
    ("metadata.team", {"metadata": {"team": "blue"}}),
]


@pytest.mark.parametrize(("param", "fields"), REFUSED_BY_OPENAI)
def test_what_openai_cannot_say_is_refused_by_its_name(param: str, fields: dict[str, Any]) -> None:
    """The error names the caller's own field, counting messages as the caller does."""
    with pytest.raises(Untranslatable) as refused:
        _to_openai(**fields)
    assert refused.value.param == param


WRONG_FOR_OPENAI: list[tuple[str, dict[str, Any]]] = [
    ("messages", {"messages": []}),
    ("messages", {"messages": "hi"}),
    ("messages[0]", {"messages": ["hi"]}),
    ("messages[0].role", {"messages": [{"content": "x"}]}),
    ("messages[0].role", {"messages": [{"role": "robot", "content": "x"}]}),
    ("messages[0].content", {"messages": [{"role": "user"}]}),
    ("messages[0].content", {"messages": [{"role": "user", "content": 5}]}),
    ("messages[0].content[0].text", {"messages": [{"role": "user", "content": [{"type": "text"}]}]}),
    ("messages[0].content[0].image_url.url", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
    ("messages[0].tool_call_id", {"messages": [{"role": "tool", "content": "x"}]}),
    ("temperature", {"temperature": "hot"}),
    ("max_tokens", {"max_tokens": 1.5}),
    ("stop[1]", {"stop": ["a", 1]}),
    ("tools[0].function.name", {"tools": [{"type": "function", "function": {}}]}),
    ("tool_choice", {"tool_choice": "maybe"}),
    ("stream", {"stream": "yes"}),
    ("response_format.json_schema.name", {"response_format": {"type": "json_schema"}}),
    ("metadata.a", {"metadata": {"a": 1}}),
]


@pytest.mark.parametrize(("param", "fields"), WRONG_FOR_OPENAI)
def test_openai_requests_that_are_wrong_say_where(param: str, fields: dict[str, Any]) -> None:
    """A field of the wrong type, or one that is missing, is named by its path."""
    with pytest.raises(InvalidRequest) as wrong:
        OPENAI.read_request(fields_of({"model": "m", "messages": [USER], **fields}))
    assert (wrong.value.param or "").startswith(param.partition(".a")[0])
    assert not isinstance(wrong.value, Untranslatable)


WRONG_FOR_ANTHROPIC: list[tuple[str, dict[str, Any]]] = [
    ("max_tokens", {"max_tokens": None}),
    ("messages", {"messages": []}),
    ("messages[0].role", {"messages": [{"role": "tool", "content": "x"}]}),
    ("messages[0].content[0].source", {"messages": [{"role": "user", "content": [{"type": "image"}]}]}),
    ("tool_choice.type", {"tool_choice": {"type": "maybe"}}),
    ("tools[0].input_schema", {"tools": [{"name": "f"}]}),
    ("thinking.budget_tokens", {"thinking": {"type": "enabled"}}),
    ("metadata", {"metadata": "u1"}),
]


@pytest.mark.parametrize(("param", "fields"), WRONG_FOR_ANTHROPIC)
def test_anthropic_requests_that_are_wrong_say_where(param: str, fields: dict[str, Any]) -> None:
    """A field of the wrong type, or one that is missing, is named by its path."""
    with pytest.raises(InvalidRequest) as wrong:
        ANTHROPIC.read_request(fields_of({"model": "m", "max_tokens": 1, "messages": [USER], **fields}))
    assert wrong.value.param == param


def test_a_field_nested_without_end_is_refused() -> None:
    """Depth that would exhaust the stack is the caller's mistake, not ours."""
    body = b'{"model":"m","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        OPENAI.read_request({"model": msgspec.Raw(b'"m"'), "messages": msgspec.Raw(body[24:-1])})


def test_quirks_of_other_servers_are_kept() -> None:
    """Servers that know only older names get those, and nothing that they refuse."""
    quirks = Quirks(output_limit="max_tokens", has_developer_role=False, reports_stream_usage=False, user=None)
    body = {"model": "m", "messages": [{"role": "developer", "content": "d"}, USER], "max_completion_tokens": 5}
    request = OPENAI.read_request(fields_of({**body, "user": "u", "stream": True}))
    written = msgspec.json.decode(OpenAIDialect(quirks).write_request(request, "other"))
    assert written == {
        "model": "other",
        "messages": [{"role": "system", "content": "d"}, USER],
        "max_tokens": 5,
        "stream": True,
    }
