"""Owns streamed answers of ConverseStream: reading its events and writing them."""

from typing import Any

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
from backstay.core.usage import NO_USAGE
from backstay.providers.anthropic.tool_input import is_object
from backstay.providers.bedrock import wire
from backstay.providers.bedrock.errors import read_exception, write_exception
from backstay.providers.decoding import decode_answer
from backstay.providers.event_stream import read_event, write_event

_event = msgspec.json.Decoder(wire.Event)


class BedrockStreamReader:
    """Reads one stream of messages. Its last one is ``metadata``, which has the usage."""

    def __init__(self, clock: Clock) -> None:
        self.finished = False
        self._clock = clock
        self._tools: dict[int, int] = {}
        """Index of a tool's content block → how many tools came before it."""

    def read(self, frame: bytes) -> list[ChatEvent]:
        message = read_event(frame)
        if message.headers.get(":message-type") in ("exception", "error"):
            text, code = read_exception(message.headers, message.payload)
            return [StreamFailed(message=text, code=code)]
        event = decode_answer(_event, message.payload)
        match message.headers.get(":event-type"):
            case "contentBlockDelta" if event.delta is not None:
                return self._read_delta(event.content_block_index, event.delta)
            case "contentBlockStart" if event.start is not None:
                return self._read_start(event.content_block_index, event.start)
            case "messageStart":
                return [Started(id="", model="", created_s=self._clock.now_ns() // 1_000_000_000)]
            case "messageStop" if event.stop_reason is not None:
                sequence = wire.read_stop_sequence(event.additional_model_response_fields)
                return [Finished(reason=wire.read_stop(event.stop_reason), stop_sequence=sequence)]
            case "metadata":
                self.finished = True
                return [
                    UsageReported(usage=wire.read_usage(event.usage), service_tier=wire.read_tier(event.service_tier))
                ]
            case _:
                return []

    def _read_delta(self, index: int, delta: wire.Delta) -> list[ChatEvent]:
        if delta.text:
            return [TextDelta(text=delta.text)]
        if delta.tool_use is not None and delta.tool_use.input and index in self._tools:
            return [ToolUseDelta(index=self._tools[index], arguments=delta.tool_use.input)]
        thought = delta.reasoning_content
        if thought is None:
            return []
        return [ReasoningDelta(text=thought.text or "", signature=thought.signature, redacted=thought.redacted_content)]

    def _read_start(self, index: int, start: wire.BlockStart) -> list[ChatEvent]:
        tool = start.tool_use
        if tool is None or tool.type is not None:
            return []
        number = self._tools[index] = len(self._tools)
        return [ToolUseStarted(index=number, id=tool.tool_use_id, name=tool.name)]


class _Block:
    """A content block that is open."""

    def __init__(self, index: int, kind: str):
        self.index = index
        self.kind = kind
        self.texts: list[str] = []
        """Of a tool call: its arguments so far."""


class BedrockStreamWriter:
    """Writes one stream of messages.

    Blocks follow one another, but for tool calls that come side by side: those stay open until they are whole, each
    under its own index.
    """

    def __init__(self) -> None:
        self._count = 0
        self._spoken: _Block | None = None
        """The open block of text or reasoning."""
        self._tools: dict[int, _Block] = {}
        self._finished = Finished(reason="stop")
        self._refused = False
        self._usage = UsageReported(usage=NO_USAGE)

    def write(self, event: ChatEvent) -> bytes:
        match event:
            case Started():
                return _write("messageStart", {"role": "assistant"})
            case TextDelta() | RefusalDelta():
                self._refused = self._refused or isinstance(event, RefusalDelta)
                return self._speak("text", {"text": event.text}) if event.text else b""
            case ReasoningDelta():
                return self._think(event)
            case ToolUseStarted():
                return self._start_tool(event)
            case ToolUseDelta():
                return self._continue_tool(event)
            case Finished():
                self._finished = event
                return b""
            case UsageReported():
                self._usage = event
                return b""
            case StreamFailed():
                return write_exception(event.message, event.code)

    def end(self) -> bytes:
        reason = "refusal" if self._refused else self._finished.reason
        stop = {"stopReason": wire.WRITE_STOP[reason], **wire.write_stop_sequence(self._finished.stop_sequence)}
        usage = {"usage": wire.write_usage(self._usage.usage), "metrics": {"latencyMs": 0}}
        closed = self._hush() + b"".join(_stop(block) for block in self._tools.values())
        metadata = usage | wire.write_tier(self._usage.service_tier)
        return closed + _write("messageStop", stop) + _write("metadata", metadata)

    def _speak(self, kind: str, delta: dict[str, Any]) -> bytes:
        closed = b""
        if self._spoken is None or self._spoken.kind != kind:
            closed = self._hush()
            self._spoken = self._open(kind)
        return closed + _delta(self._spoken, delta)

    def _think(self, event: ReasoningDelta) -> bytes:
        if event.redacted is not None:
            delta = {"reasoningContent": {"redactedContent": event.redacted}}
            return self._hush() + self._speak("reasoning", delta) + self._hush()
        written = self._speak("reasoning", {"reasoningContent": {"text": event.text}}) if event.text else b""
        if event.signature is not None:  # it ends its block
            signature = {"reasoningContent": {"signature": event.signature}}
            written += self._speak("reasoning", signature) + self._hush()
        return written

    def _start_tool(self, event: ToolUseStarted) -> bytes:
        closed = self._hush()
        for index, tool in tuple(self._tools.items()):
            if is_object("".join(tool.texts)):
                closed += _stop(self._tools.pop(index))
        block = self._tools[event.index] = self._open("tool")
        start = {"toolUse": {"toolUseId": event.id, "name": event.name}}
        return closed + _write("contentBlockStart", {"start": start, "contentBlockIndex": block.index})

    def _continue_tool(self, event: ToolUseDelta) -> bytes:
        tool = self._tools.get(event.index)
        if tool is None:
            return b""
        tool.texts.append(event.arguments)
        return _delta(tool, {"toolUse": {"input": event.arguments}})

    def _open(self, kind: str) -> _Block:
        self._count += 1
        return _Block(self._count - 1, kind)

    def _hush(self) -> bytes:
        """Close the open block of text or reasoning."""
        block, self._spoken = self._spoken, None
        return b"" if block is None else _stop(block)


def _delta(block: _Block, delta: dict[str, Any]) -> bytes:
    return _write("contentBlockDelta", {"delta": delta, "contentBlockIndex": block.index})


def _stop(block: _Block) -> bytes:
    return _write("contentBlockStop", {"contentBlockIndex": block.index})


def _write(kind: str, payload: dict[str, Any]) -> bytes:
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return write_event(msgspec.json.encode(payload), headers)
