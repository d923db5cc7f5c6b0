"""Owns what the local model cannot do by itself, pure: plain-text turns, forced tool calls, OpenAI's exact shapes.

SmolLM2's chat template knows neither tools nor images, and llama.cpp's answers differ from OpenAI's in small ways. So a
call is read into the neutral form, said to the engine in what it understands, and the answer is read and written anew.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec.structs import replace

from backstay.core.chat import (
    ChatEvent,
    ChatRequest,
    ChatResponse,
    Choice,
    Document,
    Finished,
    FinishReason,
    Message,
    Part,
    Reasoning,
    Refusal,
    Text,
    TextDelta,
    Tool,
    ToolResult,
    ToolUse,
    ToolUseDelta,
    ToolUseStarted,
)
from backstay.core.errors import InvalidRequest
from backstay.core.ids import new_span_id
from backstay.providers.types import Fields

DEFAULT_OUTPUT_TOKENS = 1024
"""Limit where the caller sets none: so small a model may ramble on until its context is full."""

_REPLACED = frozenset({"messages", "tools", "tool_choice", "parallel_tool_calls", "stream", "stream_options", "n"})
"""Fields that the engine does not get as the caller sent them; all others pass, llama.cpp's own included."""


def check(request: ChatRequest) -> None:
    """Refuse what the local model cannot do, naming the field.

    Raises:
        InvalidRequest: No message, several candidates, or a tool choice that names no tool of the request.
    """
    if not request.messages:
        raise InvalidRequest("At least one message is needed.", param="messages")
    if request.candidates > 1:
        raise InvalidRequest("The local model gives one answer a call: leave n out or send 1.", param="n")
    choice = request.tool_choice
    if choice and choice.mode == "tool" and all(tool.name != choice.name for tool in request.tools):
        raise InvalidRequest(f"tool_choice names {choice.name!r}, which is not among the tools.", param="tool_choice")
    if choice and choice.mode == "any" and not request.tools:
        raise InvalidRequest("tool_choice asks for a tool call, but there are no tools.", param="tool_choice")


def forced_tools(request: ChatRequest) -> tuple[Tool, ...]:
    """List the tools of which one must be called; none where the model is free to answer with text.

    Free to choose, the local model always answers with text: its chat template cannot tell it about tools.
    """
    choice = request.tool_choice
    if choice is None or choice.mode not in ("any", "tool"):
        return ()
    return tuple(tool for tool in request.tools if choice.mode == "any" or tool.name == choice.name)


def engine_request(fields: Fields, request: ChatRequest, tool: Tool | None) -> bytes:
    """Write what llama.cpp gets. With ``tool``, its output is held to the JSON schema of the tool's arguments."""
    body: dict[str, Any] = {
        name: raw for name, raw in fields.items() if name not in _REPLACED and bytes(raw) != b"null"
    }
    messages = [_plain(message, index) for index, message in enumerate(request.messages)]
    if tool is not None:
        schema = tool.schema or {"type": "object", "properties": {}}
        messages = _with_instruction(messages, _call_instruction(tool, schema))
        body["response_format"] = _schema_format(schema)
    if request.max_output_tokens is None:
        body["max_tokens"] = DEFAULT_OUTPUT_TOKENS
    body |= {"messages": messages, "stream": request.stream}
    if request.stream:
        body["stream_options"] = {"include_usage": True}
    return msgspec.json.encode(body)


def selection_request(request: ChatRequest, tools: Iterable[Tool]) -> bytes:
    """Write a small question to the engine: which of these tools to call."""
    offered = {tool.name: tool.description or "" for tool in tools}
    instruction = "Choose the tool that helps to answer:\n" + "\n".join(f"{name}: {offered[name]}" for name in offered)
    messages = [_plain(message, index) for index, message in enumerate(request.messages)]
    body = {
        "messages": _with_instruction(messages, instruction),
        "response_format": _schema_format({"enum": list(offered)}),
        "temperature": 0,
    }
    return msgspec.json.encode(body)


def selected_tool(response: ChatResponse, tools: Iterable[Tool]) -> Tool:
    """Read the answer to ``selection_request``; the first tool where it was cut off."""
    by_name = {tool.name: tool for tool in tools}
    name = _text(response.choices[0].parts).strip().strip('"')
    return by_name.get(name) or next(iter(by_name.values()))


def shape_response(response: ChatResponse, tool: Tool | None) -> ChatResponse:
    """Turn the engine's answer into the caller's: the call of ``tool``, if one was forced."""
    return replace(response, choices=tuple(_shape_choice(choice, tool) for choice in response.choices))


class EventShaper:
    """Does as ``shape_response`` does, event by event, on a stream."""

    def __init__(self, tool: Tool | None):
        self._tool = tool
        self._opened = False

    def shape(self, event: ChatEvent) -> list[ChatEvent]:
        tool = self._tool
        if tool is None:
            return [replace(event, logprobs=_exact_logprobs(event.logprobs)) if isinstance(event, TextDelta) else event]
        if isinstance(event, TextDelta):
            return [*self._open(tool), ToolUseDelta(index=0, arguments=event.text)]
        if isinstance(event, Finished):
            return [*self._open(tool), replace(event, reason=_finish_reason(event.reason, tool))]
        return [event]

    def _open(self, tool: Tool) -> list[ChatEvent]:
        if self._opened:
            return []
        self._opened = True
        return [ToolUseStarted(index=0, id=_call_id(), name=tool.name)]


def _shape_choice(choice: Choice, tool: Tool | None) -> Choice:
    if tool is None:
        return replace(choice, logprobs=_exact_logprobs(choice.logprobs))
    call = ToolUse(id=_call_id(), name=tool.name, arguments=_text(choice.parts))
    reason = choice.finish_reason and _finish_reason(choice.finish_reason, tool)
    return replace(choice, parts=(call,), finish_reason=reason, logprobs=None)


def _finish_reason(reason: FinishReason, tool: Tool | None) -> FinishReason:
    return "tool_calls" if tool and reason == "stop" else reason


def _call_id() -> str:
    return "call_" + new_span_id()


def _schema_format(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "output", "schema": schema}}


def _call_instruction(tool: Tool, schema: dict[str, Any]) -> str:
    about = f" ({tool.description})" if tool.description else ""
    rules = msgspec.json.encode(schema).decode()
    return f"Call the tool {tool.name}{about}. Answer only with its arguments, as JSON that fits this schema: {rules}"


def _with_instruction(messages: list[dict[str, str]], instruction: str) -> list[dict[str, str]]:
    if messages and messages[0]["role"] == "system":
        first = {"role": "system", "content": f"{messages[0]['content']}\n\n{instruction}"}
        return [first, *messages[1:]]
    return [{"role": "system", "content": instruction}, *messages]


def _plain(message: Message, index: int) -> dict[str, str]:
    """Say a message in plain text. Earlier tool calls and their results become text that the model can read."""
    role = {"developer": "system", "tool": "user"}.get(message.role, message.role)
    lines = [_plain_part(part, f"messages[{index}].content") for part in message.parts]
    return {"role": role, "content": "\n".join(line for line in lines if line)}


def _plain_part(part: Part, path: str) -> str:
    match part:
        case Text() | Refusal():
            return part.text
        case ToolUse():
            return f"[called {part.name} with {part.arguments}]"
        case ToolResult():
            return "[result of the call]\n" + "\n".join(_plain_part(inner, path) for inner in part.parts)
        case Document(text=str(text)):
            return text
        case Reasoning():
            return ""
        case _:
            kind = type(part).__name__.lower()
            raise InvalidRequest(f"The local model reads text only: take the {kind} out.", param=path)


def _text(parts: Iterable[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Text))


def _exact_logprobs(logprobs: Any) -> Any:
    """Bring llama.cpp's ``logprobs`` into OpenAI's shape: without token ids, with ``refusal``."""
    if logprobs is None:
        return None
    content = msgspec.convert(logprobs, _Logprobs).content
    return {"content": msgspec.to_builtins(content), "refusal": None}


class _Alternative(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None


class _Token(_Alternative):
    top_logprobs: list[_Alternative] = []


class _Logprobs(msgspec.Struct):
    content: list[_Token] = []
