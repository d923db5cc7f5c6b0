"""Owns whole responses: reading, summing up and writing, with what the wire repeats of its request."""

import re
from collections.abc import Sequence
from typing import Any, cast

import msgspec

from backstay.core.chat import ChatResponse, Choice, FinishReason, Part, Reasoning, Refusal, Text, ToolUse
from backstay.core.errors import ProviderError, ProviderUnreadable
from backstay.providers.decoding import decode_answer
from backstay.providers.openai.errors import read_error_object
from backstay.providers.openai.response import arguments_text
from backstay.providers.responses import wire
from backstay.providers.types import Fields, ReplySummary

_whole = msgspec.json.Decoder(wire.Whole)

_ITEM_ID = re.compile(r"(?:msg|fc|rs_bs)_(\w+)_\d+", re.ASCII)

FAILED = "The model's provider failed before the answer was complete."


def read_summary(body: bytes) -> ReplySummary:
    """Read what the books need of a response. Raises ``ProviderError`` if it is none."""
    found = decode_answer(_whole, body)
    return summarize_whole(found, has_refusal=_has_refusal(found))


def summarize_whole(found: wire.Whole, *, has_refusal: bool) -> ReplySummary:
    """Take from a response what the books need."""
    has_tools = any(item.type == "function_call" for item in found.output)
    reason = wire.read_finish(found, has_tools=has_tools, has_refusal=has_refusal)
    return ReplySummary(
        id=found.id or None,
        model=found.model or None,
        usage=wire.read_usage(found.usage, count_searches(found), count_storage_searches(found)),
        finish_reasons=() if reason is None else (reason,),
        service_tier=found.service_tier,
    )


def count_searches(found: wire.Whole) -> int:
    """Count the searches of the hosted web search, which are billed one by one; to open a page costs nothing.

    Source: OpenAI's guide "web search", ``action`` of ``web_search_call``: "search actions incur a tool call cost".
    """
    return sum(item.type == "web_search_call" and _is_search(item.action) for item in found.output)


def count_storage_searches(found: wire.Whole) -> int:
    """Count the calls of the hosted file search, which are billed one by one. Source: OpenAI's pricing (2026-11)."""
    return sum(item.type == "file_search_call" for item in found.output)


def _is_search(action: Any) -> bool:
    return not isinstance(action, dict) or cast("dict[str, Any]", action).get("type", "search") == "search"


def _has_refusal(found: wire.Whole) -> bool:
    messages = [item for item in found.output if item.type == "message" and b'"refusal"' in bytes(item.content)]
    return any(part.type == "refusal" for item in messages for part in _contents(item.content))


def _contents(raw: msgspec.Raw) -> list[wire.Content]:
    try:
        return wire.read_contents(raw)
    except msgspec.DecodeError as error:
        raise ProviderUnreadable(f"The provider's answer cannot be read: {error}.") from None


def read_response(body: bytes) -> ChatResponse:
    """Read a response whole. Raises ``ProviderError`` if it is none, or one that says that it failed.

    Items of hosted tools have no neutral form and are left out: only a caller of this same dialect can ask for them.
    """
    found = decode_answer(_whole, body)
    if found.status == "failed":
        message, code = read_error_object(found.error)
        raise ProviderError(message, provider_code=code, retryable=True)
    parts: list[Part] = []
    logprobs: list[Any] = []
    for item in found.output:
        parts += _read_item(item, logprobs)
    reason = wire.read_finish(
        found,
        has_tools=any(isinstance(part, ToolUse) for part in parts),
        has_refusal=any(isinstance(part, Refusal) for part in parts),
    )
    choice = Choice(
        index=0,
        parts=tuple(parts),
        finish_reason=reason,
        logprobs=wire.read_logprobs(logprobs) if logprobs else None,
    )
    return ChatResponse(
        id=found.id,
        model=found.model,
        created_s=int(found.created_at or 0),
        choices=(choice,),
        usage=wire.read_usage(found.usage, count_searches(found), count_storage_searches(found)),
        service_tier=found.service_tier,
    )


def _read_item(item: wire.Item, logprobs: list[Any]) -> list[Part]:
    match item.type:
        case "message":
            contents = _contents(item.content)
            for content in contents:
                logprobs += content.logprobs or ()
            return [
                Refusal(text=content.refusal) if content.type == "refusal" else Text(text=content.text)
                for content in contents
            ]
        case "function_call":
            return [read_call(item)]
        case "reasoning":
            part = read_reasoning(item)
            return [] if part is None else [part]
        case _:
            return []


def read_call(item: wire.Item) -> ToolUse:
    """Read a function's call."""
    return ToolUse(id=str(item.call_id), name=str(item.name), arguments=arguments_text(item.arguments))


def read_reasoning(item: wire.Item) -> Reasoning | None:
    """Read a reasoning item: its summary, or its text where a server shows that; ``None`` where it says nothing."""
    shown = _contents(item.summary) or _contents(item.content)
    text, encrypted = "\n\n".join(part.text for part in shown), item.encrypted_content
    if encrypted is None:
        return Reasoning(text=text) if text else None
    if encrypted.startswith(wire.REDACTED):
        return Reasoning(text=text, redacted=encrypted.removeprefix(wire.REDACTED))
    return Reasoning(text=text, signature=wire.read_signature(item.id, encrypted))


class Echo(msgspec.Struct, frozen=True, kw_only=True):
    """What one call's response repeats of its request, and the name that it gets."""

    fields: Fields = {}
    """The caller's own."""
    response_id: str | None = None
    """The id of a response that is written here; ``None``: the provider's own."""


_DEFAULTS: dict[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
}
"""What a response repeats of its request, and what it says where the request was silent."""

_OPTIONAL = ("prompt_cache_key", "safety_identifier", "user")
"""What is repeated only where it was said."""


def write_head(echo: Echo, *, response_id: str, model: str, created_s: int) -> dict[str, Any]:
    """Write what a response says from its beginning on."""
    head: dict[str, Any] = {"id": response_id, "object": "response", "created_at": created_s, "model": model}
    for name, default in _DEFAULTS.items():
        raw = echo.fields.get(name, msgspec.Raw(b"null"))
        head[name] = default if bytes(raw) == b"null" else raw
    for name in _OPTIONAL:
        if name in echo.fields and bytes(echo.fields[name]) != b"null":
            head[name] = echo.fields[name]
    if head["tools"]:
        head["tools"] = [_write_tool(tool) for tool in msgspec.json.decode(head["tools"])]
    return head


def _write_tool(tool: dict[str, Any]) -> dict[str, Any]:
    """Write what a function may leave out in a request, but not in a response."""
    return {"parameters": None, "strict": True, **tool} if tool.get("type") == "function" else tool


def write_ending(
    reason: FinishReason, response: ChatResponse, output: Sequence[dict[str, Any]], *, now_s: int
) -> dict[str, Any]:
    """Write what a response says at its end. A refusal that the model put into words is a complete answer."""
    status, details, error = "completed", None, None
    refused = any(part["type"] == "refusal" for item in output for part in item.get("content", ()))
    if reason == "length":
        status, details = "incomplete", {"reason": "max_output_tokens"}
    elif reason in ("content_filter", "refusal") and not refused:
        status, details = "incomplete", {"reason": "content_filter"}
    elif reason == "error":
        status, error = "failed", {"code": "server_error", "message": FAILED}
    ending: dict[str, Any] = {
        "status": status,
        "completed_at": now_s if status == "completed" else None,
        "error": error,
        "incomplete_details": details,
        "output": output,
        "usage": wire.write_usage(response.usage),
    }
    if response.service_tier in wire.SERVICE_TIERS:
        ending["service_tier"] = response.service_tier
    return ending


def write_response(response: ChatResponse, echo: Echo, *, now_s: int) -> bytes:
    """Write a response. Of several candidates the first is written: the wire has room for one."""
    response_id = name_response(response.id, echo)
    choice = response.choices[0]
    head = write_head(echo, response_id=response_id, model=response.model, created_s=response.created_s)
    output = write_output(choice, response_id)
    return msgspec.json.encode(head | write_ending(choice.finish_reason or "stop", response, output, now_s=now_s))


def name_response(answer_id: str, echo: Echo) -> str:
    """Return a response's id: an answer that is one already keeps its own, as its provider knows it by that."""
    return answer_id if echo.response_id is None or answer_id.startswith("resp_") else echo.response_id


def item_id(kind: str, response_id: str, index: int) -> str:
    """Name an output item after its response and its place."""
    prefix = {"message": "msg_", "function_call": "fc_", "reasoning": wire.OWN_REASONING}[kind]
    return f"{prefix}{response_id.removeprefix('resp_')}_{index}"


def response_of(name: str) -> str | None:
    """Return the id of the response that an item written here belongs to; ``None`` for the name of another item."""
    found = _ITEM_ID.fullmatch(name)
    return None if found is None else f"resp_{found[1]}"


def write_output(choice: Choice, response_id: str) -> list[dict[str, Any]]:
    """Write an answer's parts as items; texts and refusals that follow one another are one message."""
    output: list[dict[str, Any]] = []
    logprobs = wire.write_logprobs(choice.logprobs)
    for part in choice.parts:
        match part:
            case Text() | Refusal():
                if not output or output[-1]["type"] != "message":
                    output.append(write_message(item_id("message", response_id, len(output)), "completed"))
                content = write_content(part)
                if isinstance(part, Text):
                    content["logprobs"], logprobs = logprobs, []
                output[-1]["content"].append(content)
            case ToolUse():
                output.append(write_call(part, item_id("function_call", response_id, len(output)), "completed"))
            case Reasoning():
                output.append(write_reasoning(part, item_id("reasoning", response_id, len(output))))
            case _:
                raise AssertionError(f"no model answers with {type(part).__name__}")
    return output


def write_message(name: str, status: str) -> dict[str, Any]:
    """Write a message without content."""
    return {"id": name, "type": "message", "status": status, "role": "assistant", "content": []}


def write_content(part: Text | Refusal) -> dict[str, Any]:
    """Write a part of a message."""
    if isinstance(part, Refusal):
        return {"type": "refusal", "refusal": part.text}
    return {"type": "output_text", "text": part.text, "annotations": [], "logprobs": []}


def write_call(part: ToolUse, name: str, status: str) -> dict[str, Any]:
    """Write a tool call."""
    return {
        "id": name,
        "type": "function_call",
        "status": status,
        "call_id": part.id,
        "name": part.name,
        "arguments": part.arguments,
    }


def write_reasoning(part: Reasoning, name: str) -> dict[str, Any]:
    """Write reasoning. ``encrypted_content`` takes what the model that thought it wants back."""
    item: dict[str, Any] = {"id": name, "type": "reasoning", "summary": []}
    if part.text:
        item["summary"] = [{"type": "summary_text", "text": part.text}]
    if part.redacted is not None:
        item["encrypted_content"] = wire.REDACTED + part.redacted
    elif part.signature is not None:
        own = wire.split_signature(part.signature)
        item["id"], item["encrypted_content"] = own or (name, part.signature)
    return item
