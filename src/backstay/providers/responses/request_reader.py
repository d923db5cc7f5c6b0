"""Owns the reading of a responses request into neutral form.

What has no neutral form is kept in ``extras`` by its path, so that translation can refuse it by name. Read and left
out, because it cannot change the answer of a model that is not OpenAI's:
- ``store`` and ``previous_response_id: null``: whoever answers the wire keeps the conversation, not the model;
- ids, states and phases of items, annotations and log probabilities: an earlier answer, handed back with them;
- ``reasoning.summary``: whether thoughts are shown; ``include`` of encrypted reasoning: it is always there;
- ``stream_options.include_obfuscation`` and ``prompt_cache_*``: padding, and caching, which never changes an answer;
- ``max_tool_calls``: counts the calls of hosted tools, which are refused.
Source: openai Python SDK 3.54.0, ``types/responses/response_create_params.py`` and the item params (2026-08).
"""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from backstay.core.chat import (
    ChatRequest,
    Document,
    Image,
    Message,
    OutputFormat,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from backstay.core.errors import InvalidRequest
from backstay.providers.data_url import Inline, read_data_url
from backstay.providers.fields import ObjectReader, convert, decode_fields, read_object, read_objects
from backstay.providers.functions import read_function, read_tool_mode
from backstay.providers.responses import wire
from backstay.providers.types import Fields

_ROLES: dict[str, Role] = {"system": "system", "developer": "developer", "user": "user", "assistant": "assistant"}

_HOSTED = frozenset(
    {
        "additional_tools",
        "apply_patch_call",
        "apply_patch_call_output",
        "code_interpreter_call",
        "compaction",
        "compaction_trigger",
        "computer_call",
        "computer_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
        "file_search_call",
        "image_generation_call",
        "item_reference",
        "local_shell_call",
        "local_shell_call_output",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_call",
        "mcp_list_tools",
        "program",
        "program_output",
        "shell_call",
        "shell_call_output",
        "tool_search_call",
        "tool_search_output",
        "web_search_call",
    }
)
"""Types of items that only OpenAI itself understands."""

_USUAL: dict[str, Any] = {"background": False, "truncation": "disabled"}
"""What fields without a neutral form say where they ask for what is the case anyway."""

_CACHING = ("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention")


def read_request(fields: Fields) -> ChatRequest:
    """Read a caller's request. Raises ``InvalidRequest`` with the path of the field that is wrong."""
    extras: dict[str, Any] = {}
    body = ObjectReader(decode_fields(fields), "", extras)
    for name in ("store", "max_tool_calls", *_CACHING):
        body.raw(name)
    for name, usual in _USUAL.items():
        value = body.raw(name)
        if value not in (None, usual):
            extras[name] = value
    options = body.object("stream_options")
    if options is not None:
        options.optional("include_obfuscation", bool)
        options.finish()
    wanted, verbosity = _read_text_options(body)
    if verbosity is not None:
        extras["verbosity"] = verbosity
    user, safety_identifier = body.optional("user", str), body.optional("safety_identifier", str)
    request = ChatRequest(
        model=body.required("model", str),
        messages=_read_messages(body, is_whole=body.raw("previous_response_id") is None),
        stream=body.optional("stream", bool) or False,
        max_output_tokens=body.optional("max_output_tokens", int),
        temperature=body.optional("temperature", float),
        top_p=body.optional("top_p", float),
        logprobs=_read_include(body),
        top_logprobs=body.optional("top_logprobs", int),
        tools=_read_tools(body),
        tool_choice=_read_tool_choice(body),
        parallel_tool_calls=body.optional("parallel_tool_calls", bool),
        output_format=wanted,
        reasoning_effort=_read_effort(body),
        user=safety_identifier or user,
        metadata=body.optional("metadata", dict[str, str]),
        service_tier=body.optional("service_tier", str),
        extras=extras,
    )
    if body.raw("previous_response_id") is not None:
        extras["previous_response_id"] = body.raw("previous_response_id")
    body.finish()
    return request


def _read_include(body: ObjectReader) -> bool:
    """Return whether log probabilities are wanted; keep what else has no neutral form."""
    names = convert(body.raw("include") or [], list[str], "include")
    for index, name in enumerate(names):
        if name not in (wire.LOGPROBS, wire.ENCRYPTED_REASONING):
            body.extras[f"include[{index}]"] = name
    return wire.LOGPROBS in names


def _read_effort(body: ObjectReader) -> str | None:
    reasoning = body.object("reasoning")
    if reasoning is None:
        return None
    effort = reasoning.optional("effort", str)
    for name in ("summary", "generate_summary"):
        reasoning.optional(name, str)
    reasoning.finish()
    return effort


def _read_messages(body: ObjectReader, *, is_whole: bool) -> tuple[Message, ...]:
    turns: list[Message] = []
    instructions = body.raw("instructions")
    if instructions is not None:
        turns.append(Message(role="system", parts=(Text(text=convert(instructions, str, "instructions")),)))
    said = body.raw("input")
    if isinstance(said, str):
        turns.append(Message(role="user", parts=(Text(text=said),)))
    else:
        turns += _merged(_read_item(item) for item in read_objects(said, "input", body.extras))
    if not turns:
        raise InvalidRequest("input must hold at least one item.", param="input")
    if is_whole:
        _check_calls(turns)
    return tuple(turns)


def _merged(messages: Iterator[Message | None]) -> list[Message]:
    """Join what the assistant said in several items on end: the neutral form has one message for it."""
    merged: list[Message] = []
    for role, turn in groupby((message for message in messages if message is not None), lambda found: found.role):
        if role == "assistant":
            merged.append(Message(role="assistant", parts=tuple(part for said in turn for part in said.parts)))
        else:
            merged += turn
    return merged


def _check_calls(messages: list[Message]) -> None:
    """Refuse results of calls that nobody made, as OpenAI does."""
    called: set[str] = set()
    for message in messages:
        for part in message.parts:
            if isinstance(part, ToolUse):
                called.add(part.id)
            elif isinstance(part, ToolResult) and part.tool_use_id not in called:
                raise InvalidRequest(
                    f"No tool call found for function call output with call_id {part.tool_use_id}.", param="input"
                )


def _read_item(item: ObjectReader) -> Message | None:
    kind = item.optional("type", str) or "message"
    item.raw("id")
    item.raw("status")
    found: Message | None = None
    match kind:
        case "message":
            found = _read_message(item)
        case "function_call":
            found = Message(role="assistant", parts=(_read_call(item),))
        case "function_call_output":
            found = Message(role="tool", parts=(_read_output(item),))
        case "reasoning":
            part = _read_reasoning(item)
            found = None if part is None else Message(role="assistant", parts=(part,))
        case _ if kind in _HOSTED:
            item.extras[item.at("type")] = kind
            return None
        case _:
            raise InvalidRequest(f"{item.at('type')}: there is no item of the type {kind!r}.", param=item.at("type"))
    item.finish()
    return found


def _read_message(message: ObjectReader) -> Message:
    role = message.required("role", str)
    message.raw("phase")
    if role not in _ROLES:
        known = ", ".join(_ROLES)
        raise InvalidRequest(
            f"{message.at('role')}: {role!r} is no role. There are: {known}.", param=message.at("role")
        )
    content = message.raw("content")
    if content is None:
        raise InvalidRequest(f"{message.at('content')} is required.", param=message.at("content"))
    if isinstance(content, str):
        return Message(role=_ROLES[role], parts=(Text(text=content),))
    read = _read_said if role == "assistant" else _read_input_part
    found = [read(part) for part in read_objects(content, message.at("content"), message.extras)]
    return Message(role=_ROLES[role], parts=tuple(part for part in found if part is not None))


def _read_said(part: ObjectReader) -> Part | None:
    """Read a part of an earlier answer."""
    kind = part.required("type", str)
    part.raw("annotations")
    part.raw("logprobs")
    found: Part
    if kind == "output_text":
        found = Text(text=part.required("text", str))
    elif kind == "refusal":
        found = Refusal(text=part.required("refusal", str))
    else:
        raise _wrong_part(part, kind, "output_text, refusal")
    part.finish()
    return found


def _read_input_part(part: ObjectReader) -> Text | Image | Document | None:
    kind = part.required("type", str)
    part.raw("prompt_cache_breakpoint")
    found: Text | Image | Document | None
    if kind == "input_text":
        found = Text(text=part.required("text", str))
    elif kind == "input_image":
        found = _read_image(part)
    elif kind == "input_file":
        found = _read_file(part)
    else:
        raise _wrong_part(part, kind, "input_text, input_image, input_file")
    part.finish()
    return found


def _wrong_part(part: ObjectReader, kind: str, known: str) -> InvalidRequest:
    path = part.at("type")
    return InvalidRequest(f"{path}: {kind!r} is not one of {known}.", param=path)


def _read_image(part: ObjectReader) -> Image | None:
    """Read an image. One by a file's id is left unread: no other dialect knows OpenAI's files."""
    url, detail = part.optional("image_url", str), part.optional("detail", str)
    if url is None:
        return None
    inline = read_data_url(url)
    if inline is None:
        return Image(url=url, detail=detail)
    return Image(data=inline.data, media_type=inline.media_type, detail=detail)


def _read_file(part: ObjectReader) -> Document:
    name, data = part.optional("filename", str), part.optional("file_data", str)
    if data is None:
        url, file_id = part.optional("file_url", str), part.optional("file_id", str)
        if url is None and file_id is None:
            path = part.at("file_data")
            raise InvalidRequest(f"{path}, file_url or file_id is required.", param=path)
        return Document(url=url, file_id=file_id, name=name)
    inline = read_data_url(data) or Inline("application/pdf", data)
    return Document(data=inline.data, media_type=inline.media_type, name=name)


def _read_call(item: ObjectReader) -> ToolUse:
    return ToolUse(
        id=item.required("call_id", str), name=item.required("name", str), arguments=item.required("arguments", str)
    )


def _read_output(item: ObjectReader) -> ToolResult:
    call_id, output = item.required("call_id", str), item.raw("output")
    item.raw("name")
    if output is None:
        raise InvalidRequest(f"{item.at('output')} is required.", param=item.at("output"))
    if isinstance(output, str):
        return ToolResult(tool_use_id=call_id, parts=(Text(text=output),))
    found = [_read_input_part(part) for part in read_objects(output, item.at("output"), item.extras)]
    return ToolResult(tool_use_id=call_id, parts=tuple(part for part in found if part is not None))


def _read_reasoning(item: ObjectReader) -> Reasoning | None:
    """Read thoughts of an earlier answer; ``None`` for a bare id, which stands for what OpenAI keeps of them."""
    item_id, encrypted = item.raw("id"), item.optional("encrypted_content", str)
    shown = [*item.objects("summary"), *item.objects("content")]
    texts: list[str] = []
    for part in shown:
        part.raw("type")
        texts.append(part.required("text", str))
        part.finish()
    text = "\n\n".join(texts)
    if encrypted is None:
        return Reasoning(text=text) if text else None
    if encrypted.startswith(wire.REDACTED):
        return Reasoning(text=text, redacted=encrypted.removeprefix(wire.REDACTED))
    return Reasoning(text=text, signature=wire.read_signature(item_id, encrypted))


def _read_tools(body: ObjectReader) -> tuple[Tool, ...]:
    tools: list[Tool] = []
    for tool in body.objects("tools"):
        kind = tool.required("type", str)
        if kind != "function":
            tool.extras[tool.at("type")] = kind
            continue
        tools.append(read_function(tool))
    return tuple(tools)


def _read_tool_choice(body: ObjectReader) -> ToolChoice | None:
    choice = body.raw("tool_choice")
    if choice is None:
        return None
    if isinstance(choice, str):
        return read_tool_mode(choice)
    reader = read_object(choice, "tool_choice", body.extras)
    if reader.required("type", str) != "function":
        body.extras["tool_choice"] = choice
        return None
    return ToolChoice(mode="tool", name=reader.required("name", str))


def _read_text_options(body: ObjectReader) -> tuple[OutputFormat | None, str | None]:
    """Return the wanted output and verbosity."""
    text = body.object("text")
    if text is None:
        return None, None
    wanted, verbosity = text.object("format"), text.optional("verbosity", str)
    text.finish()
    if wanted is None:
        return None, verbosity
    kind = wanted.required("type", str)
    found: OutputFormat | None = None
    if kind == "json_object":
        found = OutputFormat()
    elif kind == "json_schema":
        found = OutputFormat(
            schema=wanted.required("schema", dict[str, Any]),
            name=wanted.required("name", str),
            description=wanted.optional("description", str),
            strict=wanted.optional("strict", bool),
        )
    elif kind != "text":
        wanted.extras[wanted.at("type")] = kind
    wanted.finish()
    return found, verbosity
