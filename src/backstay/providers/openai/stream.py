"""Owns streamed answers of OpenAI's chat completions: reading chunks and writing them."""

from typing import Any

import msgspec

from backstay.core.chat import (
    ChatEvent,
    ChatRequest,
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
from backstay.core.usage import NO_USAGE, Usage
from backstay.providers.decoding import decode_answer
from backstay.providers.openai import wire
from backstay.providers.openai.errors import read_error_object
from backstay.providers.openai.response import arguments_text, said_texts, write_thought_signature
from backstay.providers.sse import data_of, write_frame

_chunk = msgspec.json.Decoder(wire.Chunk)


class OpenAIStreamReader:
    """Reads one stream of chunks."""

    def __init__(self) -> None:
        self.finished = False
        self._started = False
        self._tools: dict[tuple[int, int], int] = {}
        """(choice, the wire's index of a tool call) → how many tool calls of the choice came before it."""

    def read(self, frame: bytes) -> list[ChatEvent]:
        data = data_of(frame)
        if data is None:
            return []
        if data == b"[DONE]":
            self.finished = True
            return []
        chunk = decode_answer(_chunk, data)
        if chunk.error is not None:
            message, code = read_error_object(chunk.error)
            return [StreamFailed(message=message, code=code)]
        return self._events(chunk)

    def _events(self, chunk: wire.Chunk) -> list[ChatEvent]:
        events: list[ChatEvent] = []
        if not self._started and chunk.choices:  # Azure's first chunk has no choices and no id
            self._started = True
            events.append(Started(id=chunk.id or "", model=chunk.model or "", created_s=int(chunk.created or 0)))
        for choice in chunk.choices or ():
            if choice.delta is not None:
                self._add_deltas(events, choice, choice.delta)
            if choice.finish_reason:  # some servers send an empty one until the end
                events.append(Finished(reason=wire.read_finish(choice.finish_reason), choice=choice.index))
        usage = chunk.usage or (chunk.x_groq.usage if chunk.x_groq is not None else None)
        if usage is not None:
            events.append(UsageReported(usage=wire.read_usage(usage), service_tier=chunk.service_tier))
        return events

    def _add_deltas(self, events: list[ChatEvent], choice: wire.ChunkChoice, delta: wire.Said) -> None:
        index = choice.index
        if delta.content.__class__ is list or delta.reasoning_content or delta.reasoning:
            reasoning, text = said_texts(delta)
        else:
            reasoning, text = "", delta.content
        if reasoning:
            events.append(ReasoningDelta(text=reasoning, choice=index))
        if text or choice.logprobs:
            events.append(TextDelta(text=str(text or ""), choice=index, logprobs=choice.logprobs))
        if delta.refusal:
            events.append(RefusalDelta(text=delta.refusal, choice=index))
        if delta.tool_calls:
            for call in delta.tool_calls:
                self._add_tool_call(events, index, call)

    def _add_tool_call(self, events: list[ChatEvent], choice: int, call: wire.ToolCall) -> None:
        function = call.function or wire.Function()
        tools = self._tools
        wire_index = call.index
        if wire_index is None:  # some servers send each call whole, without an index
            wire_index = len(tools) if call.id is not None or not tools else len(tools) - 1
        key = (choice, wire_index)
        index = tools.get(key)
        if index is None:
            index = tools[key] = sum(1 for known, _ in tools if known == choice)
            tool_id = call.id or f"call_{choice}_{index}"
            events.append(ToolUseStarted(index=index, id=tool_id, name=function.name or "", choice=choice))
        if function.arguments:
            events.append(ToolUseDelta(index=index, arguments=arguments_text(function.arguments), choice=choice))


class OpenAIStreamWriter:
    """Writes one stream of chunks, ended by ``[DONE]``; with a last chunk of usage where the caller asked for it."""

    def __init__(self, request: ChatRequest):
        self._with_usage = request.stream_usage
        self._head: dict[str, Any] = {}
        self._opened: set[int] = set()
        self._usage: Usage = NO_USAGE
        self._service_tier: str | None = None
        self._signatures: dict[int, str | None] = {}
        """Choice → the signature of the thought before its next part."""

    def write(self, event: ChatEvent) -> bytes:
        match event:
            case Started():
                self._begin(event)
                return self._delta(0, {})
            case TextDelta():
                return self._delta(event.choice, {"content": event.text}, logprobs=event.logprobs)
            case ReasoningDelta():
                self._signatures[event.choice] = event.signature
                return self._delta(event.choice, {"reasoning_content": event.text}) if event.text else b""
            case RefusalDelta():
                return self._delta(event.choice, {"refusal": event.text})
            case ToolUseStarted():
                function = {"name": event.name, "arguments": ""}
                call = {"index": event.index, "id": event.id, "type": "function", "function": function}
                signed = write_thought_signature(self._signatures.pop(event.choice, None))
                return self._delta(event.choice, {"tool_calls": [call | signed]})
            case ToolUseDelta():
                call = {"index": event.index, "function": {"arguments": event.arguments}}
                return self._delta(event.choice, {"tool_calls": [call]})
            case Finished():
                return self._delta(event.choice, {}, finish_reason=wire.WRITE_FINISH[event.reason])
            case UsageReported():
                self._usage, self._service_tier = event.usage, event.service_tier
                return b""
            case StreamFailed():
                return write_frame(msgspec.json.encode({"error": _failure(event)}))

    def end(self) -> bytes:
        if not self._with_usage:
            return b"data: [DONE]\n\n"
        last: dict[str, Any] = {**self._head, "choices": [], "usage": wire.write_usage(self._usage)}
        if self._service_tier in wire.SERVICE_TIERS:
            last["service_tier"] = self._service_tier
        return write_frame(msgspec.json.encode(last)) + b"data: [DONE]\n\n"

    def _begin(self, event: Started) -> None:
        self._head = {
            "id": event.id,
            "object": "chat.completion.chunk",
            "created": event.created_s,
            "model": event.model,
        }

    def _delta(
        self, index: int, delta: dict[str, Any], *, finish_reason: str | None = None, logprobs: Any = None
    ) -> bytes:
        if index not in self._opened:
            self._opened.add(index)
            delta = {"role": "assistant", "content": "", **delta}
        choice: dict[str, Any] = {"index": index, "delta": delta, "finish_reason": finish_reason}
        if logprobs is not None:
            choice["logprobs"] = logprobs
        chunk: dict[str, Any] = {**self._head, "choices": [choice]}
        return write_frame(msgspec.json.encode(chunk))


def _failure(event: StreamFailed) -> dict[str, Any]:
    return {"message": event.message, "type": "server_error", "param": None, "code": event.code}
