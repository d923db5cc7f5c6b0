"""Owns what the simulated model says: texts, JSON, tool calls and refusals, and how their tokens are counted. Pure.

A token is four characters; the last one of a text may be shorter. No real model counts so, but it is exact, quick and
easy to check by hand.
"""

import math
import random
from collections.abc import Iterable
from typing import Any

import msgspec

from backstay.core.chat import (
    ChatRequest,
    Document,
    FinishReason,
    Message,
    Part,
    Reasoning,
    Refusal,
    Text,
    Tool,
    ToolResult,
    ToolUse,
)
from backstay.core.continuation import CONTINUE
from backstay.providers.simulator.json_schema import break_instance, make_instance
from backstay.providers.simulator.script import Behaviour, draw

CHARACTERS_PER_TOKEN = 4

REFUSAL = "I'm sorry, but I can't help with that."

_LOREM = (
    "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore et dolore "
    "magna aliqua ut enim ad minim veniam quis nostrud exercitation ullamco laboris nisi ut aliquip ex ea commodo"
)

_QUOTED_CHARACTERS = 60


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate answer, before the caller's limits are applied."""

    parts: tuple[Part, ...]
    reason: FinishReason


def tokens_in(text: str) -> int:
    """Count the tokens of a text."""
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)


def split_tokens(text: str) -> list[str]:
    """Cut a text into its tokens."""
    return [text[start : start + CHARACTERS_PER_TOKEN] for start in range(0, len(text), CHARACTERS_PER_TOKEN)]


def input_tokens(request: ChatRequest) -> int:
    """Count a request's tokens: its texts, tool calls, results and definitions. Images and other media count none."""
    texts = [_text_of(part) for message in request.messages for part in message.parts]
    tools = [
        f"{tool.name}{tool.description or ''}{msgspec.json.encode(tool.schema).decode()}" for tool in request.tools
    ]
    return tokens_in("".join([*texts, *tools]))


def say(behaviour: Behaviour, request: ChatRequest, chance: random.Random, *, fault: str | None) -> Said:
    """Make one candidate answer. ``fault``: ``refusal`` and ``wrong`` change it, others do not."""
    if fault == "refusal":
        return Said(parts=(Refusal(text=REFUSAL),), reason="refusal")
    tools = _tools_to_call(behaviour, request)
    if tools:
        calls = tuple(_tool_use(tool, chance, wrong=fault == "wrong") for tool in tools)
        return Said(parts=calls, reason="tool_calls")
    if request.output_format is not None:
        text = _canned_json(behaviour, request) if fault != "wrong" else None
        return Said(parts=(Text(text=text or _json(request, chance, wrong=fault == "wrong")),), reason="stop")
    messages, begun = _split_begun(request.messages)
    request = msgspec.structs.replace(request, messages=messages)
    text = _text(behaviour, request, chance, wrong=fault == "wrong")
    if behaviour.output_tokens is not None:
        text = _fit(text, max(1, round(draw(behaviour.output_tokens, chance))), chance)
    text = text[len(begun) :]
    return Said(parts=(Text(text=text),), reason="stop")


def _split_begun(messages: tuple[Message, ...]) -> tuple[tuple[Message, ...], str]:
    """Part a conversation from the answer that it has the model go on with: its last message, or one cut off."""
    left = messages
    if left and left[-1].role == "user" and "".join(map(_text_of, left[-1].parts)) == CONTINUE:
        left = left[:-1]
    if left and left[-1].role == "assistant":
        return left[:-1], "".join(map(_text_of, left[-1].parts))
    return messages, ""


def _tools_to_call(behaviour: Behaviour, request: ChatRequest) -> tuple[Tool, ...]:
    """Choose the tools to call: the one named, or the first ones; none once a tool's result has come back."""
    choice = request.tool_choice
    mode = choice.mode if choice else "auto"
    if mode == "none":
        return ()
    if choice and mode == "tool":
        return tuple(tool for tool in request.tools if tool.name == choice.name)
    answered = bool(request.messages) and any(isinstance(part, ToolResult) for part in request.messages[-1].parts)
    if mode == "auto" and answered:
        return ()
    count = behaviour.tool_calls if mode == "auto" else max(1, behaviour.tool_calls)
    return request.tools[: count if request.parallel_tool_calls is not False else min(count, 1)]


def _tool_use(tool: Tool, chance: random.Random, *, wrong: bool) -> ToolUse:
    arguments = make_instance(tool.schema or {"type": "object"}, chance)
    if wrong:
        arguments = break_instance(arguments)
    number = chance.getrandbits(64)
    return ToolUse(id=f"call_{number:016x}", name=tool.name, arguments=msgspec.json.encode(arguments).decode())


def _canned_json(behaviour: Behaviour, request: ChatRequest) -> str | None:
    """Return the canned answer to a prompt where that is JSON."""
    prompt = _last_prompt(request.messages).lower()
    text = next((canned.text for canned in behaviour.canned if canned.contains.lower() in prompt), "")
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None
    return text


def _json(request: ChatRequest, chance: random.Random, *, wrong: bool) -> str:
    schema: dict[str, Any] | None = request.output_format.schema if request.output_format else None
    value: Any = {"answer": _digest(request, chance)} if schema is None else make_instance(schema, chance)
    return msgspec.json.encode(break_instance(value) if wrong else value).decode()


def _text(behaviour: Behaviour, request: ChatRequest, chance: random.Random, *, wrong: bool) -> str:
    prompt = _last_prompt(request.messages)
    for canned in behaviour.canned:
        if canned.contains.lower() in prompt.lower():
            return canned.wrong or _digest(request, chance) if wrong else canned.text
    if behaviour.answer == "lorem":
        return _lorem(24, chance)
    if behaviour.answer == "echo" and not wrong:
        return prompt
    return _digest(request, chance, wrong=wrong)


def _digest(request: ChatRequest, chance: random.Random, *, wrong: bool = False) -> str:
    """Write a sentence that shows which prompt it answers; a wrong one claims another prompt."""
    prompt = " ".join(_last_prompt(request.messages).split())
    quoted = prompt if len(prompt) <= _QUOTED_CHARACTERS else prompt[: _QUOTED_CHARACTERS - 1] + "…"
    if wrong:
        quoted = _lorem(6, chance)
    return f'Simulated answer {chance.getrandbits(32):08x} to "{quoted}".'


def _last_prompt(messages: Iterable[Message]) -> str:
    texts = [[_text_of(part) for part in message.parts] for message in messages if message.role in ("user", "tool")]
    return "\n".join(texts[-1]) if texts else ""


def _text_of(part: Part) -> str:
    match part:
        case Text() | Refusal() | Reasoning():
            return part.text
        case Document(text=str(text)):
            return text
        case ToolUse():
            return part.name + part.arguments
        case ToolResult():
            return "\n".join(_text_of(inner) for inner in part.parts)
        case _:
            return ""


def _lorem(words: int, chance: random.Random) -> str:
    return " ".join(chance.choice(_LOREM.split()) for _ in range(words)).capitalize()


def _fit(text: str, tokens: int, chance: random.Random) -> str:
    """Cut a text to a length, or fill it up."""
    size = tokens * CHARACTERS_PER_TOKEN
    while len(text) < size:
        text = f"{text} {_lorem(max(1, (size - len(text)) // 6), chance)}."
    return text[:size]
