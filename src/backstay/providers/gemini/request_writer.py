"""Owns the writing of a generateContent request from neutral form.

The model and whether a stream is wanted stand in the URL, not in the body. Translated rather than refused:
- efforts become thinking levels, or budgets for models before Gemini 3, as Google's own OpenAI endpoint maps them; a
  budget goes before an effort, since this dialect takes one of them;
- strict tools are the calling mode ``VALIDATED``;
- the description of a JSON output becomes its schema's.

Source: google-genai Python SDK 3.6.1, ``types.py`` (2026-11); https://ai.google.dev/gemini-api/docs/openai (2026-11).
"""

from typing import Any

import msgspec

from backstay.core.chat import ChatRequest, OutputFormat, Tool, ToolChoice
from backstay.providers.caller_paths import field_path
from backstay.providers.gemini.content_writer import TARGET, is_before_gemini_3, write_contents
from backstay.providers.refusals import own_extras, refuse, refuse_fields

OWN_FIELDS = frozenset({"cachedContent", "labels", "safetySettings"})
"""Fields of this dialect without a neutral form, by their top-level name: written back as they were read."""

HARMLESS_HINTS = {
    "annotations": "citations of an earlier answer, handed back with it",
    "cache_control": "a prompt-cache marker; this dialect caches by itself, and caching never changes an answer",
    "caller": "who ran a tool call that is already done",
    "diagnostics": "asks for cache diagnostics beside the answer",
    "display": "how thinking is shown",
    "include_obfuscation": "padding of a stream's chunks",
    "prompt_cache_breakpoint": "prompt caching never changes an answer",
    "prompt_cache_key": "prompt caching never changes an answer",
    "prompt_cache_options": "prompt caching never changes an answer",
    "prompt_cache_retention": "prompt caching never changes an answer",
    "thinking": "adaptive thinking is what this dialect's models do unasked",
}
"""The callers' fields that are left out because they cannot change the answer, each with the reason.

Besides: ``metadata`` and ``user`` (labels; the trace has them), an image's ``detail``, a file's name, the name of a
JSON schema and its strictness (output always fits it here), and thoughts that this dialect did not sign.
"""

_LEVELS = {
    "none": "MINIMAL",  # thinking cannot be switched off: https://ai.google.dev/gemini-api/docs/thinking (2026-11)
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "HIGH",
    "max": "HIGH",
}
_BUDGETS = {
    "none": 0,
    "minimal": 1024,
    "low": 1024,
    "medium": 8192,
    "high": 24576,
    "xhigh": 24576,
    "max": 24576,
}
"""Tokens."""
_TIERS = {"auto": None, "default": "standard", "flex": "flex", "priority": "priority"}


def write_request(request: ChatRequest, model_id: str) -> bytes:
    """Write a request. Raises ``Untranslatable`` with the caller's name of what has no form here."""
    extras = own_extras(request.extras, own=OWN_FIELDS, harmless=HARMLESS_HINTS, target=TARGET)
    _refuse_fields(request)
    body = write_prompt(request, model_id)
    tier = _write_tier(request.service_tier)
    if tier is not None:
        body["serviceTier"] = tier
    config = _write_config(request, model_id)
    if config:
        body["generationConfig"] = config
    return msgspec.json.encode(body | extras)


def write_prompt(request: ChatRequest, model_id: str) -> dict[str, Any]:
    """Write what the model reads: the conversation and the tools."""
    system, contents = write_contents(request, model_id)
    body: dict[str, Any] = {"contents": contents}
    if system:
        body["systemInstruction"] = {"parts": system}
    return body | _write_tools(request)


def _refuse_fields(request: ChatRequest) -> None:
    refuse_fields({"logit_bias": request.logit_bias}, TARGET)
    if request.candidates != 1 and request.stream:
        raise refuse("n", f"{TARGET} streams one candidate only.")
    if request.parallel_tool_calls is False:
        raise refuse(field_path(request, "parallel_tool_calls"), f"{TARGET} cannot be kept from parallel tool calls.")


def _write_tier(tier: str | None) -> str | None:
    if tier is not None and tier not in _TIERS:
        raise refuse("service_tier", f"{TARGET} has no tier {tier!r}.")
    return _TIERS[tier or "auto"]


def _write_tools(request: ChatRequest) -> dict[str, Any]:
    if not request.tools:
        return {}
    written: dict[str, Any] = {"tools": [{"functionDeclarations": [_write_tool(tool) for tool in request.tools]}]}
    config = _write_tool_choice(request.tool_choice, strict=any(tool.strict for tool in request.tools))
    return {**written, "toolConfig": {"functionCallingConfig": config}} if config else written


def _write_tool(tool: Tool) -> dict[str, Any]:
    written: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        written["description"] = tool.description
    if tool.schema:
        written["parametersJsonSchema"] = tool.schema
    return written


def _write_tool_choice(choice: ToolChoice | None, *, strict: bool) -> dict[str, Any]:
    match choice:
        case ToolChoice(mode="tool", name=str(name)):
            return {"mode": "ANY", "allowedFunctionNames": [name]}
        case ToolChoice(mode="any"):
            return {"mode": "ANY"}
        case ToolChoice(mode="none"):
            return {"mode": "NONE"}
        case _ if strict:
            return {"mode": "VALIDATED"}
        case None:
            return {}
        case _:
            return {"mode": "AUTO"}


def _write_config(request: ChatRequest, model_id: str) -> dict[str, Any]:
    fields = {
        "maxOutputTokens": request.max_output_tokens,
        "temperature": request.temperature,
        "topP": request.top_p,
        "topK": request.top_k,
        "frequencyPenalty": request.frequency_penalty,
        "presencePenalty": request.presence_penalty,
        "seed": request.seed,
        "stopSequences": list(request.stop) or None,
        "candidateCount": request.candidates if request.candidates != 1 else None,
        "responseLogprobs": request.logprobs or None,
        "logprobs": request.top_logprobs,
        "thinkingConfig": _write_thinking(request, model_id),
    }
    config = {name: value for name, value in fields.items() if value is not None}
    return config | _write_output_format(request.output_format)


def _write_thinking(request: ChatRequest, model_id: str) -> dict[str, Any] | None:
    """Write how much is thought. Who asks for thoughts may see them: they are billed in either case."""
    budget, effort = request.reasoning_budget_tokens, request.reasoning_effort
    if budget is not None:
        return {"thinkingBudget": budget, "includeThoughts": True}
    if effort is None:
        return None
    if effort not in _LEVELS:
        raise refuse(field_path(request, "reasoning_effort"), f"{TARGET} knows no effort {effort!r}.")
    shown = {"includeThoughts": True} if effort != "none" else {}
    if is_before_gemini_3(model_id):
        return {"thinkingBudget": _BUDGETS[effort], **shown}
    return {"thinkingLevel": _LEVELS[effort], **shown}


def _write_output_format(wanted: OutputFormat | None) -> dict[str, Any]:
    if wanted is None:
        return {}
    written: dict[str, Any] = {"responseMimeType": "application/json"}
    if wanted.schema:
        described = {} if wanted.description is None else {"description": wanted.description}
        written["responseJsonSchema"] = described | wanted.schema
    return written
