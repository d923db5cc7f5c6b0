"""Owns the reading of a messages request into neutral form.

What has no neutral form is kept in ``extras`` by its path, so that translation can refuse it by name.
Source: anthropic Python SDK 2.12.0, ``types/message_create_params.py`` and the block params (2026-08).
"""

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
    Role,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from backstay.core.errors import InvalidRequest
from backstay.providers.anthropic.tool_input import read_input
from backstay.providers.cache_markers import read_cache_marker
from backstay.providers.fields import ObjectReader, decode_fields, read_objects
from backstay.providers.signatures import read_unmarked
from backstay.providers.types import Fields

_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system"}


def read_request(fields: Fields) -> ChatRequest:
    """Read a caller's request. Raises ``InvalidRequest`` with the path of the field that is wrong."""
    extras: dict[str, Any] = {}
    body = ObjectReader(decode_fields(fields), "", extras)
    system = _read_content(body, "system")
    messages = tuple(_read_message(reader) for reader in body.objects("messages"))
    if not messages:
        raise InvalidRequest("messages must hold at least one message.", param="messages")
    effort, output_format = _read_output_config(body)
    thinking_effort, budget = _read_thinking(body)
    tool_choice, parallel = _read_tool_choice(body)
    tier = body.optional("service_tier", str)
    request = ChatRequest(
        model=body.required("model", str),
        messages=(Message(role="system", parts=system), *messages) if system else messages,
        stream=body.optional("stream", bool) or False,
        max_output_tokens=body.required("max_tokens", int),
        temperature=body.optional("temperature", float),
        top_p=body.optional("top_p", float),
        top_k=body.optional("top_k", int),
        stop=tuple(body.optional("stop_sequences", list[str]) or ()),
        tools=_read_tools(body),
        tool_choice=tool_choice,
        parallel_tool_calls=parallel,
        output_format=output_format,
        reasoning_effort=effort or thinking_effort,
        reasoning_budget_tokens=budget,
        user=_read_user(body),
        service_tier="default" if tier == "standard_only" else tier,
        caller_dialect="anthropic",
        extras=extras,
    )
    body.finish()
    return request


def _read_user(body: ObjectReader) -> str | None:
    metadata = body.object("metadata")
    if metadata is None:
        return None
    user = metadata.optional("user_id", str)
    metadata.finish()
    return user


def _read_output_config(body: ObjectReader) -> tuple[str | None, OutputFormat | None]:
    config = body.object("output_config")
    if config is None:
        return None, None
    effort, wanted = config.optional("effort", str), config.object("format")
    found: OutputFormat | None = None
    if wanted is not None:
        if wanted.required("type", str) == "json_schema":
            found = OutputFormat(schema=wanted.required("schema", dict[str, Any]), strict=True)
        else:
            wanted.extras[wanted.at("type")] = wanted.raw("type")
        wanted.finish()
    config.finish()
    return effort, found


def _read_thinking(body: ObjectReader) -> tuple[str | None, int | None]:
    """Return the effort and the budget in tokens that ``thinking`` stands for."""
    whole = body.raw("thinking")
    thinking = body.object("thinking")
    if thinking is None:
        return None, None
    kind = thinking.required("type", str)
    budget = thinking.required("budget_tokens", int) if kind == "enabled" else None
    if kind == "adaptive":
        body.extras["thinking"] = whole
        return None, None
    if kind not in ("enabled", "disabled"):
        body.extras[thinking.at("type")] = kind
    thinking.finish()
    return "none" if kind == "disabled" else None, budget


def _read_tool_choice(body: ObjectReader) -> tuple[ToolChoice | None, bool | None]:
    """Return the choice and whether tools may run in parallel."""
    choice = body.object("tool_choice")
    if choice is None:
        return None, None
    kind, disabled = choice.required("type", str), choice.optional("disable_parallel_tool_use", bool)
    found: ToolChoice
    match kind:
        case "auto" | "any" | "none":
            found = ToolChoice(mode=kind)
        case "tool":
            found = ToolChoice(mode="tool", name=choice.required("name", str))
        case _:
            message = f"tool_choice.type: {kind!r} is not one of auto, any, tool, none."
            raise InvalidRequest(message, param="tool_choice.type")
    choice.finish()
    return found, None if disabled is None else not disabled


def _read_tools(body: ObjectReader) -> tuple[Tool, ...]:
    tools: list[Tool] = []
    for tool in body.objects("tools"):
        kind = tool.optional("type", str) or "custom"
        if kind == "custom":
            tools.append(_read_tool(tool))
            tool.finish()
        else:
            body.extras[tool.at("type")] = kind
    return tuple(tools)


def _read_tool(tool: ObjectReader) -> Tool:
    return Tool(
        name=tool.required("name", str),
        description=tool.optional("description", str),
        schema=tool.required("input_schema", dict[str, Any]),
        strict=tool.optional("strict", bool),
        cache=read_cache_marker(tool),
    )


def _read_message(message: ObjectReader) -> Message:
    role = message.required("role", str)
    if role not in _ROLES:
        known = ", ".join(_ROLES)
        raise InvalidRequest(
            f"{message.at('role')}: {role!r} is no role. There are: {known}.", param=message.at("role")
        )
    if message.raw("content") is None:
        raise InvalidRequest(f"{message.at('content')} is required.", param=message.at("content"))
    parts = _read_content(message, "content")
    message.finish()
    return Message(role=_ROLES[role], parts=parts)


def _read_content(reader: ObjectReader, name: str) -> tuple[Part, ...]:
    content = reader.raw(name)
    if content is None:
        return ()
    if isinstance(content, str):
        return (Text(text=content),)
    found = (_read_block(block) for block in read_objects(content, reader.at(name), reader.extras))
    return tuple(part for part in found if part is not None)


def _read_block(block: ObjectReader) -> Part | None:
    kind = block.required("type", str)
    cache = read_cache_marker(block)
    found: Part | None = None
    match kind:
        case "text":
            block.raw("citations")  # of an earlier answer, handed back with it: the text is all that it says
            found = Text(text=block.required("text", str), cache=cache)
        case "image":
            found = _read_image(block, cache)
        case "document":
            found = _read_document(block, cache)
        case "tool_use":
            found = _read_tool_use(block, cache)
        case "tool_result":
            found = _read_tool_result(block, cache)
        case "thinking":
            signature = read_unmarked(block.optional("signature", str))
            found = Reasoning(text=block.required("thinking", str), signature=signature)
        case "redacted_thinking":
            found = Reasoning(redacted=block.required("data", str))
        case _:
            block.extras[block.at("type")] = kind
            return None
    block.finish()
    return found


def _read_tool_use(block: ObjectReader, cache: str | None) -> ToolUse:
    return ToolUse(
        id=block.required("id", str),
        name=block.required("name", str),
        arguments=read_input(msgspec.json.encode(block.required("input", dict[str, Any]))),
        cache=cache,
    )


def _read_tool_result(block: ObjectReader, cache: str | None) -> ToolResult:
    parts = _read_content(block, "content")
    allowed = tuple(part for part in parts if isinstance(part, Text | Image | Document))
    if len(allowed) != len(parts):
        raise InvalidRequest(
            f"{block.at('content')} may hold text, images and documents only.", param=block.at("content")
        )
    return ToolResult(
        tool_use_id=block.required("tool_use_id", str),
        parts=allowed,
        is_error=block.optional("is_error", bool) or False,
        cache=cache,
    )


def _source(block: ObjectReader) -> ObjectReader:
    source = block.object("source")
    if source is None:
        raise InvalidRequest(f"{block.at('source')} is required.", param=block.at("source"))
    return source


def _read_image(block: ObjectReader, cache: str | None) -> Image:
    source = _source(block)
    kind = source.required("type", str)
    image = Image(cache=cache)
    if kind == "base64":
        data, media_type = source.required("data", str), source.required("media_type", str)
        image = Image(data=data, media_type=media_type, cache=cache)
    elif kind == "url":
        image = Image(url=source.required("url", str), cache=cache)
    else:
        source.extras[source.at("type")] = kind
    source.finish()
    return image


def _read_document(block: ObjectReader, cache: str | None) -> Document:
    source, name = _source(block), block.optional("title", str)
    kind = source.required("type", str)
    document = Document(name=name, cache=cache)
    if kind == "base64":
        data, media_type = source.required("data", str), source.required("media_type", str)
        document = Document(data=data, media_type=media_type, name=name, cache=cache)
    elif kind == "text":
        media_type = source.optional("media_type", str) or "text/plain"
        document = Document(text=source.required("data", str), media_type=media_type, name=name, cache=cache)
    elif kind == "url":
        document = Document(url=source.required("url", str), name=name, cache=cache)
    elif kind == "file":
        document = Document(file_id=source.required("file_id", str), name=name, cache=cache)
    else:
        source.extras[source.at("type")] = kind
    source.finish()
    return document
