"""Owns the shapes of Anthropic's answers, whole and streamed, as far as anything reads them.

Source: anthropic Python SDK 2.12.0, ``types/message.py``, ``usage.py`` and the ``raw_*`` events (2026-08).
"""

from typing import Any

import msgspec

from backstay.core.chat import FinishReason
from backstay.core.usage import NO_USAGE, Usage


class CacheCreation(msgspec.Struct, gc=False):
    ephemeral_1h_input_tokens: int | None = None


class OutputDetails(msgspec.Struct, gc=False):
    thinking_tokens: int | None = None


class ServerTools(msgspec.Struct, gc=False):
    web_search_requests: int | None = None


class Iteration(msgspec.Struct, gc=False):
    """One sampling of several that made an answer."""

    type: str = "message"
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation: CacheCreation | None = None


_OWN_ITERATIONS = frozenset({"message", "compaction"})
"""Samplings of the model that was asked. An advisor's are another model's, at its own price."""

_US_PERCENT = 110


class WireUsage(msgspec.Struct, gc=False):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation: CacheCreation | None = None
    output_tokens_details: OutputDetails | None = None
    server_tool_use: ServerTools | None = None
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None
    iterations: list[Iteration] | None = None


class Summary(msgspec.Struct, gc=False):
    usage: WireUsage
    id: str | None = None
    model: str | None = None
    stop_reason: str | None = None


class Block(msgspec.Struct, gc=False):
    """A content block of any type; the fields of types that nobody reads are left out."""

    type: str
    text: str = ""
    thinking: str = ""
    signature: str | None = None
    data: str | None = None
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")


class Whole(msgspec.Struct, gc=False):
    content: list[Block]
    usage: WireUsage
    id: str = ""
    model: str = ""
    stop_reason: str | None = None
    stop_sequence: str | None = None


class StartedMessage(msgspec.Struct, gc=False):
    id: str = ""
    model: str = ""
    usage: WireUsage | None = None


class Delta(msgspec.Struct, gc=False):
    """The ``delta`` of a content block or of the message."""

    type: str = ""
    text: str = ""
    partial_json: str = ""
    thinking: str = ""
    signature: str = ""
    stop_reason: str | None = None
    stop_sequence: str | None = None


class Event(msgspec.Struct, gc=False):
    """Any event of a stream, told apart by ``type``."""

    type: str
    index: int = 0
    message: StartedMessage | None = None
    content_block: Block | None = None
    delta: Delta | None = None
    usage: WireUsage | None = None
    error: Any = None


READ_STOP: dict[str, FinishReason] = {
    "end_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "refusal": "refusal",
}

WRITE_STOP: dict[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_calls": "tool_use",
    "pause": "pause_turn",
    "refusal": "refusal",
    "content_filter": "refusal",
    "error": "max_tokens",  # cut short: the wire has no word for a provider that failed midway
}

READ_TIER = {"standard": "default"}
"""Anthropic's names of service tiers, where they differ, to OpenAI's, which the neutral form uses."""


def read_stop(reason: str) -> FinishReason:
    """Read a stop reason; one that is not known counts as a normal end."""
    return READ_STOP.get(reason, "stop")


def read_tier(usage: WireUsage) -> str | None:
    """Read the service tier that the call was served in; the fast mode, which is billed as one, is a ``speed`` here."""
    if usage.speed == "fast":
        return "fast"
    return None if usage.service_tier is None else READ_TIER.get(usage.service_tier, usage.service_tier)


def read_usage(wire: WireUsage | None) -> Usage:
    """Read token counts. The wire counts cached input beside ``input_tokens``; the neutral total includes it.

    What the model read and wrote to compact its context is billed, and stands among the iterations alone. Where another
    model advised, nobody can say by this what the call cost. Inference in the US alone costs a tenth more.
    Source: Anthropic's pages "compaction" (usage), "advisor tool" and "data residency" (pricing) (2026-10).
    """
    if wire is None:
        return NO_USAGE
    read, written = wire.cache_read_input_tokens or 0, wire.cache_creation_input_tokens or 0
    creation, details, tools = wire.cache_creation, wire.output_tokens_details, wire.server_tool_use
    percent = _US_PERCENT if wire.inference_geo == "us" else 100
    if not (read or written or details or tools or wire.iterations or percent != 100):
        return Usage(input_tokens=wire.input_tokens, output_tokens=wire.output_tokens)
    hour = _one_hour(creation)
    total = None if wire.input_tokens is None else wire.input_tokens + read + written
    output = wire.output_tokens
    for each in wire.iterations or ():
        if each.type not in _OWN_ITERATIONS:
            return NO_USAGE
        if each.type == "compaction" and total is not None and output is not None:
            more_read, more_written = each.cache_read_input_tokens or 0, each.cache_creation_input_tokens or 0
            total += (each.input_tokens or 0) + more_read + more_written
            output += each.output_tokens or 0
            read, written, hour = read + more_read, written + more_written, hour + _one_hour(each.cache_creation)
    return Usage(
        input_tokens=total,
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=hour,
        reasoning_tokens=(details.thinking_tokens or 0) if details is not None else 0,
        web_searches=(tools.web_search_requests or 0) if tools is not None else 0,
        price_percent=percent,
    )


def _one_hour(creation: CacheCreation | None) -> int:
    return 0 if creation is None else creation.ephemeral_1h_input_tokens or 0


def update_usage(first: WireUsage, later: WireUsage) -> WireUsage:
    """Return the counts of a stream's start, overlaid by those of a ``message_delta``, which are cumulative."""
    for name in WireUsage.__struct_fields__:
        value = getattr(later, name)
        if value is not None:
            setattr(first, name, value)
    return first


def write_usage(usage: Usage) -> dict[str, Any]:
    """Write token counts; what is not known is 0, as the wire demands numbers."""
    read, written, hour = usage.cache_read_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens
    counts: dict[str, Any] = {
        "input_tokens": max(0, (usage.input_tokens or 0) - read - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": usage.output_tokens or 0,
        "cache_creation": {
            "ephemeral_5m_input_tokens": written - hour,
            "ephemeral_1h_input_tokens": hour,
        },
    }
    if usage.reasoning_tokens:
        counts["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    if usage.web_searches:
        counts["server_tool_use"] = {"web_search_requests": usage.web_searches, "web_fetch_requests": 0}
    return counts


def write_tier(tier: str | None) -> dict[str, str]:
    if tier == "fast":
        return {"service_tier": "standard", "speed": "fast"}
    written = {"default": "standard", "priority": "priority", "batch": "batch"}.get(tier or "")
    return {} if written is None else {"service_tier": written}
