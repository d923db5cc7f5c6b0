"""Owns the writing of a responses request from neutral form.

Translated rather than refused, because nothing of it is lost:
- a system message that stands first becomes ``instructions``; others keep their place;
- a failed tool result says so in its text, a plain-text document stands between tags: as in chat completions.
Conversations are not stored at OpenAI unless the caller said so: other dialects send them whole each time.
"""

import re
from typing import Any

import msgspec

from backstay.core.chat import (
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
from backstay.providers.caller_paths import field_path
from backstay.providers.data_url import write_data_url
from backstay.providers.openai.request_writer import HARMLESS_HINTS, TOOL_ERROR_PREFIX
from backstay.providers.refusals import own_extras, refuse, refuse_fields
from backstay.providers.responses import wire
from backstay.providers.responses.response import write_content

OWN_FIELDS = frozenset(
    {"moderation", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "store", "verbosity"}
)
"""Fields of this dialect without a neutral form, by the name that they have in OpenAI's other dialect too."""

_TARGET = "OpenAI's responses API"


def write_request(request: ChatRequest, model_id: str) -> bytes:
    """Write a request. Raises ``Untranslatable`` with the caller's name of what has no form here."""
    extras = own_extras(request.extras, own=OWN_FIELDS, harmless=HARMLESS_HINTS, target=_TARGET)
    _refuse_fields(request)
    body: dict[str, Any] = {"model": model_id, "store": False, **_write_said(request)}
    body |= {name: value for name, value in _options(request).items() if value is not None}
    text: dict[str, Any] = {}
    if request.output_format is not None:
        text["format"] = _write_output_format(request.output_format)
    if (verbosity := extras.pop("verbosity", None)) is not None:
        text["verbosity"] = verbosity
    if text:
        body["text"] = text
    if request.tools:
        body["tools"] = [_write_tool(tool) for tool in request.tools]
        if request.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = request.parallel_tool_calls
    if request.tool_choice is not None:
        body["tool_choice"] = _write_tool_choice(request.tool_choice)
    if request.stream:
        body["stream"] = True
    return msgspec.json.encode(body | extras)


def _refuse_fields(request: ChatRequest) -> None:
    fields = {
        "top_k": request.top_k,
        "thinking.budget_tokens": request.reasoning_budget_tokens,
        "n": request.candidates if request.candidates != 1 else None,
        field_path(request, "stop"): request.stop,
        "logit_bias": request.logit_bias,
        "frequency_penalty": request.frequency_penalty,
        "presence_penalty": request.presence_penalty,
    }
    refuse_fields(fields, _TARGET)
    if request.seed is not None:
        raise refuse("seed", f"{_TARGET} has no form for it.")
    if request.service_tier is not None and request.service_tier not in wire.SERVICE_TIERS:
        raise refuse("service_tier", f"{_TARGET} has no tier {request.service_tier!r}.")


def _options(request: ChatRequest) -> dict[str, Any]:
    effort, include = request.reasoning_effort, list[str]()
    if effort not in (None, "none"):
        include.append(wire.ENCRYPTED_REASONING)
    if request.logprobs:
        include.append(wire.LOGPROBS)
    return {
        "max_output_tokens": request.max_output_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_logprobs": request.top_logprobs,
        "include": include or None,
        "reasoning": None if effort is None else {"effort": effort},
        "metadata": request.metadata,
        "service_tier": request.service_tier,
        "user": request.user,
    }


def _write_said(request: ChatRequest) -> dict[str, Any]:
    """Write ``instructions`` and ``input``."""
    messages, written = request.messages, dict[str, Any]()
    shift, first, last = 0, messages[0], messages[-1]
    if first.role == "system" and len(first.parts) == 1 and isinstance(first.parts[0], Text) and len(messages) > 1:
        written["instructions"] = first.parts[0].text
        shift = 1
    items: list[dict[str, Any]] = []
    for index, message in enumerate(messages[shift:]):
        items += _write_message(message, f"messages[{index + shift}]")
    if last.role == "assistant":
        raise refuse(f"messages[{len(messages) - 1}]", f"{_TARGET} cannot go on from a beginning of the answer.")
    return {**written, "input": items}


def _write_message(message: Message, path: str) -> list[dict[str, Any]]:
    """Write a message as items: what was said, and each tool call and result as one of its own."""
    if message.name is not None:
        raise refuse(f"{path}.name", f"{_TARGET} has no names for speakers.")
    items: list[dict[str, Any]] = []
    for index, part in enumerate(message.parts):
        place = f"{path}.content[{index}]"
        match part:
            case ToolUse():
                call = {"call_id": part.id, "name": part.name, "arguments": part.arguments}
                items.append({"type": "function_call", **call})
            case ToolResult():
                output = _write_output(part, place)
                items.append({"type": "function_call_output", "call_id": part.tool_use_id, "output": output})
            case Reasoning():
                items += _write_reasoning(part)
            case _:
                if not items or items[-1]["type"] != "message":
                    items.append({"type": "message", "role": message.role, "content": []})
                items[-1]["content"].append(_write_part(part, message.role == "assistant", place))
    return [_simplest(item, f"msg_{path}") if message.role == "assistant" else item for item in items]


def _simplest(item: dict[str, Any], name: str) -> dict[str, Any]:
    """Write what the assistant said as a plain text, where it is one; else as a whole item, which needs an id."""
    if item["type"] != "message":
        return item
    if [part["type"] for part in item["content"]] == ["output_text"]:
        return {**item, "content": item["content"][0]["text"]}
    return {**item, "id": re.sub(r"\W+", "_", name).rstrip("_"), "status": "completed"}


def _write_reasoning(part: Reasoning) -> list[dict[str, Any]]:
    """Write thoughts that OpenAI signed; those of other vendors' models say nothing to it."""
    own = None if part.signature is None else wire.split_signature(part.signature)
    if own is None:
        return []
    summary = [{"type": "summary_text", "text": part.text}] if part.text else []
    return [{"type": "reasoning", "id": own[0], "summary": summary, "encrypted_content": own[1]}]


def _write_part(part: Part, is_said: bool, path: str) -> dict[str, Any]:
    match part:
        case Text() | Refusal() if is_said:
            return write_content(part)
        case Text():
            return {"type": "input_text", "text": part.text}
        case Image(url=str() as url) if not is_said:
            return _write_image(url, part.detail)
        case Image(data=str() as data) if not is_said:
            return _write_image(write_data_url(part.media_type or "image/png", data), part.detail)
        case Document() if not is_said:
            return _write_document(part, path)
        case _:
            raise refuse(path, f"{_TARGET} has no form for it here.")


def _write_image(url: str, detail: str | None) -> dict[str, Any]:
    return {"type": "input_image", "image_url": url, "detail": detail or "auto"}


def _write_document(part: Document, path: str) -> dict[str, Any]:
    if part.text is not None:
        title = "" if part.name is None else f' title="{part.name}"'
        return {"type": "input_text", "text": f"<document{title}>\n{part.text}\n</document>"}
    if part.data is not None:
        url = write_data_url(part.media_type or "application/pdf", part.data)
        return {"type": "input_file", "filename": part.name or "document.pdf", "file_data": url}
    if part.url is not None:
        return {"type": "input_file", "file_url": part.url}
    if part.file_id is not None and not part.file_id.startswith("file_"):  # Anthropic's ids; OpenAI's: file-…
        return {"type": "input_file", "file_id": part.file_id}
    raise refuse(f"{path}.source", f"{_TARGET} takes a document inline, by URL or by a file's id of OpenAI's.")


def _write_output(result: ToolResult, path: str) -> str | list[dict[str, Any]]:
    content = [_write_part(part, False, f"{path}.content[{index}]") for index, part in enumerate(result.parts)]
    if len(content) == 1 and content[0]["type"] == "input_text":
        return (TOOL_ERROR_PREFIX if result.is_error else "") + content[0]["text"]
    if result.is_error:
        return [{"type": "input_text", "text": TOOL_ERROR_PREFIX}, *content]
    return content


def _write_tool(tool: Tool) -> dict[str, Any]:
    """Write a function. Here strictness is on unless it is switched off, in the other dialects it is the other way."""
    described = {} if tool.description is None else {"description": tool.description}
    strict = bool(tool.strict)
    return {"type": "function", "name": tool.name, **described, "parameters": tool.schema, "strict": strict}


def _write_tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    if choice.mode == "tool":
        return {"type": "function", "name": choice.name}
    return "required" if choice.mode == "any" else choice.mode


def _write_output_format(wanted: OutputFormat) -> dict[str, Any]:
    if wanted.schema is None:
        return {"type": "json_object"}
    schema: dict[str, Any] = {"type": "json_schema", "name": wanted.name or "answer", "schema": wanted.schema}
    if wanted.description is not None:
        schema["description"] = wanted.description
    if wanted.strict is not None:
        schema["strict"] = wanted.strict
    return schema
