"""Reading stored calls for people, and naming them for OpenTelemetry: whatever was stored, a page opens."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.core.chat import (
    Audio,
    ChatRequest,
    ChatResponse,
    Choice,
    Document,
    Image,
    Message,
    OutputFormat,
    Reasoning,
    Refusal,
    Text,
    Tool,
    ToolResult,
    ToolUse,
)
from backstay.core.errors import InvalidRequest, ProviderError
from backstay.core.money import NanoUSD
from backstay.core.usage import Usage
from backstay.tracing import CallReading, StoredSpan, attributes, read_call
from backstay.tracing.otel import otlp_span
from backstay.tracing.reading import ChatReader


class Plain:
    """A dialect of one message, strict about what it is given."""

    def read_request(self, fields: dict[str, msgspec.Raw]) -> ChatRequest:
        if "say" not in fields:
            raise InvalidRequest("`say` is missing", param="say")
        text = msgspec.json.decode(fields["say"], type=str)
        return ChatRequest(
            model="fast",
            messages=(Message(role="user", parts=(Text(text=text),)),),
            temperature=0.5,
            tools=(Tool(name="f"),),
            extras={"mood": "good"},
        )

    def read_response(self, body: bytes) -> ChatResponse:
        answer: dict[str, str] = json.loads(body)
        if "error" in answer:
            raise ProviderError("it is an error")
        return ChatResponse(
            id="r1",
            model="gpt",
            created_s=1,
            choices=(Choice(index=0, parts=(Text(text=answer["said"]),), finish_reason="stop"),),
        )


DIALECTS: dict[str, ChatReader] = {"plain": Plain()}


def _span(**fields: Any) -> StoredSpan:
    defaults: dict[str, Any] = {
        "span_id": "b" * 16,
        "trace_id": "a" * 32,
        "kind": "call",
        "name": "chat fast",
        "started_at_ns": 1_700_000_000_000_000_001,
        "duration_ns": 5,
        "status": "ok",
        "operation": "chat",
        "input_dialect": "plain",
        "output_dialect": "plain",
    }
    return StoredSpan(**{**defaults, **fields})


def test_both_sides_of_a_call_are_read():
    """Messages, parameters (only those that were set) and the answer come in neutral form, without notes."""
    reading = read_call(_span(input='{"say": "hi"}', output='{"said": "ho"}'), DIALECTS)
    assert reading.request is not None
    assert reading.response is not None
    assert reading.request.messages[0].parts == (Text(text="hi"),)
    assert reading.response.choices[0].parts == (Text(text="ho"),)
    assert reading.parameters == {"temperature": 0.5, "mood": "good"}
    assert (reading.request_note, reading.response_note) == (None, None)


@pytest.mark.parametrize(
    ("fields", "request_note", "response_note"),
    [
        ({}, "Nothing was kept", "Nothing was kept"),
        ({"input": "{", "output": "{"}, "damaged", "damaged"),
        ({"input": "[1]", "output": "[1]"}, "damaged", "damaged"),
        ({"input": '{"ask": 1}', "output": '{"error": 1}'}, "`say` is missing", "it is an error"),
        ({"input": '{"say": 5}', "output": "{}"}, "damaged", "damaged"),
        ({"input": "[" * 100_000, "output": "[" * 100_000}, "damaged", "damaged"),
        ({"input": "{}", "output": "{}", "input_dialect": "x", "output_dialect": None}, "Nobody here", "Nobody here"),
        ({"input": "{}", "output": '{"error": 1}', "status": "error"}, "`say`", "This call failed"),
        ({"input": "{}", "output": "{}", "operation": "embeddings"}, "embeddings", "embeddings"),
    ],
)
def test_what_cannot_be_read_has_a_note(fields: dict[str, Any], request_note: str, response_note: str):
    """Damaged, foreign or missing texts give no neutral form and say why; nothing is raised."""
    reading = read_call(_span(**fields), DIALECTS)
    assert (reading.request, reading.response, reading.parameters) == (None, None, {})
    assert request_note in str(reading.request_note)
    assert response_note in str(reading.response_note)


@given(text=st.text())
def test_no_stored_text_stops_a_page(text: str):
    """Any text at all is read or noted."""
    reading = read_call(_span(input=text, output=text), DIALECTS)
    assert (reading.request is None) == (reading.request_note is not None)
    assert (reading.response is None) == (reading.response_note is not None)


REQUEST = ChatRequest(
    model="fast",
    messages=(
        Message(role="system", parts=(Text(text="be kind"),)),
        Message(
            role="user",
            name="jo",
            parts=(
                Text(text="look"),
                Image(url="https://example.com/cat.png"),
                Image(data="aGk=", media_type="image/png"),
                Document(file_id="file-1", media_type="application/pdf"),
                Document(text="plain"),
                Audio(data="aGk=", format="wav"),
            ),
        ),
        Message(
            role="assistant",
            parts=(
                Reasoning(text="hm"),
                ToolUse(id="t1", name="weather", arguments='{"city": "Paris"}'),
                ToolUse(id="t2", name="weather", arguments="{broken"),
            ),
        ),
        Message(
            role="tool",
            parts=(
                ToolResult(tool_use_id="t1", parts=(Text(text="rainy"), Text(text=", 12°"))),
                ToolResult(tool_use_id="t2", parts=(Text(text="see"), Image(url="https://example.com/a.png"))),
            ),
        ),
    ),
    max_output_tokens=10,
    temperature=0.0,
    stop=("END",),
    candidates=2,
    tools=(Tool(name="weather", schema={"type": "object"}),),
    output_format=OutputFormat(),
)
RESPONSE = ChatResponse(
    id="chatcmpl-1",
    model="gpt-4o-2024",
    created_s=1,
    choices=(
        Choice(index=0, parts=(Text(text="ok"),), finish_reason="stop"),
        Choice(index=1, parts=(Refusal(text="no"),), finish_reason="tool_calls"),
    ),
    usage=Usage(input_tokens=10, output_tokens=5, cache_read_tokens=4, reasoning_tokens=2),
)
SPAN = _span(
    model="fast",
    target="acme/gpt-4o",
    user_id="jo",
    feature="search",
    tags=("blue",),
    stream=True,
    first_token_ns=500_000_000,
    input_tokens=10,
    output_tokens=5,
    cost_nanousd=NanoUSD(1_234_567),
    http_status=200,
    attributes={"gen_ai.provider.name": "openai"},
)


def test_a_span_is_named_as_the_conventions_do():
    """Every field and parameter stands under its OpenTelemetry name; what is not known is not there."""
    named = attributes(SPAN, CallReading(request=REQUEST, response=RESPONSE))
    assert {name: value for name, value in named.items() if "messages" not in name} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "fast",
        "gen_ai.request.stream": True,
        "gen_ai.request.max_tokens": 10,
        "gen_ai.request.temperature": 0.0,
        "gen_ai.request.stop_sequences": ["END"],
        "gen_ai.request.choice.count": 2,
        "gen_ai.output.type": "json",
        "gen_ai.tool.definitions": [
            {"type": "function", "name": "weather", "description": None, "parameters": {"type": "object"}}
        ],
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.model": "gpt-4o-2024",
        "gen_ai.response.finish_reasons": ["stop", "tool_calls"],
        "gen_ai.response.time_to_first_chunk": 0.5,
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.reasoning.output_tokens": 2,
        "http.response.status_code": 200,
        "user.id": "jo",
        "backstay.target": "acme/gpt-4o",
        "backstay.feature": "search",
        "backstay.tags": ["blue"],
        "backstay.cost_usd": "0.001234567",
    }


def test_messages_have_the_conventions_structure():
    """Each kind of part is written as the conventions' JSON schema of messages has it."""
    named = attributes(SPAN, CallReading(request=REQUEST, response=RESPONSE))
    system, user, assistant, tool = named["gen_ai.input.messages"]
    assert system == {"role": "system", "parts": [{"type": "text", "content": "be kind"}]}
    assert user == {
        "role": "user",
        "name": "jo",
        "parts": [
            {"type": "text", "content": "look"},
            {"type": "uri", "modality": "image", "mime_type": None, "uri": "https://example.com/cat.png"},
            {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "aGk="},
            {"type": "file", "modality": "document", "mime_type": "application/pdf", "file_id": "file-1"},
            {"type": "text", "content": "plain"},
            {"type": "blob", "modality": "audio", "mime_type": "audio/wav", "content": "aGk="},
        ],
    }
    assert assistant["parts"] == [
        {"type": "reasoning", "content": "hm"},
        {"type": "tool_call", "id": "t1", "name": "weather", "arguments": {"city": "Paris"}},
        {"type": "tool_call", "id": "t2", "name": "weather", "arguments": "{broken"},
    ]
    image = {"type": "uri", "modality": "image", "mime_type": None, "uri": "https://example.com/a.png"}
    assert tool["parts"] == [
        {"type": "tool_call_response", "id": "t1", "response": "rainy, 12°"},
        {"type": "tool_call_response", "id": "t2", "response": [{"type": "text", "content": "see"}, image]},
    ]
    assert named["gen_ai.output.messages"] == [
        {"role": "assistant", "parts": [{"type": "text", "content": "ok"}], "finish_reason": "stop"},
        {"role": "assistant", "parts": [{"type": "refusal", "content": "no"}], "finish_reason": "tool_call"},
    ]


def test_a_failed_span_carries_its_error():
    """The error's code is ``error.type``, and its message the status of the OTLP span."""
    failed = _span(status="error", error_code="provider_timeout", error_message="too slow", parent_id="c" * 16)
    assert attributes(failed)["error.type"] == "provider_timeout"
    written = otlp_span(failed)
    assert written["status"] == {"code": 2, "message": "too slow"}
    assert written["parentSpanId"] == "c" * 16


def test_a_span_is_written_as_otlp_json():
    """Ids are hexadecimal, times are strings of nanoseconds, values are typed, messages are structured."""
    written = otlp_span(SPAN, CallReading(request=REQUEST))
    assert (written["traceId"], written["spanId"], written["kind"]) == ("a" * 32, "b" * 16, 2)
    assert written["startTimeUnixNano"] == "1700000000000000001"
    assert written["endTimeUnixNano"] == "1700000000000000006"
    assert written["status"] == {"code": 1}
    values = {pair["key"]: pair["value"] for pair in written["attributes"]}
    assert values["gen_ai.usage.input_tokens"] == {"intValue": "10"}
    assert values["gen_ai.request.stream"] == {"boolValue": True}
    assert values["gen_ai.request.temperature"] == {"doubleValue": 0.0}
    assert values["backstay.tags"] == {"arrayValue": {"values": [{"stringValue": "blue"}]}}
    first = values["gen_ai.input.messages"]["arrayValue"]["values"][0]["kvlistValue"]["values"]
    assert first[0] == {"key": "role", "value": {"stringValue": "system"}}
    json.dumps(written, allow_nan=False)
