"""Owns whole answers of Anthropic's messages API: reading, summing up and writing."""

from typing import Any

import msgspec

from backstay.core.chat import ChatResponse, Choice, Part, Reasoning, Refusal, Text, ToolUse
from backstay.core.clock import Clock
from backstay.providers.anthropic import wire
from backstay.providers.anthropic.tool_input import read_input, write_input
from backstay.providers.decoding import decode_answer
from backstay.providers.signatures import UNSIGNED, read_unmarked
from backstay.providers.types import ReplySummary

_summary = msgspec.json.Decoder(wire.Summary)
_whole = msgspec.json.Decoder(wire.Whole)


def read_summary(body: bytes) -> ReplySummary:
    """Read what the books need of an answer. Raises ``ProviderError`` if it is none."""
    found = decode_answer(_summary, body)
    return ReplySummary(
        id=found.id,
        model=found.model,
        usage=wire.read_usage(found.usage),
        finish_reasons=(wire.read_stop(found.stop_reason),) if found.stop_reason else (),
        service_tier=wire.read_tier(found.usage),
    )


def read_response(body: bytes, clock: Clock) -> ChatResponse:
    """Read an answer whole. The wire does not say when it was made: that is now. Raises ``ProviderError``."""
    found = decode_answer(_whole, body)
    parts = tuple(part for block in found.content if (part := _read_block(block)) is not None)
    choice = Choice(
        index=0,
        parts=parts,
        finish_reason=wire.read_stop(found.stop_reason) if found.stop_reason else None,
        stop_sequence=found.stop_sequence,
    )
    return ChatResponse(
        id=found.id,
        model=found.model,
        created_s=clock.now_ns() // 1_000_000_000,
        choices=(choice,),
        usage=wire.read_usage(found.usage),
        service_tier=wire.read_tier(found.usage),
    )


def _read_block(block: wire.Block) -> Part | None:
    match block.type:
        case "text":
            return Text(text=block.text)
        case "thinking":
            return Reasoning(text=block.thinking, signature=read_unmarked(block.signature))
        case "redacted_thinking":
            return Reasoning(redacted=block.data)
        case "tool_use":
            return ToolUse(id=block.id, name=block.name, arguments=read_input(bytes(block.input)))
        case _:  # what Anthropic's own servers ran in the course of the answer
            return None


def write_response(response: ChatResponse) -> bytes:
    """Write an answer: its first choice, for there is only one on this wire."""
    choice = response.choices[0] if response.choices else Choice(index=0, parts=(), finish_reason="stop")
    refused = any(isinstance(part, Refusal) for part in choice.parts)
    body = message_head(response.id, response.model) | {
        "content": [_write_part(part) for part in choice.parts if _says_something(part)],
        "stop_reason": "refusal" if refused else wire.WRITE_STOP[choice.finish_reason or "stop"],
        "stop_sequence": choice.stop_sequence,
        "usage": wire.write_usage(response.usage) | wire.write_tier(response.service_tier),
    }
    return msgspec.json.encode(body)


def message_head(message_id: str, model: str) -> dict[str, Any]:
    """Write what an answer and a stream's first event begin with."""
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _says_something(part: Part) -> bool:
    return not (isinstance(part, Text | Refusal) and not part.text)


def _write_part(part: Part) -> dict[str, Any]:
    match part:
        case Text() | Refusal():
            return {"type": "text", "text": part.text, "citations": None}
        case Reasoning(redacted=str() as data):
            return {"type": "redacted_thinking", "data": data}
        case Reasoning():
            return {"type": "thinking", "thinking": part.text, "signature": part.signature or UNSIGNED}
        case ToolUse():
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": write_input(part.arguments)}
        case _:
            raise TypeError(f"an answer does not hold a {type(part).__name__}")
