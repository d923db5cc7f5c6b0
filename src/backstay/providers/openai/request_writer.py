"""Owns the writing of a chat completions request from neutral form.

Translated rather than refused, because nothing of it is lost:
- a failed tool result says so in its text (``TOOL_ERROR_PREFIX``): tool messages have no flag for it;
- a plain-text document becomes a text part between ``<document>`` tags;
- several system messages stay where they are.
"""

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
    ToolChoice,
    ToolResult,
    ToolUse,
)
from backstay.providers.data_url import write_data_url
from backstay.providers.openai.response import write_tool_call
from backstay.providers.openai.wire import SERVICE_TIERS
from backstay.providers.refusals import own_extras, refuse, refuse_fields

OWN_FIELDS = frozenset(
    {
        "audio",
        "function_call",
        "functions",
        "modalities",
        "moderation",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "store",
        "verbosity",
        "web_search_options",
    }
)
"""Fields of this dialect without a neutral form, by their top-level name: written back as they were read."""

HARMLESS_HINTS = {
    "cache_control": "a prompt-cache marker; this dialect caches by itself, and caching never changes an answer",
    "thinking": "adaptive thinking is what this dialect's reasoning models do unasked",
    "display": "how thinking is shown; chat completions do not show it",
    "caller": "who ran a tool call that is already done",
    "diagnostics": "asks for cache diagnostics beside the answer",
}
"""Anthropic's fields that are left out because they cannot change the answer, each with the reason.

Besides: the reasoning of earlier turns, for which chat completions have no place (OpenAI's models discard it between
turns too), and the cache markers of neutral parts.
"""

TOOL_ERROR_PREFIX = "Error: "

_TARGET = "OpenAI's chat completions"


class Quirks(msgspec.Struct, frozen=True, kw_only=True):
    """How a server's reading of the dialect differs from OpenAI's own."""

    output_limit: str = "max_completion_tokens"
    """Its field for the longest output: OpenAI's newer models refuse ``max_tokens``, other servers know only that."""
    has_developer_role: bool = True
    reports_stream_usage: bool = True
    """Whether it takes ``stream_options``."""
    user: str | None = "user"
    """Its field for the end user; ``None``: it refuses unknown fields and has none."""


def write_request(request: ChatRequest, model_id: str, quirks: Quirks) -> bytes:
    """Write a request. Raises ``Untranslatable`` with the caller's name of what has no form here."""
    extras = own_extras(request.extras, own=OWN_FIELDS, harmless=HARMLESS_HINTS, target=_TARGET)
    refuse_fields({"top_k": request.top_k, "thinking.budget_tokens": request.reasoning_budget_tokens}, _TARGET)
    body: dict[str, Any] = {"model": model_id, "messages": _write_messages(request, quirks)}
    body |= {name: value for name, value in _sampling(request, quirks).items() if value is not None}
    if request.stop:
        body["stop"] = list(request.stop)
    if request.candidates != 1:
        body["n"] = request.candidates
    if request.logprobs:
        body["logprobs"] = True
    if request.tools:
        body["tools"] = [_write_tool(tool) for tool in request.tools]
        if request.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = request.parallel_tool_calls
    if request.tool_choice is not None:
        body["tool_choice"] = _write_tool_choice(request.tool_choice)
    if request.output_format is not None:
        body["response_format"] = _write_output_format(request.output_format)
    if request.stream:
        body["stream"] = True
        if request.stream_usage and quirks.reports_stream_usage:
            body["stream_options"] = {"include_usage": True}
    return msgspec.json.encode(body | extras)


def _sampling(request: ChatRequest, quirks: Quirks) -> dict[str, Any]:
    if request.service_tier is not None and request.service_tier not in SERVICE_TIERS:
        raise refuse("service_tier", f"{_TARGET} have no tier {request.service_tier!r}.")
    fields: dict[str, Any] = {
        quirks.output_limit: request.max_output_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "frequency_penalty": request.frequency_penalty,
        "presence_penalty": request.presence_penalty,
        "logit_bias": _write_biases(request.logit_bias),
        "seed": request.seed,
        "top_logprobs": request.top_logprobs,
        "reasoning_effort": request.reasoning_effort,
        "metadata": request.metadata,
        "service_tier": request.service_tier,
    }
    if quirks.user is not None:
        fields[quirks.user] = request.user
    return fields


def _write_biases(biases: dict[str, float] | None) -> dict[str, float] | None:
    """Write whole numbers as such: OpenAI takes no others."""
    if biases is None:
        return None
    return {token: int(bias) if bias.is_integer() else bias for token, bias in biases.items()}


def _write_messages(request: ChatRequest, quirks: Quirks) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    shift = 0
    for index, message in enumerate(request.messages):
        if index == 0 and message.role == "system":  # a caller of Anthropic's dialect has it outside of `messages`
            path, shift = "system", 1
        else:
            path = f"messages[{index - shift}]"
        messages += _write_message(message, path, quirks)
    last = request.messages[-1]
    if last.role == "assistant":
        path = f"messages[{len(request.messages) - 1 - shift}]"
        raise refuse(path, f"{_TARGET} cannot go on from a beginning of the answer.")
    return messages


def _write_message(message: Message, path: str, quirks: Quirks) -> list[dict[str, Any]]:
    """Write a message; the tool results in it become messages of their own, before the rest."""
    if message.role == "assistant":
        return [_write_assistant(message, path)]
    written: list[dict[str, Any]] = []
    content: list[dict[str, Any]] = []
    for index, part in enumerate(message.parts):
        place = f"{path}.content[{index}]"
        if isinstance(part, ToolResult):
            written.append(_write_tool_result(part, place))
        else:
            content.append(_write_part(part, place))
    if content or not message.parts:
        role = "system" if message.role == "developer" and not quirks.has_developer_role else message.role
        named = {} if message.name is None else {"name": message.name}
        written.append({"role": role, "content": _simplest(content), **named})
    return written


def _simplest(content: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Write a single text as a plain string, which every server takes."""
    if not content:
        return ""
    return content[0]["text"] if len(content) == 1 and content[0]["type"] == "text" else content


def _write_assistant(message: Message, path: str) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    refusal = ""
    for index, part in enumerate(message.parts):
        if isinstance(part, ToolUse):
            calls.append(write_tool_call(part))
        elif isinstance(part, Refusal):
            refusal += part.text
        elif isinstance(part, Text):
            content.append({"type": "text", "text": part.text})
        elif not isinstance(part, Reasoning):
            raise refuse(f"{path}.content[{index}]", f"{_TARGET} take only text and tool calls from the assistant.")
    written: dict[str, Any] = {"role": "assistant", "content": _simplest(content) if content or not calls else None}
    if refusal:
        written |= {"content": _simplest(content) if content else None, "refusal": refusal}
    if calls:
        written["tool_calls"] = calls
    return written if message.name is None else {**written, "name": message.name}


def _write_tool_result(result: ToolResult, path: str) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    for index, part in enumerate(result.parts):
        if isinstance(part, Image) or (isinstance(part, Document) and part.text is None):
            raise refuse(f"{path}.content[{index}]", f"{_TARGET} take only text from a tool.")
        content.append(_write_part(part, f"{path}.content[{index}]"))
    written = _simplest(content)
    if result.is_error:
        if isinstance(written, str):
            written = TOOL_ERROR_PREFIX + written
        else:
            written = [{"type": "text", "text": TOOL_ERROR_PREFIX}, *written]
    return {"role": "tool", "tool_call_id": result.tool_use_id, "content": written}


def _write_part(part: Part, path: str) -> dict[str, Any]:
    match part:
        case Text():
            return {"type": "text", "text": part.text}
        case Image(data=str() as data):
            return _write_image(write_data_url(part.media_type or "image/png", data), part.detail)
        case Image(url=str() as url):
            return _write_image(url, part.detail)
        case Audio():
            return {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
        case Document():
            return _write_document(part, path)
        case _:
            raise refuse(path, f"{_TARGET} have no form for it here.")


def _write_image(url: str, detail: str | None) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url} if detail is None else {"url": url, "detail": detail}}


def _write_document(part: Document, path: str) -> dict[str, Any]:
    if part.text is not None:
        title = "" if part.name is None else f' title="{part.name}"'
        return {"type": "text", "text": f"<document{title}>\n{part.text}\n</document>"}
    if part.data is not None:
        url = write_data_url(part.media_type or "application/pdf", part.data)
        return {"type": "file", "file": {"filename": part.name or "document.pdf", "file_data": url}}
    if part.file_id is not None and not part.file_id.startswith("file_"):  # Anthropic's ids; OpenAI's: file-…
        return {"type": "file", "file": {"file_id": part.file_id}}
    raise refuse(f"{path}.source", f"{_TARGET} take a document only inline.")


def _write_tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.schema}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _write_tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    if choice.mode == "tool":
        return {"type": "function", "function": {"name": choice.name}}
    return "required" if choice.mode == "any" else choice.mode


def _write_output_format(wanted: OutputFormat) -> dict[str, Any]:
    if wanted.schema is None:
        return {"type": "json_object"}
    schema: dict[str, Any] = {"name": wanted.name or "answer", "schema": wanted.schema}
    if wanted.description is not None:
        schema["description"] = wanted.description
    if wanted.strict is not None:
        schema["strict"] = wanted.strict
    return {"type": "json_schema", "json_schema": schema}
