"""Owns the writing of a messages request from neutral form.

Translated rather than refused, because nothing of it is lost:
- system and developer messages at the beginning become ``system``; later ones keep their place, with the role
  ``system`` (which models before Claude Opus 4.8 refuse by themselves);
- neighbouring messages of one role become one, tool results first, as this dialect alternates;
- tool arguments that are not JSON travel inside an object (``tool_input``);
- the description of a JSON output becomes its schema's.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from backstay.core.chat import (
    Audio,
    ChatRequest,
    Document,
    Image,
    Message,
    OutputFormat,
    Part,
    Reasoning,
    Refusal,
    Text,
    Tool,
    ToolResult,
    ToolUse,
)
from backstay.providers.anthropic.tool_input import write_input
from backstay.providers.cache_markers import write_cache_marker
from backstay.providers.data_url import text_of
from backstay.providers.refusals import own_extras, refuse, refuse_openais_own
from backstay.providers.signatures import signature_for

DEFAULT_MAX_TOKENS = 8192
"""Output limit, in tokens, where the caller names none: this dialect demands one.

The most that every model sold since Claude 3.5 takes. Thinking with a budget gets the budget on top.
"""

OWN_FIELDS = frozenset({"cache_control", "container", "diagnostics", "inference_geo", "speed", "thinking"})
"""Fields of this dialect without a neutral form, by their top-level name: written back as they were read."""

HARMLESS_HINTS = {
    "annotations": "citations of an earlier answer, handed back with it",
    "include_obfuscation": "padding of a stream's chunks",
    "prompt_cache_breakpoint": "prompt caching never changes an answer",
    "prompt_cache_key": "prompt caching never changes an answer",
    "prompt_cache_options": "prompt caching never changes an answer",
    "prompt_cache_retention": "prompt caching never changes an answer",
}
"""OpenAI's fields that are left out because they cannot change the answer, each with the reason.

Besides: ``metadata`` (labels for OpenAI's dashboard; the trace has them), an image's ``detail`` (images are always seen
whole here), the name and strictness of a JSON schema (output always fits it here), and reasoning of earlier turns that
this dialect did not sign.
"""

_TARGET = "Anthropic's messages API"
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
"""OpenAI's reasoning efforts; ``minimal`` has no counterpart but ``low``, and ``none`` switches thinking off."""
_TIERS = {"auto": "auto", "default": "standard_only"}


def write_request(request: ChatRequest, model_id: str) -> bytes:
    """Write a request. Raises ``Untranslatable`` with the caller's name of what has no form here."""
    extras = own_extras(request.extras, own=OWN_FIELDS, harmless=HARMLESS_HINTS, target=_TARGET)
    refuse_openais_own(request, _TARGET)
    system, messages = _write_messages(request.messages)
    limit, budget = request.max_output_tokens, request.reasoning_budget_tokens
    body: dict[str, Any] = {
        "model": model_id,
        "max_tokens": DEFAULT_MAX_TOKENS + (budget or 0) if limit is None else limit,
        "messages": messages,
    }
    if system:
        body["system"] = system
    for name in ("temperature", "top_p", "top_k"):
        if (value := getattr(request, name)) is not None:
            body[name] = value
    if request.stop:
        body["stop_sequences"] = list(request.stop)
    if request.stream:
        body["stream"] = True
    if request.user is not None:
        body["metadata"] = {"user_id": request.user}
    if request.service_tier is not None:
        body["service_tier"] = _write_tier(request.service_tier)
    body |= _write_tools(request)
    body |= _write_reasoning(request)
    return msgspec.json.encode(body | extras)


def _write_tier(tier: str) -> str:
    if tier not in _TIERS:
        raise refuse("service_tier", f"{_TARGET} has no tier {tier!r}.")
    return _TIERS[tier]


def _write_tools(request: ChatRequest) -> dict[str, Any]:
    if not request.tools:
        return {}
    written: dict[str, Any] = {"tools": [_write_tool(tool) for tool in request.tools]}
    choice, parallel = request.tool_choice, request.parallel_tool_calls
    if choice is None and parallel is None:
        return written
    mode = "auto" if choice is None else choice.mode
    chosen: dict[str, Any] = {"type": mode}
    if choice is not None and choice.name is not None:
        chosen["name"] = choice.name
    if parallel is not None and mode != "none":
        chosen["disable_parallel_tool_use"] = not parallel
    return {**written, "tool_choice": chosen}


def _write_tool(tool: Tool) -> dict[str, Any]:
    written: dict[str, Any] = {"name": tool.name, "input_schema": {"type": "object", **tool.schema}}
    if tool.description is not None:
        written["description"] = tool.description
    if tool.strict is not None:
        written["strict"] = tool.strict
    return written | write_cache_marker(tool.cache)


def _write_reasoning(request: ChatRequest) -> dict[str, Any]:
    """Write effort, thinking and the JSON output's schema, which shares ``output_config`` with the effort."""
    written: dict[str, Any] = {}
    config: dict[str, Any] = {}
    effort = request.reasoning_effort
    if request.reasoning_budget_tokens is not None:
        written["thinking"] = {"type": "enabled", "budget_tokens": request.reasoning_budget_tokens}
    if effort == "none":
        written["thinking"] = {"type": "disabled"}
    elif effort is not None:
        if effort not in _EFFORTS:
            raise refuse("reasoning_effort", f"{_TARGET} knows no effort {effort!r}.")
        config["effort"] = _EFFORTS[effort]
    if request.output_format is not None:
        config["format"] = {"type": "json_schema", "schema": _schema(request.output_format)}
    return written | {"output_config": config} if config else written


def _schema(wanted: OutputFormat) -> dict[str, Any]:
    schema = wanted.schema or {}
    return schema if wanted.description is None else {"description": wanted.description, **schema}


def _write_messages(messages: Sequence[Message]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the ``system`` blocks and the messages."""
    system: list[dict[str, Any]] = []
    written: list[dict[str, Any]] = []
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        if message.name is not None:
            raise refuse(f"{path}.name", f"{_TARGET} has no names for speakers.")
        blocks = [block for block in _write_parts(message.parts, f"{path}.content") if block is not None]
        role = _role(message)
        if role == "system" and not written:
            system += blocks
        elif written and written[-1]["role"] == role:
            written[-1]["content"] += blocks
        elif blocks:
            written.append({"role": role, "content": blocks})
    if not written:
        raise refuse("messages", f"{_TARGET} needs at least one message that is not empty, besides the system's.")
    if written[-1]["role"] == "assistant":
        raise refuse(f"messages[{len(messages) - 1}]", f"{_TARGET} would go on with it instead of answering it.")
    for message in written:
        message["content"].sort(key=_after_tool_results)
    return system, written


def _role(message: Message) -> str:
    if message.role in ("system", "developer"):
        return "system"
    return "assistant" if message.role == "assistant" else "user"


def _after_tool_results(block: dict[str, Any]) -> bool:
    return block["type"] != "tool_result"


def _write_parts(parts: Sequence[Part], path: str) -> list[dict[str, Any] | None]:
    return [_write_part(part, f"{path}[{index}]") for index, part in enumerate(parts)]


def _write_part(part: Part, path: str) -> dict[str, Any] | None:
    """Write a part as a block; ``None`` where it says nothing, as this dialect refuses empty text."""
    match part:
        case Text():
            return {"type": "text", "text": part.text} | write_cache_marker(part.cache) if part.text else None
        case Refusal():
            return {"type": "text", "text": part.text} if part.text else None
        case Image():
            return _write_image(part, path)
        case Document():
            return _write_document(part, path)
        case ToolUse():
            use = {"type": "tool_use", "id": part.id, "name": part.name, "input": write_input(part.arguments)}
            return use | write_cache_marker(part.cache)
        case ToolResult():
            return _write_tool_result(part, path)
        case Reasoning():
            return _write_thinking(part)
        case Audio():
            raise refuse(f"{path}.input_audio", f"{_TARGET} takes no audio.")


def _write_thinking(part: Reasoning) -> dict[str, Any] | None:
    if part.redacted is not None:
        return {"type": "redacted_thinking", "data": part.redacted}
    signature = signature_for("anthropic", part.signature)
    if signature is None:
        return None
    return {"type": "thinking", "thinking": part.text, "signature": signature}


def _write_tool_result(part: ToolResult, path: str) -> dict[str, Any]:
    content = [block for block in _write_parts(part.parts, f"{path}.content") if block is not None]
    written: dict[str, Any] = {"type": "tool_result", "tool_use_id": part.tool_use_id, "content": content}
    if part.is_error:
        written["is_error"] = True
    return written | write_cache_marker(part.cache)


def _write_image(part: Image, path: str) -> dict[str, Any]:
    if part.data is not None:
        source = {"type": "base64", "media_type": part.media_type or "image/png", "data": part.data}
    elif part.url is not None:
        source = {"type": "url", "url": part.url}
    else:
        raise refuse(f"{path}.source", f"{_TARGET} takes an image by URL or inline.")
    return {"type": "image", "source": source} | write_cache_marker(part.cache)


def _write_document(part: Document, path: str) -> dict[str, Any]:
    source: dict[str, Any]
    text = part.text
    if text is None and part.data is not None and (part.media_type or "").startswith("text/"):
        text = text_of(part.data)
    if text is not None:
        source = {"type": "text", "media_type": "text/plain", "data": text}
    elif part.data is not None and part.media_type == "application/pdf":
        source = {"type": "base64", "media_type": part.media_type, "data": part.data}
    elif part.url is not None:
        source = {"type": "url", "url": part.url}
    elif part.file_id is not None and part.file_id.startswith("file_"):  # OpenAI's ids: file-…
        source = {"type": "file", "file_id": part.file_id}
    else:
        raise refuse(f"{path}.file", f"{_TARGET} takes PDF or plain text, inline.")
    written: dict[str, Any] = {"type": "document", "source": source}
    if part.name is not None:
        written["title"] = part.name
    return written | write_cache_marker(part.cache)
