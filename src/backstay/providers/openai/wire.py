"""Owns the shapes of OpenAI's chat answers, whole and streamed, as far as anything reads them.

Lenient on purpose: the servers that speak this dialect leave fields out, set them to null or add their own.
Source: openai Python SDK 3.54.0, ``types/chat``; DeepSeek, Groq, Mistral, OpenRouter and vLLM API references (2026-08).
"""

from decimal import Decimal
from typing import Any

import msgspec

from backstay.core.chat import FinishReason
from backstay.core.money import from_usd
from backstay.core.usage import NO_USAGE, Usage

_MOST_USD = 1_000_000
"""More than a call can cost: what says so is no amount."""


class CachedDetails(msgspec.Struct, gc=False):
    audio_tokens: int | None = None
    image_tokens: int | None = None


class CacheCreation(msgspec.Struct, gc=False):
    ephemeral_1h_input_tokens: int | None = None


class PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_creation_tokens: int | None = None
    """LiteLLM's name for ``cache_write_tokens``."""
    cache_creation_input_tokens: int | None = None
    """Alibaba's. Source: its Model Studio, "context cache", ``usage`` of explicit caches (2026)."""
    cache_creation_token_details: CacheCreation | None = None
    """LiteLLM's: which of them are kept for an hour."""
    cached_tokens_details: CachedDetails | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None


class CompletionDetails(msgspec.Struct, gc=False):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None


class ServerTools(msgspec.Struct, gc=False):
    web_search_requests: int | None = None


class CostDetails(msgspec.Struct, gc=False):
    upstream_inference_cost: float | None = None
    """What the model's own vendor charges: besides, where the key for it is the caller's."""


class WireUsage(msgspec.Struct, gc=False):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    """DeepSeek's name for cached tokens."""
    x_backstay_estimated: bool = False
    """Whether an adaptor of ours has counted, as the vendor did not."""
    cached_tokens: int | None = None
    """Moonshot's."""
    cost: Any = None
    """OpenRouter's charge in US dollars; others have an object here."""
    cost_details: CostDetails | None = None
    is_byok: bool | None = None
    """Whether the key for the model's own vendor is the caller's."""
    reasoning_tokens: int | None = None
    """Perplexity's, beside the completion; with the next two of its deep research."""
    citation_tokens: int | None = None
    num_search_queries: int | None = None
    server_tool_use: ServerTools | None = None
    """What LiteLLM passes on of Anthropic's."""


class ChoiceSummary(msgspec.Struct, gc=False):
    finish_reason: str | None = None


class Summary(msgspec.Struct, gc=False):
    choices: list[ChoiceSummary]
    id: str | None = None
    model: str | None = None
    usage: WireUsage | None = None
    service_tier: str | None = None


class EmbeddingsSummary(msgspec.Struct, gc=False):
    data: msgspec.Raw
    model: str | None = None
    usage: WireUsage | None = None


class Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: Any = None
    """JSON text; Ollama and others have sent an object."""


class ToolCall(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: Function | None = None


class AudioAnswer(msgspec.Struct, gc=False):
    transcript: str | None = None


class Said(msgspec.Struct, gc=False):
    """A message, or the part of one that a chunk brings."""

    content: str | list[dict[str, Any]] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    """OpenRouter's, Groq's and newer vLLM's name for ``reasoning_content``."""
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    audio: AudioAnswer | None = None


class WholeChoice(msgspec.Struct, gc=False):
    message: Said
    index: int = 0
    finish_reason: str | None = None
    logprobs: Any = None


class Whole(msgspec.Struct, gc=False):
    choices: list[WholeChoice]
    id: str | None = None
    model: str | None = None
    created: float | None = None
    usage: WireUsage | None = None
    service_tier: str | None = None
    system_fingerprint: str | None = None


class ChunkChoice(msgspec.Struct, gc=False):
    index: int = 0
    delta: Said | None = None
    finish_reason: str | None = None
    logprobs: Any = None


class GroqExtra(msgspec.Struct, gc=False):
    usage: WireUsage | None = None


class Chunk(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None
    created: float | None = None
    choices: list[ChunkChoice] | None = None
    usage: WireUsage | None = None
    service_tier: str | None = None
    error: Any = None
    x_groq: GroqExtra | None = None


READ_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "model_length": "length",  # Mistral
    "error": "error",  # Mistral, OpenRouter
    "insufficient_system_resource": "error",  # DeepSeek
}

WRITE_FINISH: dict[FinishReason, str] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "pause": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "error": "length",  # cut short: the wire has no word for a provider that failed midway
}

SERVICE_TIERS = frozenset({"auto", "default", "flex", "scale", "priority", "fast"})


def read_finish(reason: str) -> FinishReason:
    """Read a finish reason; one that is not known counts as a normal end."""
    return READ_FINISH.get(reason, "stop")


def read_usage(wire: WireUsage | None) -> Usage:
    """Read token counts.

    xAI reports reasoning beside the completion instead of inside it; its total tells. Where three counts stand alone,
    what the total has beyond the other two is thinking: Gemini's behind OpenAI's wire.
    Source: https://docs.x.ai/docs/guides/reasoning (2026-08); mozilla-ai/any-llm issue 1290 (2026-08).
    """
    if wire is None:
        return NO_USAGE
    prompt, completion = wire.prompt_tokens_details, wire.completion_tokens_details
    cached = wire.prompt_cache_hit_tokens or wire.cached_tokens
    if prompt is None and completion is None and not cached and wire.reasoning_tokens is None:
        return _read_totals(wire)
    prompt, completion = prompt or PromptDetails(), completion or CompletionDetails()
    output, reasoning = wire.completion_tokens, completion.reasoning_tokens or wire.reasoning_tokens or 0
    cites, searches = 0, 0 if wire.server_tool_use is None else wire.server_tool_use.web_search_requests or 0
    if output is not None and _is_beside(wire, reasoning):
        output += reasoning
    if output is not None and wire.reasoning_tokens is not None:
        cites, searches = wire.citation_tokens or 0, wire.num_search_queries or 0
        output += cites
    parts = prompt.cached_tokens_details or CachedDetails()
    creation = prompt.cache_creation_token_details
    return Usage(
        input_tokens=wire.prompt_tokens,
        output_tokens=output,
        cache_read_tokens=prompt.cached_tokens or cached or 0,
        cache_write_tokens=prompt.cache_write_tokens
        or prompt.cache_creation_tokens
        or prompt.cache_creation_input_tokens
        or 0,
        cache_write_1h_tokens=0 if creation is None else creation.ephemeral_1h_input_tokens or 0,
        reasoning_tokens=reasoning,
        input_audio_tokens=prompt.audio_tokens or 0,
        output_audio_tokens=completion.audio_tokens or 0,
        cache_audio_read_tokens=parts.audio_tokens or 0,
        input_image_tokens=prompt.image_tokens or 0,
        output_image_tokens=completion.image_tokens or 0,
        cache_image_read_tokens=parts.image_tokens or 0,
        citation_tokens=cites,
        web_searches=searches,
        stated_nanousd=None if wire.cost is None else _stated(wire),
        estimated=wire.x_backstay_estimated,
    )


def _read_totals(wire: WireUsage) -> Usage:
    """Read counts that stand alone, without what they are made of."""
    output = wire.completion_tokens
    if output is not None and wire.total_tokens is not None and wire.prompt_tokens is not None:
        output = max(output, wire.total_tokens - wire.prompt_tokens)
    return Usage(
        input_tokens=wire.prompt_tokens,
        output_tokens=output,
        stated_nanousd=None if wire.cost is None else _stated(wire),
        estimated=wire.x_backstay_estimated,
    )


def _stated(wire: WireUsage) -> int | None:
    """Read what OpenRouter charges, and the model's vendor besides, where the key for it is the caller's own.

    Source: openrouter.ai/docs/use-cases/usage-accounting: ``cost`` is what the account is charged, in credits, which
    are US dollars (2026-11).
    """
    if not isinstance(wire.cost, int | float) or isinstance(wire.cost, bool) or not 0 <= wire.cost < _MOST_USD:
        return None
    upstream = 0.0
    if wire.is_byok and wire.cost_details is not None:
        upstream = wire.cost_details.upstream_inference_cost or 0.0
    if not 0 <= upstream < _MOST_USD:
        return None
    return from_usd(Decimal(repr(wire.cost)) + Decimal(repr(upstream)))


def _is_beside(wire: WireUsage, reasoning: int) -> bool:
    """Whether reasoning is counted beside the completion.

    Perplexity's deep research counts it beside all totals, with what it cites.
    Source: https://docs.perplexity.ai/guides/pricing, "sonar deep research" (2026), whose example bills each by itself.
    """
    if not reasoning:
        return False
    if wire.reasoning_tokens is not None and wire.num_search_queries is not None:
        return True
    return wire.total_tokens == (wire.prompt_tokens or 0) + (wire.completion_tokens or 0) + reasoning


def write_usage(usage: Usage) -> dict[str, Any]:
    """Write token counts; what is not known is 0, as the wire demands numbers."""
    prompt, completion = usage.input_tokens or 0, usage.output_tokens or 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
            "audio_tokens": usage.input_audio_tokens,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": usage.output_audio_tokens,
        },
    }
