"""Owns streamed answers of Anthropic's messages API: reading its events and writing them."""

from typing import Any, Literal

import msgspec

from backstay.core.chat import (
    ChatEvent,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    Started,
    StreamFailed,
    TextDelta,
    ToolUseDelta,
    ToolUseStarted,
    UsageReported,
)
from backstay.core.clock import Clock
from backstay.core.usage import NO_USAGE, Usage
from backstay.providers.anthropic import wire
from backstay.providers.anthropic.errors import read_error_object
from backstay.providers.anthropic.response import message_head
from backstay.providers.anthropic.tool_input import is_object
from backstay.providers.decoding import decode_answer
from backstay.providers.signatures import UNSIGNED, read_unmarked
from backstay.providers.sse import data_of, write_frame

_event = msgspec.json.Decoder(wire.Event)


class AnthropicStreamReader:
    """Reads one stream of events."""

    def __init__(self, clock: Clock) -> None:
        self.finished = False
        self._clock = clock
        self._usage = wire.WireUsage()
        self._tools: dict[int, int] = {}
        """Index of a tool's content block → how many tools came before it."""

    def read(self, frame: bytes) -> list[ChatEvent]:
        data = data_of(frame)
        if data is None:
            return []
        event = decode_answer(_event, data)
        match event.type:
            case "content_block_delta" if event.delta is not None:
                return self._read_delta(event.index, event.delta)
            case "content_block_start" if event.content_block is not None:
                return self._read_start(event.index, event.content_block)
            case "message_start" if event.message is not None:
                return [self._read_message(event.message)]
            case "message_delta" if event.delta is not None:
                return self._read_end(event.delta, event.usage)
            case "message_stop":
                self.finished = True
                return []
            case "error":
                message, code = read_error_object(event.error)
                return [StreamFailed(message=message, code=code)]
            case _:
                return []

    def _read_message(self, message: wire.StartedMessage) -> Started:
        self._usage = message.usage or self._usage
        created_s = self._clock.now_ns() // 1_000_000_000
        return Started(id=message.id, model=message.model, created_s=created_s, usage=wire.read_usage(message.usage))

    def _read_delta(self, index: int, delta: wire.Delta) -> list[ChatEvent]:
        match delta.type:
            case "text_delta":
                return [TextDelta(text=delta.text)]
            case "input_json_delta" if index in self._tools and delta.partial_json:
                return [ToolUseDelta(index=self._tools[index], arguments=delta.partial_json)]
            case "thinking_delta":
                return [ReasoningDelta(text=delta.thinking)]
            case "signature_delta":
                signature = read_unmarked(delta.signature)
                return [ReasoningDelta(signature=signature)] if signature is not None else []
            case _:
                return []

    def _read_start(self, index: int, block: wire.Block) -> list[ChatEvent]:
        match block.type:
            case "tool_use":
                tool = self._tools[index] = len(self._tools)
                return [ToolUseStarted(index=tool, id=block.id, name=block.name)]
            case "text" if block.text:
                return [TextDelta(text=block.text)]
            case "thinking" if block.thinking:
                return [ReasoningDelta(text=block.thinking)]
            case "redacted_thinking":
                return [ReasoningDelta(redacted=block.data or "")]
            case _:
                return []

    def _read_end(self, delta: wire.Delta, usage: wire.WireUsage | None) -> list[ChatEvent]:
        events: list[ChatEvent] = []
        if delta.stop_reason is not None:
            reason = wire.read_stop(delta.stop_reason)
            events.append(Finished(reason=reason, stop_sequence=delta.stop_sequence))
        if usage is not None:
            self._usage = wire.update_usage(self._usage, usage)
            events.append(UsageReported(usage=wire.read_usage(self._usage), service_tier=wire.read_tier(self._usage)))
        return events


class _Tool:
    """A tool call that has not been written whole."""

    def __init__(self, started: ToolUseStarted):
        self.started = started
        self.texts: list[str] = []


class AnthropicStreamWriter:
    """Writes one stream of events.

    Content blocks follow one another on this wire, while other dialects may interleave parallel tool calls: a later
    call is held until the one before it is a whole JSON object, or the answer ends.
    """

    def __init__(self) -> None:
        self._blocks = 0
        self._open: Literal["text", "thinking", "redacted", "tool"] | None = None
        self._tools: dict[int, _Tool] = {}
        """Tool calls not yet closed, in order; the first is the one whose block is open, if one is."""
        self._live: int | None = None
        self._finished: Finished | None = None
        self._refused = False
        self._usage: Usage = NO_USAGE
        self._service_tier: str | None = None

    def write(self, event: ChatEvent) -> bytes:
        match event:
            case Started():
                return self._start(event)
            case TextDelta() | RefusalDelta():
                self._refused = self._refused or isinstance(event, RefusalDelta)
                return self._text(event.text)
            case ReasoningDelta():
                return self._reasoning(event)
            case ToolUseStarted():
                self._tools[event.index] = _Tool(event)
                return self._advance()
            case ToolUseDelta():
                return self._tool_delta(event)
            case Finished():
                self._finished = event
                return b""
            case UsageReported():
                self._usage, self._service_tier = event.usage, event.service_tier
                return b""
            case StreamFailed():
                error = {"type": "api_error", "message": event.message}
                return write_frame(msgspec.json.encode({"type": "error", "error": error}), "error")

    def end(self) -> bytes:
        finished = self._finished or Finished(reason="stop")
        reason = "refusal" if self._refused else wire.WRITE_STOP[finished.reason]
        delta = {"stop_reason": reason, "stop_sequence": finished.stop_sequence}
        usage = wire.write_usage(self._usage)
        return (
            self._advance(last=True)
            + self._close()
            + _write("message_delta", delta=delta, usage=usage)
            + _write("message_stop")
        )

    def _start(self, event: Started) -> bytes:
        self._usage = event.usage or NO_USAGE
        message = message_head(event.id, event.model) | {"usage": wire.write_usage(self._usage)}
        return _write("message_start", message=message)

    def _text(self, text: str) -> bytes:
        if not text:
            return b""
        opened = b"" if self._open == "text" else self._open_block("text", {"type": "text", "text": ""})
        return opened + self._delta("text_delta", text=text)

    def _reasoning(self, event: ReasoningDelta) -> bytes:
        if event.redacted is not None:
            opened = self._open_block("redacted", {"type": "redacted_thinking", "data": event.redacted})
            return opened + self._close()
        block = {"type": "thinking", "thinking": "", "signature": ""}
        opened = b"" if self._open == "thinking" else self._open_block("thinking", block)
        if event.text:
            opened += self._delta("thinking_delta", thinking=event.text)
        if event.signature is not None:  # it ends its block
            opened += self._sign(event.signature)
        return opened

    def _tool_delta(self, event: ToolUseDelta) -> bytes:
        tool = self._tools.get(event.index)
        if tool is None:
            return b""
        tool.texts.append(event.arguments)
        if event.index == self._live and self._open == "tool":
            return self._delta("input_json_delta", partial_json=event.arguments)
        return b""

    def _advance(self, *, last: bool = False) -> bytes:
        """Open the blocks of those tool calls whose turn it is."""
        written: list[bytes] = []
        while self._tools:
            index, tool = next(iter(self._tools.items()))
            if self._live is None:
                self._live = index
                written.append(self._write_tool(tool))
            if not last and (len(self._tools) == 1 or not is_object("".join(tool.texts))):
                break
            del self._tools[index]
            self._live = None
        return b"".join(written)

    def _write_tool(self, tool: _Tool) -> bytes:
        started = tool.started
        block: dict[str, Any] = {"type": "tool_use", "id": started.id, "name": started.name, "input": {}}
        opened = self._open_block("tool", block)
        arguments = "".join(tool.texts)
        return opened + self._delta("input_json_delta", partial_json=arguments) if arguments else opened

    def _open_block(self, kind: Literal["text", "thinking", "redacted", "tool"], block: dict[str, Any]) -> bytes:
        closed = self._close()
        self._open = kind
        return closed + _write("content_block_start", index=self._blocks, content_block=block)

    def _delta(self, kind: str, **fields: str) -> bytes:
        return _write("content_block_delta", index=self._blocks, delta={"type": kind, **fields})

    def _close(self) -> bytes:
        match self._open:
            case None:
                return b""
            case "thinking":
                return self._sign(UNSIGNED)
            case _:
                return self._stop()

    def _sign(self, signature: str) -> bytes:
        """End a thought."""
        return self._delta("signature_delta", signature=signature) + self._stop()

    def _stop(self) -> bytes:
        self._open = None
        self._blocks += 1
        return _write("content_block_stop", index=self._blocks - 1)


def _write(kind: str, **fields: Any) -> bytes:
    return write_frame(msgspec.json.encode({"type": kind, **fields}), kind)
