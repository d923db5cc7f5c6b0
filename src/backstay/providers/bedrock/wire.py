"""Owns the shapes of Converse's answers, whole and streamed, as far as anything reads them.

Source: botocore 1.44.8, ``data/bedrock-runtime/2023-09-30/service-2.json``: ``ConverseResponse``, ``TokenUsage``,
``ConverseStreamOutput`` (2026-11).
"""

from typing import Any, cast

import msgspec

from backstay.core.chat import FinishReason
from backstay.core.usage import NO_USAGE, Usage


class CacheDetail(msgspec.Struct, gc=False, rename="camel"):
    ttl: str = ""
    input_tokens: int = 0


class WireUsage(msgspec.Struct, gc=False, rename="camel"):
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None
    cache_details: list[CacheDetail] | None = None


class Tier(msgspec.Struct, gc=False):
    type: str


class Summary(msgspec.Struct, gc=False, rename="camel"):
    usage: WireUsage
    stop_reason: str | None = None
    service_tier: Tier | None = None


class ToolUseBlock(msgspec.Struct, gc=False, rename="camel"):
    tool_use_id: str
    name: str
    input: msgspec.Raw = msgspec.Raw(b"{}")
    type: str | None = None
    """``server_tool_use``: AWS ran it itself."""


class ReasoningText(msgspec.Struct, gc=False):
    text: str = ""
    signature: str | None = None


class ReasoningBlock(msgspec.Struct, gc=False, rename="camel"):
    reasoning_text: ReasoningText | None = None
    redacted_content: str | None = None


class CitedText(msgspec.Struct, gc=False):
    text: str = ""


class Citations(msgspec.Struct, gc=False):
    content: list[CitedText] = []


class Block(msgspec.Struct, gc=False, rename="camel"):
    """A content block, told apart by the one field that it has; those that nobody reads are left out."""

    text: str | None = None
    tool_use: ToolUseBlock | None = None
    reasoning_content: ReasoningBlock | None = None
    citations_content: Citations | None = None


class Message(msgspec.Struct, gc=False):
    content: list[Block]


class Output(msgspec.Struct, gc=False):
    message: Message


class Whole(msgspec.Struct, gc=False, rename="camel"):
    output: Output
    usage: WireUsage
    stop_reason: str | None = None
    service_tier: Tier | None = None
    additional_model_response_fields: Any = None


class BlockStart(msgspec.Struct, gc=False, rename="camel"):
    tool_use: ToolUseBlock | None = None


class ToolDelta(msgspec.Struct, gc=False):
    input: str = ""


class ReasoningDelta(msgspec.Struct, gc=False, rename="camel"):
    text: str | None = None
    signature: str | None = None
    redacted_content: str | None = None


class Delta(msgspec.Struct, gc=False, rename="camel"):
    text: str | None = None
    tool_use: ToolDelta | None = None
    reasoning_content: ReasoningDelta | None = None


class Event(msgspec.Struct, gc=False, rename="camel"):
    """The payload of any event of a stream; which one it is stands in the message's headers."""

    content_block_index: int = 0
    start: BlockStart | None = None
    delta: Delta | None = None
    stop_reason: str | None = None
    usage: WireUsage | None = None
    service_tier: Tier | None = None
    additional_model_response_fields: Any = None


READ_STOP: dict[str, FinishReason] = {
    "end_turn": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "stop_sequence": "stop_sequence",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "malformed_model_output": "error",
    "malformed_tool_use": "error",
    "refusal": "refusal",  # not in the document; some of Anthropic's models give it
}

WRITE_STOP: dict[FinishReason, str] = {
    "stop": "end_turn",
    "tool_calls": "tool_use",
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "content_filter": "content_filtered",
    "refusal": "content_filtered",
    "pause": "end_turn",
    "error": "malformed_model_output",
}


def read_stop(reason: str) -> FinishReason:
    """Read a stop reason; one that is not known counts as a normal end."""
    return READ_STOP.get(reason, "stop")


def read_stop_sequence(fields: Any) -> str | None:
    """Read which sequence stopped the model, from what ``additionalModelResponseFieldPaths`` asked for."""
    found = cast(dict[str, Any], fields).get("stop_sequence") if isinstance(fields, dict) else None
    return found if isinstance(found, str) else None


def write_stop_sequence(sequence: str | None) -> dict[str, Any]:
    return {} if sequence is None else {"additionalModelResponseFields": {"stop_sequence": sequence}}


def read_tier(tier: Tier | None) -> str | None:
    return None if tier is None else tier.type


def write_tier(tier: str | None) -> dict[str, Any]:
    return {} if tier is None else {"serviceTier": {"type": tier}}


def read_usage(wire: WireUsage | None) -> Usage:
    """Read token counts. The wire counts cached input beside ``inputTokens``; the neutral total includes it.

    Where the total says that the cached input is within ``inputTokens``, it is not counted twice.
    """
    if wire is None:
        return NO_USAGE
    read, written = wire.cache_read_input_tokens or 0, wire.cache_write_input_tokens or 0
    total = wire.input_tokens
    if total is not None and not (total >= read + written and wire.total_tokens == total + (wire.output_tokens or 0)):
        total += read + written
    return Usage(
        input_tokens=total,
        output_tokens=wire.output_tokens,
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=sum(each.input_tokens for each in wire.cache_details or () if each.ttl == "1h"),
    )


def write_usage(usage: Usage) -> dict[str, Any]:
    """Write token counts; what is not known is 0, as the wire demands numbers."""
    read, written, hour = usage.cache_read_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens
    said, answered = usage.input_tokens or 0, usage.output_tokens or 0
    details = [{"ttl": ttl, "inputTokens": tokens} for ttl, tokens in (("1h", hour), ("5m", written - hour)) if tokens]
    return {
        "inputTokens": max(0, said - read - written),
        "outputTokens": answered,
        "totalTokens": said + answered,
        "cacheReadInputTokens": read,
        "cacheWriteInputTokens": written,
        "cacheDetails": details,
    }
