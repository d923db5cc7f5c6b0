"""Owns the shapes of Gemini's answers, whole and streamed, as far as anything reads them.

Source: google-genai Python SDK 3.6.1, ``types.py`` (2026-11); https://ai.google.dev/api/generate-content (2026-11).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from backstay.core.chat import FinishReason
from backstay.core.usage import NO_USAGE, Usage


class FunctionCall(msgspec.Struct, gc=False):
    name: str = ""
    args: msgspec.Raw = msgspec.Raw(b"{}")
    id: str | None = None
    """Models before Gemini 3 give none."""


class Part(msgspec.Struct, gc=False, rename="camel"):
    """A part of any kind; what Google's own servers ran (code, searches) is left out."""

    text: str | None = None
    thought: bool = False
    thought_signature: str | None = None
    function_call: FunctionCall | None = None
    inline_data: Any = None


class Content(msgspec.Struct, gc=False):
    parts: list[Part] | None = None


class Token(msgspec.Struct, gc=False, rename="camel"):
    token: str = ""
    log_probability: float = 0.0


class TopTokens(msgspec.Struct, gc=False):
    candidates: list[Token] | None = None


class Logprobs(msgspec.Struct, gc=False, rename="camel"):
    chosen_candidates: list[Token] | None = None
    top_candidates: list[TopTokens] | None = None


class Grounding(msgspec.Struct, gc=False, rename="camel"):
    web_search_queries: list[str] | None = None


class Candidate(msgspec.Struct, gc=False, rename="camel"):
    index: int = 0
    content: Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    logprobs_result: Logprobs | None = None
    grounding_metadata: Grounding | None = None


class PromptFeedback(msgspec.Struct, gc=False, rename="camel"):
    block_reason: str | None = None


class ModalityCount(msgspec.Struct, gc=False, rename="camel"):
    modality: str = ""
    token_count: int = 0


class WireUsage(msgspec.Struct, gc=False, rename="camel"):
    prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    total_token_count: int | None = None
    prompt_tokens_details: list[ModalityCount] | None = None
    cache_tokens_details: list[ModalityCount] | None = None
    candidates_tokens_details: list[ModalityCount] | None = None
    tool_use_prompt_tokens_details: list[ModalityCount] | None = None
    service_tier: str | None = None
    traffic_type: str | None = None


class Answer(msgspec.Struct, gc=False, rename="camel"):
    """A whole answer, or one chunk of a stream: the wire has one shape for both."""

    candidates: list[Candidate] | None = None
    prompt_feedback: PromptFeedback | None = None
    usage_metadata: WireUsage | None = None
    model_version: str | None = None
    response_id: str | None = None
    error: Any = None


class CandidateSummary(msgspec.Struct, gc=False, rename="camel"):
    content: msgspec.Raw = msgspec.Raw(b"")
    finish_reason: str | None = None
    grounding_metadata: Grounding | None = None

    @property
    def calls_a_tool(self) -> bool:
        """Whether its parts may hold a function call: a text with that word in quotes has them escaped."""
        return b'"functionCall"' in bytes(self.content)


class Summary(msgspec.Struct, gc=False, rename="camel"):
    candidates: list[CandidateSummary] | None = None
    prompt_feedback: PromptFeedback | None = None
    usage_metadata: WireUsage | None = None
    model_version: str | None = None
    response_id: str | None = None


READ_FINISH: Mapping[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MALFORMED_FUNCTION_CALL": "error",
    "MALFORMED_RESPONSE": "error",
    "MISSING_THOUGHT_SIGNATURE": "error",
    "UNEXPECTED_TOOL_CALL": "error",
    "TOO_MANY_TOOL_CALLS": "error",
    "NO_IMAGE": "error",
    "IMAGE_OTHER": "error",
    "OTHER": "error",
}

WRITE_FINISH: Mapping[FinishReason, str] = {
    "stop": "STOP",
    "stop_sequence": "STOP",
    "pause": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "refusal": "SAFETY",
    "error": "OTHER",
}

_TIERS = {
    "standard": "default",
    "on_demand": "default",
    "priority": "priority",
    "on_demand_priority": "priority",
    "flex": "flex",
    "on_demand_flex": "flex",
}
"""Google AI Studio's service tiers and Vertex AI's traffic types to OpenAI's names, which the neutral form uses."""

_WRITE_TIER = {"default": "ON_DEMAND", "priority": "ON_DEMAND_PRIORITY", "flex": "ON_DEMAND_FLEX"}


def read_finish(reason: str, *, calls_a_tool: bool) -> FinishReason:
    """Read a finish reason; one that is not known counts as a normal end. The wire has none for tool calls."""
    found = READ_FINISH.get(reason, "stop")
    return "tool_calls" if calls_a_tool and found == "stop" else found


def read_tier(wire: WireUsage | None) -> str | None:
    """Read the service tier that the call was served in."""
    return None if wire is None else _TIERS.get((wire.service_tier or wire.traffic_type or "").lower())


_BY_PROMPT = ("gemini-1", "gemini-2")


def count_searches(candidates: "Sequence[Candidate | CandidateSummary] | None", model: str | None) -> int:
    """Count the billed searches of Google's that an answer is grounded in.

    Since Gemini 3 each query is billed that is not empty, equal ones once; before, the prompt is billed once.
    Source: ai.google.dev/gemini-api/docs/google-search, "pricing" (read by you.com/resources/gemini-web-search-api,
    2026-09-17); discuss.ai.google.dev/t/168136 quotes it on empty queries.
    """
    grounded = [each.grounding_metadata for each in candidates or () if each.grounding_metadata is not None]
    queries = {query for each in grounded for query in each.web_search_queries or () if query}
    return min(1, len(queries)) if (model or "").startswith(_BY_PROMPT) else len(queries)


def read_usage(wire: WireUsage | None, searches: int = 0) -> Usage:
    """Read token counts; what the wire leaves out is 0 where it says anything.

    The prompt's count includes cached tokens but not what tools brought in; the candidates' does not include thoughts,
    unless the total says that it does.
    Source: https://ai.google.dev/api/generate-content#UsageMetadata (2026-11); genai-prices 0.2.3, its extractors.
    """
    if wire is None or wire.prompt_token_count is None:
        return NO_USAGE
    prompt, tools = wire.prompt_token_count, wire.tool_use_prompt_token_count or 0
    output, thoughts = wire.candidates_token_count or 0, wire.thoughts_token_count or 0
    if thoughts > output or wire.total_token_count != prompt + tools + output:
        output += thoughts
    return Usage(
        input_tokens=prompt + tools,
        output_tokens=output,
        cache_read_tokens=wire.cached_content_token_count or 0,
        reasoning_tokens=thoughts,
        input_audio_tokens=_count(wire.prompt_tokens_details, "AUDIO")
        + _count(wire.tool_use_prompt_tokens_details, "AUDIO"),
        output_audio_tokens=_count(wire.candidates_tokens_details, "AUDIO"),
        cache_audio_read_tokens=_count(wire.cache_tokens_details, "AUDIO"),
        input_image_tokens=_count(wire.prompt_tokens_details, "IMAGE"),
        output_image_tokens=_count(wire.candidates_tokens_details, "IMAGE"),
        cache_image_read_tokens=_count(wire.cache_tokens_details, "IMAGE"),
        web_searches=searches,
    )


def _count(details: list[ModalityCount] | None, modality: str) -> int:
    return sum(count.token_count for count in details or () if count.modality == modality)


def write_usage(usage: Usage, service_tier: str | None = None) -> dict[str, Any]:
    """Write token counts; what is not known is 0, as the SDK reads it."""
    prompt, output = usage.input_tokens or 0, usage.output_tokens or 0
    counts: dict[str, Any] = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": output - usage.reasoning_tokens,
        "totalTokenCount": prompt + output,
        "promptTokensDetails": _write_details(prompt, usage.input_audio_tokens),
        "candidatesTokensDetails": _write_details(output - usage.reasoning_tokens, usage.output_audio_tokens),
    }
    if usage.reasoning_tokens:
        counts["thoughtsTokenCount"] = usage.reasoning_tokens
    if usage.cache_read_tokens:
        counts["cachedContentTokenCount"] = usage.cache_read_tokens
        counts["cacheTokensDetails"] = _write_details(usage.cache_read_tokens, usage.cache_audio_read_tokens)
    if service_tier in _WRITE_TIER:
        counts["trafficType"] = _WRITE_TIER[service_tier]
    return counts


def _write_details(total: int, audio: int) -> list[dict[str, Any]]:
    counts = {"TEXT": total - audio, "AUDIO": audio}
    return [{"modality": name, "tokenCount": count} for name, count in counts.items() if count]


def read_logprobs(wire: Logprobs | None) -> dict[str, Any] | None:
    """Read log probabilities as OpenAI's object, which the neutral form uses."""
    if wire is None:
        return None
    top = wire.top_candidates or []
    content: list[dict[str, Any]] = []
    for index, token in enumerate(wire.chosen_candidates or ()):
        others = top[index].candidates or [] if index < len(top) else []
        content.append({**_token(token), "top_logprobs": [_token(other) for other in others]})
    return {"content": content, "refusal": None}


def _token(token: Token) -> dict[str, Any]:
    return {"token": token.token, "logprob": token.log_probability, "bytes": list(token.token.encode())}


def write_logprobs(logprobs: Mapping[str, Any]) -> dict[str, Any]:
    """Write OpenAI's object of log probabilities."""
    tokens: list[dict[str, Any]] = logprobs.get("content") or []
    tops: list[list[dict[str, Any]]] = [token.get("top_logprobs") or [] for token in tokens]
    return {
        "chosenCandidates": [_write_token(token) for token in tokens],
        "topCandidates": [{"candidates": [_write_token(token) for token in top]} for top in tops],
    }


def _write_token(token: Mapping[str, Any]) -> dict[str, Any]:
    return {"token": token["token"], "logProbability": token["logprob"]}
