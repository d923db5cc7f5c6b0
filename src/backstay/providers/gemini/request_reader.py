"""Owns the reading of a generateContent request into neutral form.

The wire has the model and the wish for a stream in its URL: who reads that gives them as the fields ``model`` and
``stream``. What has no neutral form is kept in ``extras`` by its path, so that translation can refuse it by name.
Source: google-genai Python SDK 3.6.1, ``types.py`` (2026-11).
"""

from typing import Any, cast

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
    Text,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from backstay.core.errors import InvalidRequest
from backstay.providers.anthropic.tool_input import read_input
from backstay.providers.fields import ObjectReader, decode_fields
from backstay.providers.signatures import mark_signature
from backstay.providers.types import Fields

_FREE = frozenset({"args", "labels", "parameters", "parametersJsonSchema", "response", "responseJsonSchema"})
"""Fields that hold what others named."""

_LEVELS = {"MINIMAL": "minimal", "LOW": "low", "MEDIUM": "medium", "HIGH": "high"}


def read_request(fields: Fields) -> ChatRequest:
    """Read a caller's request. Raises ``InvalidRequest`` with the path of the field that is wrong."""
    extras: dict[str, Any] = {}
    body = ObjectReader(camel_names(decode_fields(fields)), "", extras)
    system, messages = _read_system(body), _read_contents(body)
    if not messages:
        raise InvalidRequest("contents must hold at least one content.", param="contents")
    choice, strict = _read_tool_config(body)
    tier = body.optional("serviceTier", str)
    config = body.object("generationConfig") or ObjectReader({}, "generationConfig", extras)
    effort, budget = _read_thinking(config)
    request = ChatRequest(
        model=body.required("model", str).removeprefix("models/"),
        messages=(Message(role="system", parts=system), *messages) if system else messages,
        stream=body.optional("stream", bool) or False,
        max_output_tokens=config.optional("maxOutputTokens", int),
        temperature=config.optional("temperature", float),
        top_p=config.optional("topP", float),
        top_k=config.optional("topK", int),
        frequency_penalty=config.optional("frequencyPenalty", float),
        presence_penalty=config.optional("presencePenalty", float),
        stop=tuple(config.optional("stopSequences", list[str]) or ()),
        seed=config.optional("seed", int),
        candidates=config.optional("candidateCount", int) or 1,
        logprobs=config.optional("responseLogprobs", bool) or False,
        top_logprobs=config.optional("logprobs", int),
        tools=_read_tools(body, strict=strict),
        tool_choice=choice,
        output_format=_read_output_format(config),
        reasoning_effort=effort,
        reasoning_budget_tokens=budget,
        service_tier="default" if tier == "standard" else tier,
        caller_dialect="gemini",
        extras=extras,
    )
    config.finish()
    body.finish()
    return request


def camel_names(value: Any) -> Any:
    """Write the names of fields in camel case. The API takes both, as any JSON of Protocol Buffers, and so does this.

    Source: https://protobuf.dev/programming-guides/json (2026-11); google-genai 3.6.1 sends some in snake case.
    """
    if isinstance(value, list):
        return [camel_names(item) for item in cast(list[Any], value)]
    if not isinstance(value, dict):
        return value
    named = {_camel(name): inner for name, inner in cast(dict[str, Any], value).items()}
    return {name: inner if name in _FREE else camel_names(inner) for name, inner in named.items()}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


def _read_thinking(config: ObjectReader) -> tuple[str | None, int | None]:
    """Return the effort and the budget in tokens that ``thinkingConfig`` stands for."""
    thinking = config.object("thinkingConfig")
    if thinking is None:
        return None, None
    level, budget = thinking.optional("thinkingLevel", str), thinking.optional("thinkingBudget", int)
    thinking.raw("includeThoughts")  # how an answer is shown
    thinking.finish()
    if budget == 0:
        return "none", None
    return (None if level is None else _LEVELS.get(level.upper(), level)), None if budget == -1 else budget


def _read_output_format(config: ObjectReader) -> OutputFormat | None:
    kind, schema = config.optional("responseMimeType", str), config.optional("responseJsonSchema", dict[str, Any])
    if kind == "application/json":
        return OutputFormat(schema=schema)
    if kind not in (None, "text/plain"):
        config.extras[config.at("responseMimeType")] = kind
    return None


def _read_tool_config(body: ObjectReader) -> tuple[ToolChoice | None, bool]:
    """Return the choice, and whether calls must fit their schema."""
    config = body.object("toolConfig")
    calling = None if config is None else config.object("functionCallingConfig")
    if config is None or calling is None:
        return None, False
    mode = (calling.optional("mode", str) or "AUTO").upper()
    names = calling.optional("allowedFunctionNames", list[str]) or []
    choice: ToolChoice | None
    match mode, names:
        case "ANY", [name]:
            choice = ToolChoice(mode="tool", name=name)
        case "ANY", []:
            choice = ToolChoice(mode="any")
        case "AUTO" | "NONE", _:
            choice = ToolChoice(mode="auto" if mode == "AUTO" else "none")
        case "VALIDATED", _:
            choice = None
        case _:
            choice = None
            calling.extras[calling.at("mode" if not names else "allowedFunctionNames")] = names or mode
    calling.finish()
    config.finish()
    return choice, mode == "VALIDATED"


def _read_tools(body: ObjectReader, *, strict: bool) -> tuple[Tool, ...]:
    tools: list[Tool] = []
    for tool in body.objects("tools"):
        tools += [_read_function(function, strict=strict) for function in tool.objects("functionDeclarations")]
        tool.finish()
    return tuple(tools)


def _read_function(function: ObjectReader, *, strict: bool) -> Tool:
    schema = function.optional("parametersJsonSchema", dict[str, Any])
    older = function.optional("parameters", dict[str, Any])
    found = Tool(
        name=function.required("name", str),
        description=function.optional("description", str),
        schema=(_lower_types(older) if older else {}) if schema is None else schema,
        strict=True if strict else None,
    )
    function.finish()
    return found


def _lower_types(schema: Any) -> Any:
    """Turn Google's own form of a schema, whose types are in capitals, into JSON schema."""
    if isinstance(schema, list):
        return [_lower_types(item) for item in cast(list[Any], schema)]
    if not isinstance(schema, dict):
        return schema
    return {
        name: value.lower() if name == "type" and isinstance(value, str) else _lower_types(value)
        for name, value in cast(dict[str, Any], schema).items()
    }


def _read_system(body: ObjectReader) -> tuple[Part, ...]:
    system = body.object("systemInstruction")
    if system is None:
        return ()
    system.raw("role")
    parts = _read_parts(system)
    system.finish()
    return parts


def _read_contents(body: ObjectReader) -> tuple[Message, ...]:
    messages: list[Message] = []
    for content in body.objects("contents"):
        role = content.optional("role", str) or "user"
        if role not in ("user", "model", "function"):
            path = content.at("role")
            raise InvalidRequest(f"{path}: {role!r} is no role. There are: user, model.", param=path)
        messages.append(Message(role="assistant" if role == "model" else "user", parts=_read_parts(content)))
        content.finish()
    return tuple(messages)


def _read_parts(content: ObjectReader) -> tuple[Part, ...]:
    parts: list[Part] = []
    for part in content.objects("parts"):
        add_part(parts, _read_part(part), part.optional("thoughtSignature", str))
        part.finish()
    return tuple(parts)


def add_part(parts: list[Part], part: Part | None, signature: str | None) -> None:
    """Add a part as it was read. Its signature becomes that of the thought before it, or a thought of its own."""
    if signature is not None:
        marked = mark_signature("gemini", signature)
        before = parts[-1] if parts else None
        if isinstance(before, Reasoning) and before.signature is None:
            parts[-1] = Reasoning(text=before.text, signature=marked)
        else:
            parts.append(Reasoning(signature=marked))
    if part is not None and not (signature is not None and isinstance(part, Text) and not part.text):
        parts.append(part)


def _read_part(part: ObjectReader) -> Part | None:
    text, thought = part.optional("text", str), part.optional("thought", bool)
    if text is not None:
        return Reasoning(text=text) if thought else Text(text=text)
    call, result = part.object("functionCall"), part.object("functionResponse")
    inline, file = part.object("inlineData"), part.object("fileData")
    if call is not None:
        return _read_call(call)
    if result is not None:
        return _read_result(result)
    if inline is not None:
        return _read_inline(inline)
    return None if file is None else _read_file(file)


def _read_call(call: ObjectReader) -> ToolUse:
    name = call.required("name", str)
    arguments = read_input(msgspec.json.encode(call.optional("args", dict[str, Any]) or {}))
    use = ToolUse(id=call.optional("id", str) or name, name=name, arguments=arguments)
    call.finish()
    return use


def _read_result(result: ObjectReader) -> ToolResult:
    name, response = result.required("name", str), result.optional("response", dict[str, Any]) or {}
    tool_use_id = result.optional("id", str) or name
    media = [part for part in (_read_part(reader) for reader in result.objects("parts")) if part is not None]
    allowed = tuple(part for part in media if isinstance(part, Image | Document))
    failure, output = response.get("error"), response.get("output", response)
    said = output if failure is None else failure
    text = said if isinstance(said, str) else msgspec.json.encode(said).decode()
    result.finish()
    parts = (Text(text=text), *allowed) if text else allowed
    return ToolResult(tool_use_id=tool_use_id, parts=parts, is_error=failure is not None)


def _read_inline(inline: ObjectReader) -> Part:
    media_type, data = inline.required("mimeType", str), inline.required("data", str)
    inline.raw("displayName")
    inline.finish()
    kind, _, subtype = media_type.partition("/")
    if kind == "audio":
        return Audio(data=data, format=subtype)
    return (Image if kind == "image" else Document)(data=data, media_type=media_type)


def _read_file(file: ObjectReader) -> Part:
    url, media_type = file.required("fileUri", str), file.optional("mimeType", str)
    file.raw("displayName")
    file.finish()
    is_document = media_type is not None and not media_type.startswith("image/")
    return (Document if is_document else Image)(url=url, media_type=media_type)
