"""Owns the telling of a whole answer as a stream: the events that it would have come in."""

from collections.abc import Iterator
from typing import Any

from backstay.core.chat import (
    ChatEvent,
    ChatResponse,
    Choice,
    Finished,
    Part,
    Reasoning,
    ReasoningDelta,
    Refusal,
    RefusalDelta,
    Started,
    Text,
    TextDelta,
    ToolUse,
    ToolUseDelta,
    ToolUseStarted,
    UsageReported,
)

_PIECE = 1024
"""Characters of text in one event."""


def replay(response: ChatResponse) -> Iterator[ChatEvent]:
    """Tell an answer as events; joined again they make the same answer."""
    usage = response.usage
    yield Started(id=response.id, model=response.model, created_s=response.created_s, usage=usage)
    for choice in response.choices:
        tools = 0
        logprobs = choice.logprobs
        for part in choice.parts:
            yield from _deltas(part, choice.index, tools, logprobs)
            tools += isinstance(part, ToolUse)
            logprobs = None if isinstance(part, Text) else logprobs
    yield from (_finished(choice) for choice in response.choices)
    yield UsageReported(usage=usage, service_tier=response.service_tier)


def _finished(choice: Choice) -> Finished:
    return Finished(reason=choice.finish_reason or "stop", stop_sequence=choice.stop_sequence, choice=choice.index)


def _deltas(part: Part, choice: int, tools: int, logprobs: Any) -> Iterator[ChatEvent]:
    match part:
        case Text(text=text):
            for start in range(0, len(text), _PIECE):
                yield TextDelta(text=text[start : start + _PIECE], choice=choice, logprobs=None if start else logprobs)
        case Refusal(text=text):
            yield RefusalDelta(text=text, choice=choice)
        case Reasoning():
            yield ReasoningDelta(text=part.text, signature=part.signature, redacted=part.redacted, choice=choice)
        case ToolUse():
            yield ToolUseStarted(index=tools, id=part.id, name=part.name, choice=choice)
            yield ToolUseDelta(index=tools, arguments=part.arguments, choice=choice)
        case _:
            pass  # a model answers with nothing else
