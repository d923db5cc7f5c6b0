"""Owns streamed responses: reading events and writing them."""

from collections.abc import Sequence
from typing import Any

import msgspec

from backstay.core.chat import (
    ChatEvent,
    Finished,
    Reasoning,
    ReasoningDelta,
    Refusal,
    RefusalDelta,
    Started,
    StreamFailed,
    Text,
    TextDelta,
    ToolUse,
    ToolUseDelta,
    ToolUseStarted,
    UsageReported,
)
from backstay.core.clock import Clock
from backstay.providers.accumulate import accumulate
from backstay.providers.decoding import decode_answer
from backstay.providers.openai.errors import read_error_object
from backstay.providers.responses import wire
from backstay.providers.responses.passed import Passed
from backstay.providers.responses.response import (
    FAILED,
    Echo,
    count_searches,
    count_storage_searches,
    item_id,
    name_response,
    read_call,
    read_reasoning,
    write_call,
    write_content,
    write_ending,
    write_head,
    write_message,
    write_reasoning,
)
from backstay.providers.sse import data_of, write_frame

_event = msgspec.json.Decoder(wire.Event)
_WHOLE_PART = "\n\n"
"""Between two parts of a reasoning summary."""


class Progress:
    """How far the stream of one call has come: what an event about its failure must say."""

    def __init__(self) -> None:
        self.sequence = 0
        """The next event's number."""
        self.head: dict[str, Any] | None = None
        """Of a response that is written here and has begun."""
        self.passed: Passed | None = None
        """Of one that its provider wrote, at least up to where its stream broke."""


class ResponsesStreamReader:
    """Reads one stream of events."""

    def __init__(self, progress: Progress) -> None:
        self.finished = False
        self._progress = progress
        self._passed = progress.passed = Passed()
        self._started = False
        self._refused = False
        self._tools: dict[int, int] = {}
        """The output index of a function's call → how many calls came before it."""
        self._told: set[int] = set()
        """The calls whose arguments came in pieces."""

    def read(self, frame: bytes) -> list[ChatEvent]:
        data = data_of(frame)
        if data is None or data == b"[DONE]":
            return []
        event = decode_answer(_event, data)
        self._passed.note(event, data)
        self._progress.sequence = self._passed.sequence
        events = self._events_of(event)
        self._passed.events += len(events)
        return events

    def _events_of(self, event: wire.Event) -> list[ChatEvent]:
        if event.type == "error":
            found = event.error or {"message": event.message, "code": event.code}
            message, code = read_error_object(found)
            return [StreamFailed(message=message, code=code)]
        if event.response is not None:
            return self._read_lifecycle(event.type, event.response)
        return self._read_delta(event) if event.item is None else self._read_item(event, event.item)

    def _read_lifecycle(self, kind: str, response: wire.Snapshot) -> list[ChatEvent]:
        events: list[ChatEvent] = []
        if not self._started:
            self._started = True
            events.append(Started(id=response.id, model=response.model, created_s=int(response.created_at or 0)))
        if kind == "response.failed":
            message, code = read_error_object(response.error or FAILED)
            return [*events, StreamFailed(message=message, code=code)]
        if kind in ("response.completed", "response.incomplete"):
            self.finished = True
            reason = wire.read_finish(response, has_tools=bool(self._tools), has_refusal=self._refused)
            usage = wire.read_usage(response.usage, count_searches(response), count_storage_searches(response))
            events.append(Finished(reason=reason or "stop"))
            events.append(UsageReported(usage=usage, service_tier=response.service_tier))
        return events

    def _read_delta(self, event: wire.Event) -> list[ChatEvent]:
        match event.type:
            case "response.output_text.delta":
                logprobs = wire.read_logprobs(event.logprobs) if event.logprobs else None
                return [TextDelta(text=str(event.delta or ""), logprobs=logprobs)]
            case "response.refusal.delta":
                self._refused = True
                return [RefusalDelta(text=str(event.delta or ""))]
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                return [ReasoningDelta(text=str(event.delta or ""))]
            case "response.reasoning_summary_part.added" if event.summary_index:
                return [ReasoningDelta(text=_WHOLE_PART)]
            case "response.function_call_arguments.delta" if event.output_index in self._tools:
                self._told.add(event.output_index)
                return [ToolUseDelta(index=self._tools[event.output_index], arguments=str(event.delta or ""))]
            case _:
                return []

    def _read_item(self, event: wire.Event, item: wire.Item) -> list[ChatEvent]:
        index = event.output_index
        events: list[ChatEvent] = []
        if item.type == "function_call":
            call = read_call(item)
            if index not in self._tools:
                self._tools[index] = len(self._tools)
                events.append(ToolUseStarted(index=self._tools[index], id=call.id, name=call.name))
            if event.type == "response.output_item.done" and index not in self._told and call.arguments:
                events.append(ToolUseDelta(index=self._tools[index], arguments=call.arguments))
        elif item.type == "reasoning" and event.type == "response.output_item.done":
            part = read_reasoning(item)
            if part is not None and part.redacted is not None:
                events.append(ReasoningDelta(redacted=part.redacted))
            elif part is not None and part.signature is not None:
                events.append(ReasoningDelta(signature=part.signature))
        return events


class _Open:
    """An item that is being written: what came of it so far."""

    def __init__(self, index: int, name: str, started: ToolUseStarted | None = None):
        self.index = index
        self.name = name
        self.started = started
        self.contents: list[dict[str, Any]] = []
        """Of a message: its finished parts."""
        self.kind: type[Text | Refusal] | None = None
        """Of a message: its open part."""
        self.texts: list[str] = []
        self.logprobs: list[dict[str, Any]] = []
        self.signature: str | None = None

    @property
    def text(self) -> str:
        return "".join(self.texts)


def _reopened(passed: Passed, begun: wire.Item) -> _Open:
    item = _Open(passed.open_index, begun.id or item_id(begun.type, "", passed.open_index))
    texts = ["".join(part) for part in passed.texts]
    if begun.type != "message":
        item.texts = [_WHOLE_PART.join(texts)] if texts else []
        return item
    if passed.is_part_open:
        item.kind, item.texts = Text, [texts.pop()]
    item.contents = [write_content(Text(text=text)) for text in texts]
    return item


class ResponsesStreamWriter:
    """Writes one stream of events, each with its number.

    A message or reasoning ends where something else begins. Tool calls, which other dialects may interleave, stay open
    until the end of the answer.
    """

    def __init__(self, echo: Echo, progress: Progress, clock: Clock):
        self._echo = echo
        self._progress = progress
        self._clock = clock
        self._id = ""
        self._events: list[ChatEvent] = []
        """What the end is told from: start, finish and usage."""
        self._items: dict[int, dict[str, Any]] = {}
        """The finished items, by their place."""
        self._count = 0
        self._open: _Open | None = None
        """The message or reasoning that is being written."""
        self._is_message = False
        self._calls: dict[int, _Open] = {}

    def write(self, event: ChatEvent) -> bytes:
        match event:
            case Started():
                self._events.append(event)
                return self._begin(event)
            case TextDelta() | RefusalDelta() | ReasoningDelta() | ToolUseStarted() | ToolUseDelta():
                return self._write_delta(event) if event.choice == 0 else b""
            case Finished() | UsageReported():
                self._events.append(event)
                return b""
            case StreamFailed():
                return write_failure(self._progress, event.message, event.code)

    def stand_behind(self, passed: Passed, said: Sequence[ChatEvent]) -> None:
        """Go on with a stream that its provider wrote so far.

        Args:
            said: What that came to.
        """
        for event in said:
            if isinstance(event, Started | UsageReported):
                self.write(event)  # only for the head and the end: the caller has it already
        self._items = {index: msgspec.json.decode(item) for index, item in passed.items.items()}
        self._count = passed.count
        if passed.open is not None:
            self._open, self._is_message = _reopened(passed, passed.open), passed.open.type == "message"
        self._progress.sequence, self._progress.passed = passed.sequence, passed

    def end(self) -> bytes:
        written = [self._close(), *[self._close_call(call) for call in self._calls.values()]]
        response = accumulate(self._events)
        output = [self._items[index] for index in sorted(self._items)]
        reason = response.choices[0].finish_reason or "stop"
        ending = write_ending(reason, response, output, now_s=self._clock.now_ns() // 1_000_000_000)
        whole = (self._progress.head or {}) | ending
        return b"".join(written) + self._send(f"response.{ending['status']}", response=whole)

    def _begin(self, event: Started) -> bytes:
        self._id = name_response(event.id, self._echo)
        head = write_head(self._echo, response_id=self._id, model=event.model, created_s=event.created_s)
        self._progress.head = head
        unborn: dict[str, Any] = {"status": "in_progress", "error": None, "incomplete_details": None, "output": []}
        return self._send("response.created", response=head | unborn) + self._send(
            "response.in_progress", response=head | unborn
        )

    def _write_delta(self, event: TextDelta | RefusalDelta | ReasoningDelta | ToolUseStarted | ToolUseDelta) -> bytes:
        match event:
            case TextDelta():
                return self._text(Text, event.text, wire.write_logprobs(event.logprobs))
            case RefusalDelta():
                return self._text(Refusal, event.text, [])
            case ReasoningDelta():
                return self._reasoning(event)
            case ToolUseStarted():
                return self._start_call(event)
            case ToolUseDelta():
                return self._call_delta(event)

    def _text(self, kind: type[Text | Refusal], text: str, logprobs: list[dict[str, Any]]) -> bytes:
        if not text and not logprobs:
            return b""
        written = b""
        if self._open is None or not self._is_message:
            written += self._close()
            self._open, self._is_message = self._next("message"), True
            written += self._added(self._open, write_message(self._open.name, "in_progress"))
        item = self._open
        if item.kind is not kind:
            written += self._close_content(item)
            item.kind = kind
            written += self._content(item, "response.content_part.added", part=write_content(kind(text="")))
        item.texts.append(text)
        item.logprobs += logprobs
        if kind is Refusal:
            return written + self._content(item, "response.refusal.delta", delta=text)
        return written + self._content(item, "response.output_text.delta", delta=text, logprobs=logprobs)

    def _close_content(self, item: _Open) -> bytes:
        if item.kind is None:
            return b""
        part = write_content(item.kind(text=item.text))
        if item.kind is Refusal:
            written = self._content(item, "response.refusal.done", refusal=item.text)
        else:
            part["logprobs"] = item.logprobs
            written = self._content(item, "response.output_text.done", text=item.text, logprobs=item.logprobs)
        written += self._content(item, "response.content_part.done", part=part)
        item.contents.append(part)
        item.kind, item.texts, item.logprobs = None, [], []
        return written

    def _reasoning(self, event: ReasoningDelta) -> bytes:
        if event.redacted is not None:
            return self._close() + self._whole_reasoning(Reasoning(redacted=event.redacted))
        written = b""
        if self._open is None or self._is_message:
            written += self._close()
            self._open, self._is_message = self._next("reasoning"), False
            written += self._added(self._open, write_reasoning(Reasoning(), self._open.name))
        item = self._open
        if event.text:
            if not item.texts:
                written += self._summary(item, "response.reasoning_summary_part.added", part=_summary_part(""))
            item.texts.append(event.text)
            written += self._summary(item, "response.reasoning_summary_text.delta", delta=event.text)
        if event.signature is not None:  # it ends its item
            item.signature = event.signature
            written += self._close()
        return written

    def _whole_reasoning(self, part: Reasoning) -> bytes:
        item = self._next("reasoning")
        return self._added(item, write_reasoning(Reasoning(), item.name)) + self._done(
            item, write_reasoning(part, item.name)
        )

    def _close(self) -> bytes:
        """End the open message or reasoning, if there is one."""
        item, self._open = self._open, None
        if item is None:
            return b""
        if self._is_message:
            written = self._close_content(item)
            whole = write_message(item.name, "completed") | {"content": item.contents}
            return written + self._done(item, whole)
        written = b""
        if item.texts:
            written += self._summary(item, "response.reasoning_summary_text.done", text=item.text)
            written += self._summary(item, "response.reasoning_summary_part.done", part=_summary_part(item.text))
        part = Reasoning(text=item.text, signature=item.signature)
        return written + self._done(item, write_reasoning(part, item.name) | {"id": item.name})

    def _start_call(self, event: ToolUseStarted) -> bytes:
        written = self._close()
        item = self._calls[event.index] = self._next("function_call", event)
        call = ToolUse(id=event.id, name=event.name, arguments="")
        return written + self._added(item, write_call(call, item.name, "in_progress"))

    def _call_delta(self, event: ToolUseDelta) -> bytes:
        item = self._calls.get(event.index)
        if item is None or not event.arguments:
            return b""
        item.texts.append(event.arguments)
        place = {"item_id": item.name, "output_index": item.index}
        return self._send("response.function_call_arguments.delta", **place, delta=event.arguments)

    def _close_call(self, item: _Open) -> bytes:
        assert item.started is not None
        call = ToolUse(id=item.started.id, name=item.started.name, arguments=item.text)
        place = {"item_id": item.name, "output_index": item.index}
        told = self._send("response.function_call_arguments.done", **place, name=call.name, arguments=call.arguments)
        return told + self._done(item, write_call(call, item.name, "completed"))

    def _next(self, kind: str, started: ToolUseStarted | None = None) -> _Open:
        self._count += 1
        return _Open(self._count - 1, item_id(kind, self._id, self._count - 1), started)

    def _added(self, item: _Open, value: dict[str, Any]) -> bytes:
        return self._send("response.output_item.added", output_index=item.index, item=value)

    def _done(self, item: _Open, value: dict[str, Any]) -> bytes:
        self._items[item.index] = value
        return self._send("response.output_item.done", output_index=item.index, item=value)

    def _content(self, item: _Open, kind: str, **fields: Any) -> bytes:
        return self._send(kind, item_id=item.name, output_index=item.index, content_index=len(item.contents), **fields)

    def _summary(self, item: _Open, kind: str, **fields: Any) -> bytes:
        return self._send(kind, item_id=item.name, output_index=item.index, summary_index=0, **fields)

    def _send(self, kind: str, **fields: Any) -> bytes:
        return send(self._progress, kind, **fields)


def _summary_part(text: str) -> dict[str, str]:
    return {"type": "summary_text", "text": text}


def send(progress: Progress, kind: str, **fields: Any) -> bytes:
    """Write one event with the next number."""
    event = {"type": kind, "sequence_number": progress.sequence, **fields}
    progress.sequence += 1
    return write_frame(msgspec.json.encode(event), kind)


def write_failure(progress: Progress, message: str, code: str | None, kind: str = "server_error") -> bytes:
    """Write the events that tell that a stream failed.

    ``response.failed`` for who reads events. ``error`` has its fields both as the document says and, as OpenAI sends
    them, in an object, which is what its SDK raises on.
    """
    failed = b""
    if progress.head is not None:
        error = {"code": "rate_limit_exceeded" if kind == "rate_limit_error" else "server_error", "message": message}
        ending: dict[str, Any] = {"status": "failed", "error": error, "incomplete_details": None, "output": []}
        failed = send(progress, "response.failed", response=progress.head | ending)
    found = {"message": message, "type": kind, "param": None, "code": code}
    return failed + send(progress, "error", code=code, message=message, param=None, error=found)
