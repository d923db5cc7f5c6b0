"""Owns whole answers of Converse: reading, summing up and writing.

The wire names neither the answer nor the model: both stay empty here, and whoever made the call fills them in.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from backstay.core.chat import ChatResponse, Choice, Part, Reasoning, Refusal, Text, ToolUse
from backstay.core.clock import Clock
from backstay.providers.anthropic.tool_input import read_input, write_input
from backstay.providers.bedrock import wire
from backstay.providers.decoding import decode_answer
from backstay.providers.types import ReplySummary

_summary = msgspec.json.Decoder(wire.Summary)
_whole = msgspec.json.Decoder(wire.Whole)


def read_summary(body: bytes) -> ReplySummary:
    """Read what the books need of an answer. Raises ``ProviderError`` if it is none."""
    found = decode_answer(_summary, body)
    return ReplySummary(
        usage=wire.read_usage(found.usage),
        finish_reasons=(wire.read_stop(found.stop_reason),) if found.stop_reason else (),
        service_tier=wire.read_tier(found.service_tier),
    )


def read_response(body: bytes, clock: Clock) -> ChatResponse:
    """Read an answer whole. The wire does not say when it was made: that is now. Raises ``ProviderError``."""
    found = decode_answer(_whole, body)
    choice = Choice(
        index=0,
        parts=tuple(part for block in found.output.message.content for part in _read_block(block)),
        finish_reason=wire.read_stop(found.stop_reason) if found.stop_reason else None,
        stop_sequence=wire.read_stop_sequence(found.additional_model_response_fields),
    )
    return ChatResponse(
        id="",
        model="",
        created_s=clock.now_ns() // 1_000_000_000,
        choices=(choice,),
        usage=wire.read_usage(found.usage),
        service_tier=wire.read_tier(found.service_tier),
    )


def _read_block(block: wire.Block) -> Iterator[Part]:
    """Read a block; nothing of what AWS's own servers ran in the course of the answer."""
    if block.text is not None:
        yield Text(text=block.text)
    elif block.tool_use is not None and block.tool_use.type is None:
        tool = block.tool_use
        yield ToolUse(id=tool.tool_use_id, name=tool.name, arguments=read_input(bytes(tool.input)))
    elif block.reasoning_content is not None:
        said = block.reasoning_content.reasoning_text or wire.ReasoningText()
        yield Reasoning(text=said.text, signature=said.signature, redacted=block.reasoning_content.redacted_content)
    elif block.citations_content is not None:
        yield Text(text="".join(cited.text for cited in block.citations_content.content))


def write_response(response: ChatResponse) -> bytes:
    """Write an answer: its first choice, for there is only one on this wire."""
    choice = response.choices[0] if response.choices else Choice(index=0, parts=(), finish_reason="stop")
    content = [_write_part(part) for part in choice.parts if not (isinstance(part, Text | Refusal) and not part.text)]
    body: dict[str, Any] = {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": wire.WRITE_STOP[_reason(choice)],
        "usage": wire.write_usage(response.usage),
        "metrics": {"latencyMs": 0},  # demanded, and nobody has measured it
    }
    return msgspec.json.encode(
        body | wire.write_tier(response.service_tier) | wire.write_stop_sequence(choice.stop_sequence)
    )


def _reason(choice: Choice) -> Any:
    refused = any(isinstance(part, Refusal) for part in choice.parts)
    return "refusal" if refused else choice.finish_reason or "stop"


def _write_part(part: Part) -> dict[str, Any]:
    match part:
        case Text() | Refusal():
            return {"text": part.text}
        case Reasoning():
            return {"reasoningContent": write_reasoning(part)}
        case ToolUse():
            return {"toolUse": {"toolUseId": part.id, "name": part.name, "input": write_input(part.arguments)}}
        case _:
            raise TypeError(f"an answer does not hold a {type(part).__name__}")


def write_reasoning(part: Reasoning) -> dict[str, Any]:
    """Write what the model thought, with its signature, or as the bytes that only the provider can read."""
    if part.redacted is not None:
        return {"redactedContent": part.redacted}
    signed = {} if part.signature is None else {"signature": part.signature}
    return {"reasoningText": {"text": part.text, **signed}}
