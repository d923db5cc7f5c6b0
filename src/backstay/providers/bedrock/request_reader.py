"""Owns the reading of a Converse request into neutral form; ``model`` and ``stream`` are what its URL said.

What has no neutral form is kept in ``extras`` by its path, so that translation can refuse it by name.
Source: botocore 1.44.8, ``data/bedrock-runtime/2023-09-30/service-2.json``: ``ConverseRequest`` (2026-11).
"""

from collections.abc import Iterator
from typing import Any, TypeVar

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
from backstay.providers.bedrock.media import read_audio, read_document, read_image
from backstay.providers.bedrock.models import read_model_fields
from backstay.providers.bedrock.request_writer import STOP_SEQUENCE_PATH, USER_LABEL
from backstay.providers.fields import ObjectReader, decode_fields
from backstay.providers.types import Fields

_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system"}
_T = TypeVar("_T", bound=Part | Tool)


def read_request(fields: Fields) -> ChatRequest:
    """Read a caller's request. Raises ``InvalidRequest`` with the path of the field that is wrong."""
    extras: dict[str, Any] = {}
    body = ObjectReader(decode_fields(fields), "", extras)
    system = tuple(_mark_caches(body.objects("system"), _read_block))
    messages = tuple(_read_message(reader) for reader in body.objects("messages"))
    if not messages:
        raise InvalidRequest("messages must hold at least one message.", param="messages")
    effort, output_format = _read_output(body)
    own = read_model_fields(body.optional("additionalModelRequestFields", dict[str, Any]) or {})
    tools, tool_choice = _read_tools(body)
    user, labels = _read_labels(body)
    limits = body.object("inferenceConfig") or ObjectReader({}, "inferenceConfig", extras)
    tier = body.object("serviceTier")
    request = ChatRequest(
        model=body.required("model", str),
        messages=(Message(role="system", parts=system), *messages) if system else messages,
        stream=body.optional("stream", bool) or False,
        max_output_tokens=limits.optional("maxTokens", int),
        temperature=limits.optional("temperature", float),
        top_p=limits.optional("topP", float),
        top_k=own.top_k,
        stop=tuple(limits.optional("stopSequences", list[str]) or ()),
        tools=tools,
        tool_choice=tool_choice,
        parallel_tool_calls=own.parallel_tool_calls,
        output_format=output_format,
        reasoning_effort=effort or own.reasoning_effort,
        reasoning_budget_tokens=own.reasoning_budget_tokens,
        user=user,
        metadata=labels,
        service_tier=None if tier is None else tier.required("type", str),
        caller_dialect="bedrock",
        extras=extras,
    )
    if own.rest:
        extras["additionalModelRequestFields"] = own.rest
    _read_paths(body)
    limits.finish()
    body.finish()
    return request


def _read_paths(body: ObjectReader) -> None:
    """Read which of the model's own fields the answer shall have; the sequence that stopped it is neutral."""
    paths = body.optional("additionalModelResponseFieldPaths", list[str])
    if paths and paths != [STOP_SEQUENCE_PATH]:
        body.extras["additionalModelResponseFieldPaths"] = paths


def _read_labels(body: ObjectReader) -> tuple[str | None, dict[str, str] | None]:
    """Return the end user and the other labels."""
    labels = body.optional("requestMetadata", dict[str, str]) or {}
    user = labels.pop(USER_LABEL, None)
    return user, labels or None


def _read_output(body: ObjectReader) -> tuple[str | None, OutputFormat | None]:
    config = body.object("outputConfig")
    if config is None:
        return None, None
    effort, wanted = config.optional("effort", str), config.object("textFormat")
    found: OutputFormat | None = None
    if wanted is not None:
        wanted.required("type", str)
        structure = wanted.object("structure")
        schema = None if structure is None else structure.object("jsonSchema")
        if structure is None or schema is None:
            place = wanted.at("structure.jsonSchema")
            raise InvalidRequest(f"{place} is required.", param=place)
        found = _read_schema(schema)
        for reader in (schema, structure, wanted):
            reader.finish()
    config.finish()
    return effort, found


def _read_schema(schema: ObjectReader) -> OutputFormat:
    try:
        value = msgspec.json.decode(schema.required("schema", str), type=dict[str, Any])
    except msgspec.DecodeError:
        raise InvalidRequest(
            f"{schema.at('schema')} is not the text of a JSON object.", param=schema.at("schema")
        ) from None
    name, description = schema.optional("name", str), schema.optional("description", str)
    return OutputFormat(schema=value, name=name, description=description, strict=True)


def _read_tools(body: ObjectReader) -> tuple[tuple[Tool, ...], ToolChoice | None]:
    config = body.object("toolConfig")
    if config is None:
        return (), None
    tools = tuple(_mark_caches(config.objects("tools"), _read_tool))
    choice = config.object("toolChoice")
    found: ToolChoice | None = None
    if choice is not None:
        named = choice.object("tool")
        if named is not None:
            found = ToolChoice(mode="tool", name=named.required("name", str))
        elif choice.object("any") is not None:
            found = ToolChoice(mode="any")
        elif choice.object("auto") is not None:
            found = ToolChoice(mode="auto")
        else:
            raise InvalidRequest("toolConfig.toolChoice must be one of auto, any, tool.", param="toolConfig.toolChoice")
        choice.finish()
    config.finish()
    return tools, found


def _read_tool(block: ObjectReader) -> Tool | None:
    spec = block.object("toolSpec")
    if spec is None:
        return None
    schema = spec.object("inputSchema")
    if schema is None:
        raise InvalidRequest(f"{spec.at('inputSchema')} is required.", param=spec.at("inputSchema"))
    tool = Tool(
        name=spec.required("name", str),
        description=spec.optional("description", str),
        schema=schema.required("json", dict[str, Any]),
        strict=spec.optional("strict", bool),
    )
    schema.finish()
    spec.finish()
    return tool


def _read_message(message: ObjectReader) -> Message:
    role = message.required("role", str)
    if role not in _ROLES:
        known = ", ".join(_ROLES)
        raise InvalidRequest(
            f"{message.at('role')}: {role!r} is no role. There are: {known}.", param=message.at("role")
        )
    if message.raw("content") is None:
        raise InvalidRequest(f"{message.at('content')} is required.", param=message.at("content"))
    parts = tuple(_mark_caches(message.objects("content"), _read_block))
    message.finish()
    return Message(role=_ROLES[role], parts=parts)


def _mark_caches(blocks: Iterator[ObjectReader], read: Any) -> list[Any]:
    """Read blocks; a cache point marks what stands before it."""
    found: list[Any] = []
    for block in blocks:
        point = block.object("cachePoint")
        if point is None:
            value = read(block)
            found += [] if value is None else [value]
        elif found and hasattr(found[-1], "cache"):
            point.required("type", str)
            found[-1] = msgspec.structs.replace(found[-1], cache=point.optional("ttl", str) or "5m")
            point.finish()
        else:
            block.extras[block.at("cachePoint")] = block.raw("cachePoint")
        block.finish()
    return found


def _read_block(block: ObjectReader) -> Part | None:
    """Read a content block by the one field that it has; ``None`` for one without a neutral form."""
    text = block.optional("text", str)
    if text is not None:
        return Text(text=text)
    for name, read in _READERS.items():
        inner = block.object(name)
        if inner is not None:
            part = read(inner)
            inner.finish()
            return part
    return None


def _read_tool_use(block: ObjectReader) -> ToolUse:
    arguments = read_input(msgspec.json.encode(block.required("input", dict[str, Any])))
    return ToolUse(id=block.required("toolUseId", str), name=block.required("name", str), arguments=arguments)


def _read_tool_result(block: ObjectReader) -> ToolResult:
    parts: list[Text | Image | Document] = []
    for inner in block.objects("content"):
        value = inner.raw("json")
        part = Text(text=msgspec.json.encode(value).decode()) if value is not None else _read_block(inner)
        if part is not None and not isinstance(part, Text | Image | Document):
            raise InvalidRequest(
                f"{inner.path} may hold text, JSON, an image or a document only.", param=block.at("content")
            )
        parts += [] if part is None else [part]
        inner.finish()
    is_error = block.optional("status", str) == "error"
    return ToolResult(tool_use_id=block.required("toolUseId", str), parts=tuple(parts), is_error=is_error)


def _read_reasoning(block: ObjectReader) -> Reasoning:
    redacted = block.optional("redactedContent", str)
    said = block.object("reasoningText")
    if said is None:
        return Reasoning(redacted=redacted)
    reasoning = Reasoning(text=said.required("text", str), signature=said.optional("signature", str), redacted=redacted)
    said.finish()
    return reasoning


_READERS: dict[str, Any] = {
    "image": read_image,
    "document": read_document,
    "audio": read_audio,
    "toolUse": _read_tool_use,
    "toolResult": _read_tool_result,
    "reasoningContent": _read_reasoning,
}
