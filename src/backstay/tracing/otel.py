"""Owns how a span is said in OpenTelemetry's words: GenAI attributes, and the JSON form of OTLP.

Source: open-telemetry/semantic-conventions-genai, gen-ai-spans.md and the JSON schemas of messages, main (2026-11-23;
status: development); OTLP/JSON: opentelemetry-proto 1.x, "JSON Protobuf Encoding".
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from backstay.core.chat import (
    Audio,
    ChatRequest,
    ChatResponse,
    Choice,
    Document,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    Text,
    Tool,
    ToolResult,
    ToolUse,
)
from backstay.core.money import usd
from backstay.core.usage import Usage
from backstay.tracing.reading import CallReading
from backstay.tracing.types import Span

_SERVER, _CLIENT = 2, 3
_OK, _ERROR = 1, 2

_FINISH_REASONS = {"tool_calls": "tool_call", "stop_sequence": "stop", "refusal": "content_filter", "pause": "stop"}
"""Our word to the convention's, where they differ."""


def attributes(span: Span, reading: CallReading | None = None) -> dict[str, Any]:
    """Name everything known of a span, the messages in the convention's structure where a reading is given."""
    named = {
        "gen_ai.operation.name": span.operation,
        "gen_ai.request.model": span.model,
        "gen_ai.request.stream": span.stream or None,
        "gen_ai.usage.input_tokens": span.input_tokens,
        "gen_ai.usage.output_tokens": span.output_tokens,
        "gen_ai.response.time_to_first_chunk": _seconds(span.first_token_ns) if span.stream else None,
        "error.type": span.error_code,
        "http.response.status_code": span.http_status,
        "user.id": span.user_id,
        "backstay.target": span.target,
        "backstay.feature": span.feature,
        "backstay.tags": list(span.tags),
        "backstay.key.id": span.key_id,
        "backstay.cost_usd": None if span.cost_nanousd is None else usd(span.cost_nanousd),
    }
    if reading is not None and reading.request is not None:
        named |= _request_attributes(reading.request)
    if reading is not None and reading.response is not None:
        named |= _response_attributes(reading.response)
    named |= span.attributes
    return {name: value for name, value in named.items() if value is not None and value != []}


def otlp_span(span: Span, reading: CallReading | None = None) -> dict[str, Any]:
    """Write a span as an element of ``scopeSpans[].spans[]`` in OTLP/JSON."""
    status: dict[str, Any] = {"code": _OK} if span.status == "ok" else {"code": _ERROR}
    if span.error_message:
        status["message"] = span.error_message
    parent = {} if span.parent_id is None else {"parentSpanId": span.parent_id}
    return {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        **parent,
        "name": span.name,
        "kind": _SERVER if span.kind == "call" else _CLIENT,
        "startTimeUnixNano": str(span.started_at_ns),
        "endTimeUnixNano": str(span.started_at_ns + span.duration_ns),
        "attributes": _key_values(attributes(span, reading)),
        "status": status,
    }


def _request_attributes(request: ChatRequest) -> dict[str, Any]:
    return {
        "gen_ai.request.max_tokens": request.max_output_tokens,
        "gen_ai.request.temperature": request.temperature,
        "gen_ai.request.top_p": request.top_p,
        "gen_ai.request.top_k": request.top_k,
        "gen_ai.request.frequency_penalty": request.frequency_penalty,
        "gen_ai.request.presence_penalty": request.presence_penalty,
        "gen_ai.request.stop_sequences": list(request.stop),
        "gen_ai.request.seed": request.seed,
        "gen_ai.request.choice.count": request.candidates if request.candidates != 1 else None,
        "gen_ai.output.type": "json" if request.output_format else None,
        "gen_ai.tool.definitions": [_tool(tool) for tool in request.tools],
        "gen_ai.input.messages": [_message(message) for message in request.messages],
    }


def _response_attributes(response: ChatResponse) -> dict[str, Any]:
    return {
        "gen_ai.response.id": response.id,
        "gen_ai.response.model": response.model,
        "gen_ai.response.finish_reasons": [choice.finish_reason for choice in response.choices if choice.finish_reason],
        "gen_ai.output.messages": [_output(choice) for choice in response.choices],
        **_usage_attributes(response.usage),
    }


def _usage_attributes(usage: Usage) -> dict[str, Any]:
    return {
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens or None,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens or None,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens or None,
        "gen_ai.usage.audio.input_tokens": usage.input_audio_tokens or None,
        "gen_ai.usage.audio.output_tokens": usage.output_audio_tokens or None,
    }


def _message(message: Message) -> dict[str, Any]:
    name = {} if message.name is None else {"name": message.name}
    return {"role": message.role, "parts": [_part(part) for part in message.parts], **name}


def _output(choice: Choice) -> dict[str, Any]:
    reason = choice.finish_reason
    return {
        "role": "assistant",
        "parts": [_part(part) for part in choice.parts],
        "finish_reason": _FINISH_REASONS.get(reason, reason) if reason else None,
    }


def _part(part: Part) -> dict[str, Any]:
    match part:
        case Text(text=text):
            return {"type": "text", "content": text}
        case Reasoning(text=text):
            return {"type": "reasoning", "content": text}
        case Refusal(text=text):
            return {"type": "refusal", "content": text}
        case ToolUse(id=id, name=name, arguments=arguments):
            return {"type": "tool_call", "id": id, "name": name, "arguments": _json_or_text(arguments)}
        case ToolResult(tool_use_id=id, parts=parts):
            return {"type": "tool_call_response", "id": id, "response": _tool_response(parts)}
        case Audio(data=data, format=format):
            return {"type": "blob", "modality": "audio", "mime_type": f"audio/{format}", "content": data}
        case Image():
            return _file(part, "image")
        case Document(text=str() as text):
            return {"type": "text", "content": text}
        case Document():
            return _file(part, "document")


def _file(part: Image | Document, modality: str) -> dict[str, Any]:
    common = {"modality": modality, "mime_type": part.media_type}
    if part.data is not None:
        return {"type": "blob", **common, "content": part.data}
    if isinstance(part, Document) and part.file_id is not None:
        return {"type": "file", **common, "file_id": part.file_id}
    return {"type": "uri", **common, "uri": part.url or ""}


def _tool_response(parts: Sequence[Text | Image | Document]) -> Any:
    """Say a tool's result: its text where it is all text, else its parts."""
    texts = [part.text for part in parts if isinstance(part, Text)]
    return "".join(texts) if len(texts) == len(parts) else [_part(part) for part in parts]


def _tool(tool: Tool) -> dict[str, Any]:
    return {"type": "function", "name": tool.name, "description": tool.description, "parameters": tool.schema}


def _json_or_text(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


def _seconds(duration_ns: int | None) -> float | None:
    return None if duration_ns is None else duration_ns / 1e9


def _key_values(named: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _any_value(value)} for name, value in named.items()]


def _any_value(value: Any) -> dict[str, Any]:
    """Write a value as OTLP's ``AnyValue``; 64-bit integers are strings there."""
    match value:
        case None:
            return {}
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case str():
            return {"stringValue": value}
        case Mapping():
            return {"kvlistValue": {"values": _key_values(value)}}  # pyright: ignore[reportUnknownArgumentType]
        case _:
            return {"arrayValue": {"values": [_any_value(element) for element in value]}}
