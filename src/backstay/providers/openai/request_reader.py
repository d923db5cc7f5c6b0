"""Owns the reading of a chat completions request into neutral form.

What has no neutral form is kept in ``extras`` by its path, so that translation can refuse it by name.
Source: openai Python SDK 3.54.0, ``types/chat/completion_create_params.py`` and the message params (2026-08).
"""

from typing import Any

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
    Role,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from backstay.core.errors import InvalidRequest
from backstay.providers.cache_markers import read_cache_marker
from backstay.providers.data_url import Inline, read_data_url
from backstay.providers.fields import ObjectReader, convert, decode_fields, read_object, read_objects
from backstay.providers.functions import read_function, read_tool_mode
from backstay.providers.signatures import mark_signature
from backstay.providers.types import Fields

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}

_HANDED_BACK = ("annotations", "parsed")
"""What an answer's message has beside what it says, of no use to a model: SDKs hand the message back whole. ``parsed``
is the openai SDK's own reading of the text.
Source: openai Python SDK 3.54.0, ``types/chat/parsed_chat_completion.py``."""


def read_request(fields: Fields) -> ChatRequest:
    """Read a caller's request. Raises ``InvalidRequest`` with the path of the field that is wrong."""
    extras: dict[str, Any] = {}
    body = ObjectReader(decode_fields(fields), "", extras)
    messages = tuple(_read_message(reader) for reader in body.objects("messages"))
    if not messages:
        raise InvalidRequest("messages must hold at least one message.", param="messages")
    options = body.object("stream_options")
    stream = body.optional("stream", bool) or False
    logprobs = body.optional("logprobs", bool)
    limit = body.optional("max_completion_tokens", int)
    older_limit = body.optional("max_tokens", int)
    user, safety_identifier = body.optional("user", str), body.optional("safety_identifier", str)
    request = ChatRequest(
        model=body.required("model", str),
        messages=messages,
        stream=stream,
        stream_usage=bool(options and options.optional("include_usage", bool)),
        max_output_tokens=older_limit if limit is None else limit,
        temperature=body.optional("temperature", float),
        top_p=body.optional("top_p", float),
        top_k=body.optional("top_k", int),
        frequency_penalty=body.optional("frequency_penalty", float),
        presence_penalty=body.optional("presence_penalty", float),
        logit_bias=body.optional("logit_bias", dict[str, float]),
        stop=_read_stop(body),
        seed=body.optional("seed", int),
        candidates=body.optional("n", int) or 1,
        logprobs=bool(logprobs),
        top_logprobs=body.optional("top_logprobs", int),
        tools=_read_tools(body),
        tool_choice=_read_tool_choice(body),
        parallel_tool_calls=body.optional("parallel_tool_calls", bool),
        output_format=_read_output_format(body),
        reasoning_effort=body.optional("reasoning_effort", str),
        user=safety_identifier or user,
        metadata=body.optional("metadata", dict[str, str]),
        service_tier=body.optional("service_tier", str),
        extras=extras,
    )
    if options is not None:
        options.finish()
    if (search := body.raw("web_search_options")) is not None:
        extras["web_search_options"] = search  # an empty object asks for a search, too
    body.finish()
    return request


def _read_stop(body: ObjectReader) -> tuple[str, ...]:
    stop = body.raw("stop")
    if stop is None:
        return ()
    return (stop,) if isinstance(stop, str) else tuple(convert(stop, list[str], "stop"))


def _read_message(message: ObjectReader) -> Message:
    role = message.required("role", str)
    if role == "function":  # retired for `tool`; read for people to see, refused where it would be translated
        message.extras[message.at("role")] = role
    elif role not in _ROLES:
        known = ", ".join(_ROLES)
        raise InvalidRequest(
            f"{message.at('role')}: {role!r} is no role. There are: {known}.", param=message.at("role")
        )
    if role in ("tool", "function"):
        parts = _read_tool_result(message)
    elif role == "assistant":
        parts = _read_assistant(message)
    else:
        parts = _read_content(message)
        if not parts and message.raw("content") is None:
            raise InvalidRequest(f"{message.at('content')} is required.", param=message.at("content"))
    name = message.optional("name", str) if role != "function" else None
    message.finish()
    return Message(role=_ROLES.get(role, "tool"), parts=parts, name=name)


def _read_tool_result(message: ObjectReader) -> tuple[Part, ...]:
    call_id = message.required("name", str) if message.raw("role") == "function" else ""
    parts = _read_content(message)
    allowed = [part for part in parts if isinstance(part, Text | Image | Document)]
    if len(allowed) != len(parts):
        raise InvalidRequest(f"{message.at('content')} may hold text only.", param=message.at("content"))
    return (ToolResult(tool_use_id=call_id or message.required("tool_call_id", str), parts=tuple(allowed)),)


def _read_assistant(message: ObjectReader) -> tuple[Part, ...]:
    parts: list[Part] = []
    for name in ("reasoning_content", "reasoning"):
        reasoning = message.optional(name, str)
        if reasoning:
            parts = [Reasoning(text=reasoning)]
    parts += _read_content(message)
    refusal = message.optional("refusal", str)
    if refusal:
        parts.append(Refusal(text=refusal))
    for name in _HANDED_BACK:
        message.raw(name)
    for call in message.objects("tool_calls"):
        signature = _read_thought_signature(call)
        if signature is not None:
            parts.append(Reasoning(signature=mark_signature("gemini", signature)))
        parts.append(_read_tool_call(call))
    return tuple(parts)


def _read_thought_signature(call: ObjectReader) -> str | None:
    """Read the signature with which Gemini made a tool call (``response.write_thought_signature``)."""
    content = call.object("extra_content")
    google = None if content is None else content.object("google")
    if content is None or google is None:
        return None
    signature = google.optional("thought_signature", str)
    google.finish()
    content.finish()
    return signature


def _read_tool_call(call: ObjectReader) -> ToolUse:
    kind = call.optional("type", str) or "function"
    function = call.object("function")
    if kind != "function" or function is None:
        call.extras[call.at("type")] = kind
        call.finish()
        return ToolUse(id=call.required("id", str), name=kind, arguments="")
    arguments = function.optional("arguments", str) or ""
    function.raw("parsed_arguments")  # the SDK's reading of them
    call.raw("index")  # its place in the stream that it came by
    use = ToolUse(id=call.required("id", str), name=function.required("name", str), arguments=arguments)
    function.finish()
    call.finish()
    return use


def _read_content(message: ObjectReader) -> tuple[Part, ...]:
    content = message.raw("content")
    if content is None:
        return ()
    if isinstance(content, str):
        return (Text(text=content),)
    found = (_read_part(part) for part in read_objects(content, message.at("content"), message.extras))
    return tuple(part for part in found if part is not None)


def _read_part(part: ObjectReader) -> Part | None:
    kind = part.required("type", str)
    cache = read_cache_marker(part)
    found: Part | None = None
    if kind == "text":
        found = Text(text=part.required("text", str), cache=cache)
    elif kind == "image_url":
        found = _read_image(_inner(part, "image_url"), cache)
    elif kind == "input_audio":
        found = _read_audio(_inner(part, "input_audio"))
    elif kind == "file":
        found = _read_file(_inner(part, "file"), cache)
    elif kind == "refusal":
        found = Refusal(text=part.required("refusal", str))
    else:
        part.extras[part.at("type")] = kind
    part.finish()
    return found


def _inner(part: ObjectReader, name: str) -> ObjectReader:
    """Return the object that a part is wrapped around; an absent one is empty, so that its fields are missed."""
    return part.object(name) or read_object({}, part.at(name), part.extras)


def _read_audio(audio: ObjectReader) -> Audio:
    found = Audio(data=audio.required("data", str), format=audio.required("format", str))
    audio.finish()
    return found


def _read_image(image: ObjectReader, cache: str | None) -> Image:
    url, detail = image.required("url", str), image.optional("detail", str)
    image.finish()
    inline = read_data_url(url)
    if inline is None:
        return Image(url=url, detail=detail, cache=cache)
    return Image(data=inline.data, media_type=inline.media_type, detail=detail, cache=cache)


def _read_file(file: ObjectReader, cache: str | None) -> Document:
    data, name = file.optional("file_data", str), file.optional("filename", str)
    file_id = file.optional("file_id", str)
    file.finish()
    if data is None:
        return Document(file_id=file_id, name=name, cache=cache)
    inline = read_data_url(data) or Inline("application/pdf", data)
    return Document(data=inline.data, media_type=inline.media_type, name=name, cache=cache)


def _read_tools(body: ObjectReader) -> tuple[Tool, ...]:
    tools: list[Tool] = []
    for tool in body.objects("tools"):
        kind = tool.required("type", str)
        function = tool.object("function")
        if kind != "function" or function is None:
            tool.extras[tool.at("type")] = kind
        else:
            tools.append(read_function(function, read_cache_marker(tool)))
        tool.finish()
    return tuple(tools)


def _read_tool_choice(body: ObjectReader) -> ToolChoice | None:
    choice = body.raw("tool_choice")
    if choice is None:
        return None
    if isinstance(choice, str):
        return read_tool_mode(choice)
    reader = read_object(choice, "tool_choice", body.extras)
    function = reader.object("function")
    if reader.optional("type", str) != "function" or function is None:
        body.extras["tool_choice"] = choice
        return None
    return ToolChoice(mode="tool", name=function.required("name", str))


def _read_output_format(body: ObjectReader) -> OutputFormat | None:
    wanted = body.object("response_format")
    if wanted is None:
        return None
    kind = wanted.required("type", str)
    found: OutputFormat | None = None
    if kind == "json_object":
        found = OutputFormat()
    elif kind == "json_schema":
        schema = _inner(wanted, "json_schema")
        found = OutputFormat(
            schema=schema.optional("schema", dict[str, Any]) or {},
            name=schema.required("name", str),
            description=schema.optional("description", str),
            strict=schema.optional("strict", bool),
        )
        schema.finish()
    elif kind != "text":
        wanted.extras[wanted.at("type")] = kind
    wanted.finish()
    return found
