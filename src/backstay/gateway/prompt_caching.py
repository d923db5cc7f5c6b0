"""Owns breakpoints for a provider's prompt cache: where Anthropic's models are told that a prompt's beginning stays.

Up to three, of the four that a request may have: behind the tools, behind the system's text, and behind the message
before the last, which a conversation's next turn repeats. Nothing is placed where the caller has placed any, nor where
the beginning is too short. All that is not marked stays as it came.

Sources, which tell Anthropic's rules at second hand: https://docs.orq.ai/docs/proxy/prompt-caching and
https://www.skills.sh/softspark/ai-toolkit/prompt-caching-patterns (2026-11): four breakpoints, on text, images,
documents and results of tools. That the order is tools, system, messages, and that thinking, empty text and deferred
tools bear no marker, was not looked up.
"""

from collections.abc import Callable, Sequence

import msgspec

from backstay.core.chat import ChatRequest, Document, Image, Message, Part, Text, Tool, ToolResult, ToolUse
from backstay.gateway.types import Target
from backstay.providers import Dialect, Fields
from backstay.providers.bedrock.models import family_of

_LEAST_TOKENS = 1024
"""The least that most of Anthropic's models cache. Some want 2,048 or 4,096: there a marker has no effect and no price.

Source: https://docs.litellm.ai/docs/completion/prompt_caching (2026-10); newer models that take 512 are marked from
here on, too."""
_LEAST_BYTES = 4 * _LEAST_TOKENS

_TTL = "5m"
_MARKER = msgspec.Raw(b'{"type":"ephemeral"}')
_MARKABLE = frozenset({"text", "image", "document", "tool_use", "tool_result"})

_Blocks = list[Fields]


def takes_breakpoints(target: Target, dialect: Dialect) -> bool:
    """Whether a target is told of breakpoints, and is not one that refuses them."""
    if dialect.name == "bedrock":
        return family_of(target.model_id) == "anthropic"
    return dialect.name == "anthropic"


def mark_request(request: ChatRequest) -> ChatRequest:
    """Place breakpoints in a request that is to be written in another dialect."""
    if _is_marked(request):
        return request
    leading = next((n for n, each in enumerate(request.messages) if each.role not in ("system", "developer")), 0)
    system, said = request.messages[:leading], request.messages[leading:]
    tools = request.tools
    size = _size(tools) if tools else 0
    if tools and size >= _LEAST_BYTES:
        tools = (*tools[:-1], msgspec.structs.replace(tools[-1], cache=_TTL))
    size += _size(system)
    if size >= _LEAST_BYTES:
        system = _mark_last(system)
    size += _size(said[:-1])
    if size >= _LEAST_BYTES:
        said = (*_mark_last(said[:-1]), *said[-1:])
    return msgspec.structs.replace(request, tools=tools, messages=(*system, *said))


def mark_fields(fields: Fields) -> Fields:
    """Place breakpoints in a body of Anthropic's own dialect; one that is not as expected is left to the provider."""
    if any(b'"cache_control"' in bytes(value) for value in fields.values()) or "cache_control" in fields:
        return fields
    marked = dict(fields)
    size = len(bytes(fields.get("tools", b"")))
    try:
        if size >= _LEAST_BYTES:
            tools = msgspec.json.decode(fields["tools"], type=_Blocks)
            _replace(marked, "tools", _mark_block(tools, lambda tool: "defer_loading" not in tool))
        size += len(bytes(fields.get("system", b"")))
        if "system" in fields and size >= _LEAST_BYTES:
            _replace(marked, "system", _mark_content(fields["system"]))
        said = msgspec.json.decode(fields["messages"], type=list[msgspec.Raw])
        size += sum(len(bytes(each)) for each in said[:-1])
        if size >= _LEAST_BYTES:
            _replace(marked, "messages", _mark_messages(said))
    except (msgspec.DecodeError, KeyError):
        return fields
    return marked


def _is_marked(request: ChatRequest) -> bool:
    parts = [part for message in request.messages for part in message.parts]
    return (
        "cache_control" in request.extras
        or any(tool.cache for tool in request.tools)
        or any(_marker(part) for part in parts)
        or any(_marker(inner) for part in parts if isinstance(part, ToolResult) for inner in part.parts)
    )


def _marker(part: Part) -> str | None:
    return part.cache if isinstance(part, Text | Image | Document | ToolUse | ToolResult) else None


def _size(said: Sequence[Message] | Sequence[Tool]) -> int:
    return len(msgspec.json.encode(said))


def _mark_last(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Mark the last part that takes a marker."""
    for place in range(len(messages) - 1, -1, -1):
        parts = list(messages[place].parts)
        for number in range(len(parts) - 1, -1, -1):
            part = parts[number]
            if isinstance(part, Image | Document | ToolUse | ToolResult) or (isinstance(part, Text) and part.text):
                parts[number] = msgspec.structs.replace(part, cache=_TTL)
                message = msgspec.structs.replace(messages[place], parts=tuple(parts))
                return (*messages[:place], message, *messages[place + 1 :])
    return messages


def _replace(fields: Fields, name: str, value: bytes | None) -> None:
    if value is not None:
        fields[name] = msgspec.Raw(value)


def _mark_messages(said: list[msgspec.Raw]) -> bytes | None:
    """Mark the last message before the newest that has something to mark."""
    for place in range(len(said) - 2, -1, -1):
        message = msgspec.json.decode(said[place], type=Fields)
        content = _mark_content(message["content"])
        if content is not None:
            said[place] = msgspec.Raw(msgspec.json.encode({**message, "content": msgspec.Raw(content)}))
            return msgspec.json.encode(said)
    return None


def _mark_content(content: msgspec.Raw) -> bytes | None:
    """Mark the last block of a content, or its text; ``None`` where nothing takes a marker."""
    read = msgspec.json.decode(content, type=str | list[msgspec.Raw])
    if isinstance(read, str):
        text = {"type": msgspec.Raw(b'"text"'), "text": content, "cache_control": _MARKER}
        return msgspec.json.encode([text]) if read else None
    return _mark_block([msgspec.json.decode(block, type=Fields) for block in read], _takes_marker)


def _takes_marker(block: Fields) -> bool:
    kind = msgspec.json.decode(block.get("type", b"null"), type=str | None)
    return kind in _MARKABLE and (kind != "text" or bytes(block.get("text", b'""')) != b'""')


def _mark_block(blocks: _Blocks, takes: Callable[[Fields], bool]) -> bytes | None:
    for place in range(len(blocks) - 1, -1, -1):
        if takes(blocks[place]):
            blocks[place] = {**blocks[place], "cache_control": _MARKER}
            return msgspec.json.encode(blocks)
    return None
