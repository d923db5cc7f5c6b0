"""Owns the writing of a Converse request from neutral form. The model and whether to stream stand in the URL.

Translated rather than refused, because nothing of it is lost:
- system and developer messages at the beginning become ``system``; later ones keep their place, as role ``system``;
- neighbouring messages of one role become one, tool results first;
- cache markers become ``cachePoint`` blocks behind what they mark; one inside a tool's result goes behind the result;
- a document's name keeps the characters that Bedrock allows, and gets a number where it is there twice;
- tool arguments that are not JSON travel inside an object (``tool_input``);
- no tools are sent where none may be called (``tool_choice`` ``none``), unless the conversation has calls already;
- the end user and the labels become ``requestMetadata``, those that fit into it: no label changes an answer.

Source: botocore 1.44.8, ``data/bedrock-runtime/2023-09-30/service-2.json``: ``ConverseRequest`` (2026-11).
"""

import re
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
from backstay.providers.bedrock.media import TARGET, DocumentNames, write_audio, write_document, write_image
from backstay.providers.bedrock.models import Family, family_of, write_effort, write_model_fields
from backstay.providers.bedrock.response import write_reasoning
from backstay.providers.caller_paths import message_path, tool_result_path
from backstay.providers.refusals import own_extras, refuse, refuse_openais_own
from backstay.providers.signatures import signature_for

STOP_SEQUENCE_PATH = "/stop_sequence"
"""Where Anthropic's models say which sequence stopped them."""

USER_LABEL = "user_id"

OWN_FIELDS = frozenset(
    {
        "additionalModelRequestFields",
        "additionalModelResponseFieldPaths",
        "guardrailConfig",
        "performanceConfig",
        "projectIdentifier",
        "promptVariables",
    }
)
"""Fields of this dialect without a neutral form, by their top-level name: written back as they were read."""

HARMLESS_HINTS = {
    "annotations": "citations of an earlier answer, handed back with it",
    "caller": "who ran a tool call that is already done",
    "diagnostics": "asks for cache diagnostics beside the answer",
    "include_obfuscation": "padding of a stream's chunks",
    "prompt_cache_breakpoint": "prompt caching never changes an answer",
    "prompt_cache_key": "prompt caching never changes an answer",
    "prompt_cache_options": "prompt caching never changes an answer",
    "prompt_cache_retention": "prompt caching never changes an answer",
}
"""Others' fields that are left out because they cannot change the answer, each with the reason.

Besides: an image's ``detail`` (images are always seen whole here), the strictness of a JSON schema (output always fits
it here), and reasoning of earlier turns that nobody signed, or another vendor's models did.
"""

_TIERS = ("default", "flex", "priority", "reserved")
_LABEL = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{0,256}")
_MOST_LABELS = 16


def write_request(request: ChatRequest, model_id: str) -> bytes:
    """Write a request. Raises ``Untranslatable`` with the caller's name of what has no form here."""
    family = family_of(model_id)
    extras = _own_extras(request, family)
    refuse_openais_own(request, TARGET)
    system, messages = _MessageWriter(request).write()
    body: dict[str, Any] = {"messages": messages}
    if system:
        body["system"] = system
    body |= _write_inference(request)
    body |= _write_tools(request)
    body |= _write_output(request, write_effort(request, family))
    body |= _write_labels(request)
    if request.service_tier not in (None, "auto"):
        body["serviceTier"] = {"type": _tier(request.service_tier)}
    if request.stop and family == "anthropic":
        body["additionalModelResponseFieldPaths"] = [STOP_SEQUENCE_PATH]
    own = write_model_fields(request, family)
    if own:
        body["additionalModelRequestFields"] = extras.pop("additionalModelRequestFields", {}) | own
    return msgspec.json.encode(body | extras)


def _own_extras(request: ChatRequest, family: Family) -> dict[str, Any]:
    """Return the extras that go as they are."""
    extras = dict(request.extras)
    if family == "anthropic":
        extras.pop("thinking", None)  # adaptive: one of the model's own fields
    return own_extras(extras, own=OWN_FIELDS, harmless=HARMLESS_HINTS, target=TARGET)


def _tier(tier: str | None) -> str:
    if tier not in _TIERS:
        raise refuse("service_tier", f"{TARGET} has no tier {tier!r}.")
    return tier


def _write_inference(request: ChatRequest) -> dict[str, Any]:
    config = {
        "maxTokens": request.max_output_tokens,
        "temperature": request.temperature,
        "topP": request.top_p,
        "stopSequences": list(request.stop) or None,
    }
    config = {name: value for name, value in config.items() if value is not None}
    return {"inferenceConfig": config} if config else {}


def _write_tools(request: ChatRequest) -> dict[str, Any]:
    choice = request.tool_choice
    if not request.tools:
        return {}
    if choice is not None and choice.mode == "none":
        if any(isinstance(part, ToolUse | ToolResult) for message in request.messages for part in message.parts):
            raise refuse("tool_choice", f"{TARGET} cannot forbid calls where the conversation has some already.")
        return {}
    tools = [block for tool in request.tools for block in (_write_tool(tool), *_cache_point(tool.cache))]
    if choice is None:
        return {"toolConfig": {"tools": tools}}
    chosen = {choice.mode: {} if choice.name is None else {"name": choice.name}}
    return {"toolConfig": {"tools": tools, "toolChoice": chosen}}


def _write_tool(tool: Tool) -> dict[str, Any]:
    spec: dict[str, Any] = {"name": tool.name, "inputSchema": {"json": {"type": "object", **tool.schema}}}
    if tool.description:
        spec["description"] = tool.description
    if tool.strict is not None:
        spec["strict"] = tool.strict
    return {"toolSpec": spec}


def _write_output(request: ChatRequest, effort: str | None) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if request.output_format is not None:
        config["textFormat"] = {"type": "json_schema", "structure": {"jsonSchema": _schema(request.output_format)}}
    if effort is not None:
        config["effort"] = effort
    return {"outputConfig": config} if config else {}


def _schema(wanted: OutputFormat) -> dict[str, Any]:
    written: dict[str, Any] = {"schema": msgspec.json.encode(wanted.schema).decode()}
    if wanted.name is not None:
        written["name"] = wanted.name
    if wanted.description is not None:
        written["description"] = wanted.description
    return written


def _write_labels(request: ChatRequest) -> dict[str, Any]:
    labels = dict(request.metadata or {})
    if request.user is not None:
        labels = {USER_LABEL: request.user} | labels
    fitting = {name: value for name, value in labels.items() if name and _fits(name) and _fits(value)}
    kept = dict(list(fitting.items())[:_MOST_LABELS])
    return {"requestMetadata": kept} if kept else {}


def _fits(label: str) -> bool:
    return _LABEL.fullmatch(label) is not None


def _cache_point(ttl: str | None) -> list[dict[str, Any]]:
    """Write a marker; nothing where there is none. Five minutes go without saying: not every model takes a time."""
    if ttl is None:
        return []
    return [{"cachePoint": {"type": "default"} if ttl == "5m" else {"type": "default", "ttl": ttl}}]


class _MessageWriter:
    """Writes the messages of one request."""

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._names = DocumentNames()

    def write(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return the ``system`` blocks and the messages."""
        system: list[dict[str, Any]] = []
        written: list[dict[str, Any]] = []
        for index, message in enumerate(self._request.messages):
            path = message_path(self._request, index)
            if message.name is not None:
                raise refuse(f"{path}.name", f"{TARGET} has no names for speakers.")
            blocks = self._write_parts(message.parts, path)
            role = _role(message)
            if role == "system" and not written:
                system += blocks
            elif written and written[-1]["role"] == role:
                written[-1]["content"] += blocks
            elif blocks:
                written.append({"role": role, "content": blocks})
        if not written:
            raise refuse("messages", f"{TARGET} needs at least one message that is not empty, besides the system's.")
        if written[-1]["role"] == "assistant":
            path = message_path(self._request, len(self._request.messages) - 1)
            raise refuse(path, f"{TARGET} would go on with it instead of answering it.")
        for message in written:
            message["content"] = _results_first(message["content"])
        return system, written

    def _write_parts(self, parts: Sequence[Part], path: str) -> list[dict[str, Any]]:
        blocks: list[dict[str, Any]] = []
        for index, part in enumerate(parts):
            place = f"{path}.content[{index}]"
            if isinstance(part, ToolResult):
                place = tool_result_path(self._request, path, index)
            block = self._write_part(part, place)
            if block is not None:
                blocks += [block, *_cache_point(_cache_of(part))]
        return blocks

    def _write_part(self, part: Part, path: str) -> dict[str, Any] | None:
        """Write a part as a block; ``None`` where it says nothing, as this dialect refuses blank text."""
        match part:
            case Text() | Refusal():
                return {"text": part.text} if part.text.strip() else None
            case Image():
                return write_image(part, path)
            case Document():
                return write_document(part, path, self._names.name(part.name))
            case Audio():
                return write_audio(part, path)
            case ToolUse():
                return {"toolUse": {"toolUseId": part.id, "name": part.name, "input": write_input(part.arguments)}}
            case ToolResult():
                return {"toolResult": self._write_result(part, path)}
            case Reasoning():
                return _write_thought(part)

    def _write_result(self, part: ToolResult, path: str) -> dict[str, Any]:
        content = [self._write_part(inner, f"{path}.content[{index}]") for index, inner in enumerate(part.parts)]
        written: dict[str, Any] = {"toolUseId": part.tool_use_id, "content": [block for block in content if block]}
        return {**written, "status": "error"} if part.is_error else written


def _write_thought(part: Reasoning) -> dict[str, Any] | None:
    """Write a thought that goes back to who signed it: Anthropic's models take their own, wherever they were sold."""
    if part.redacted is None and signature_for("anthropic", part.signature) is None:
        return None
    return {"reasoningContent": write_reasoning(part)}


def _role(message: Message) -> str:
    if message.role in ("system", "developer"):
        return "system"
    return "assistant" if message.role == "assistant" else "user"


def _cache_of(part: Part) -> str | None:
    match part:
        case ToolResult():
            return part.cache or next((inner.cache for inner in part.parts if inner.cache is not None), None)
        case Text() | Image() | Document() | ToolUse():
            return part.cache
        case _:
            return None


def _results_first(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put tool results before all else, each with the cache point behind it."""
    first: list[dict[str, Any]] = []
    rest: list[dict[str, Any]] = []
    goal = rest
    for block in blocks:
        if "cachePoint" not in block:
            goal = first if "toolResult" in block else rest
        goal.append(block)
    return first + rest
