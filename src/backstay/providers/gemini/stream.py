"""Owns streamed answers of Gemini's streamGenerateContent: reading chunks, each an answer in itself, and writing them.

The wire has no end of its own: an answer is whole when its candidates have a reason to finish.
"""

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
from backstay.core.usage import NO_USAGE, Usage
from backstay.providers.anthropic.tool_input import read_input, write_input
from backstay.providers.decoding import decode_answer
from backstay.providers.gemini import wire
from backstay.providers.gemini.errors import read_error_object
from backstay.providers.gemini.response import call_id, check_media, failure_of, signature_alone
from backstay.providers.signatures import mark_signature, signature_for
from backstay.providers.sse import data_of, write_frame

_chunk = msgspec.json.Decoder(wire.Answer)


class GeminiStreamReader:
    """Reads one stream of chunks."""

    def __init__(self, clock: Clock) -> None:
        self.finished = False
        self._clock = clock
        self._response_id: str | None = None
        self._started = False
        self._open: set[int] = set()
        """Candidates that have begun and not finished."""
        self._tools: dict[int, int] = {}
        """Candidate → how many tool calls it has made."""
        self._searches = 0

    def read(self, frame: bytes) -> list[ChatEvent]:
        data = data_of(frame)
        if data is None:
            return []
        chunk = decode_answer(_chunk, data)
        if chunk.error is not None:
            message, code = read_error_object(chunk.error)
            return [StreamFailed(message=message, code=code)]
        return self._events(chunk)

    def _events(self, chunk: wire.Answer) -> list[ChatEvent]:
        events: list[ChatEvent] = []
        candidates, feedback = chunk.candidates or [], chunk.prompt_feedback
        is_blocked = feedback is not None and feedback.block_reason is not None
        if not self._started and (candidates or is_blocked):
            events.append(self._start(chunk))
        if is_blocked and not candidates:
            events.append(Finished(reason="content_filter"))
            self.finished = True
        failure: StreamFailed | None = None
        for candidate in candidates:
            failure = self._add_candidate(events, candidate) or failure
        if chunk.usage_metadata is not None:
            self._searches = max(self._searches, wire.count_searches(candidates, chunk.model_version))
            usage = wire.read_usage(chunk.usage_metadata, self._searches)
            tier = wire.read_tier(chunk.usage_metadata)
            events.append(UsageReported(usage=usage, service_tier=tier))
        if failure is not None:
            events.append(failure)
        elif candidates and not self._open:
            self.finished = True
        return events

    def _start(self, chunk: wire.Answer) -> Started:
        self._started, self._response_id = True, chunk.response_id
        created_s = self._clock.now_ns() // 1_000_000_000
        return Started(id=chunk.response_id or "", model=chunk.model_version or "", created_s=created_s)

    def _add_candidate(self, events: list[ChatEvent], candidate: wire.Candidate) -> StreamFailed | None:
        """Add what a candidate says now; return why it failed, if it did."""
        index = candidate.index
        self._open.add(index)
        logprobs = wire.read_logprobs(candidate.logprobs_result)
        for part in (candidate.content and candidate.content.parts) or ():
            self._add_part(events, index, part, logprobs)
            logprobs = None if part.text and not part.thought else logprobs
        if not candidate.finish_reason:
            return None
        self._open.discard(index)
        reason = wire.read_finish(candidate.finish_reason, calls_a_tool=index in self._tools)
        if reason == "error":
            error = failure_of(candidate)
            return StreamFailed(message=error.message, code=error.provider_code)
        events.append(Finished(reason=reason, choice=index))
        return None

    def _add_part(self, events: list[ChatEvent], choice: int, part: wire.Part, logprobs: Any) -> None:
        check_media(part)
        if part.thought_signature is not None:
            signature = mark_signature("gemini", part.thought_signature)
            events.append(ReasoningDelta(signature=signature, choice=choice))
        if part.function_call is not None:
            self._add_call(events, choice, part.function_call)
        elif part.text and part.thought:
            events.append(ReasoningDelta(text=part.text, choice=choice))
        elif part.text:
            events.append(TextDelta(text=part.text, choice=choice, logprobs=logprobs))

    def _add_call(self, events: list[ChatEvent], choice: int, call: wire.FunctionCall) -> None:
        index = self._tools.get(choice, 0)
        self._tools[choice] = index + 1
        tool_id = call.id or call_id(self._response_id, choice, index)
        events.append(ToolUseStarted(index=index, id=tool_id, name=call.name, choice=choice))
        events.append(ToolUseDelta(index=index, arguments=read_input(bytes(call.args)), choice=choice))


class _Call:
    """A tool call in the making: this wire has it whole."""

    def __init__(self, started: ToolUseStarted, signature: str | None):
        self.started = started
        self.signature = signature
        self.texts: list[str] = []


class GeminiStreamWriter:
    """Writes one stream of chunks. Tool calls and the reasons to finish wait until the end: the one must be whole, and
    the other has the last chunk's usage beside it."""

    def __init__(self) -> None:
        self._head: dict[str, Any] = {}
        self._calls: dict[tuple[int, int], _Call] = {}
        self._signatures: dict[int, str] = {}
        """Candidate → the signature for its next part."""
        self._finished: list[Finished] = []
        self._usage: Usage = NO_USAGE
        self._service_tier: str | None = None

    def write(self, event: ChatEvent) -> bytes:
        match event:
            case Started():
                self._head = {"modelVersion": event.model, "responseId": event.id}
                self._usage = event.usage or NO_USAGE
                return b""
            case TextDelta():
                return self._text(event)
            case RefusalDelta():
                return self._chunk(event.choice, [{"text": event.text}])
            case ReasoningDelta():
                return self._reasoning(event)
            case ToolUseStarted():
                signature = self._signatures.pop(event.choice, None)
                self._calls[event.choice, event.index] = _Call(event, signature)
                return b""
            case ToolUseDelta():
                if (event.choice, event.index) in self._calls:
                    self._calls[event.choice, event.index].texts.append(event.arguments)
                return b""
            case Finished():
                self._finished.append(event)
                return b""
            case UsageReported():
                self._usage, self._service_tier = event.usage, event.service_tier
                return b""
            case StreamFailed():
                error = {"code": 500, "message": event.message, "status": "INTERNAL"}
                return write_frame(msgspec.json.encode({"error": error}))

    def end(self) -> bytes:
        finished = self._finished or [Finished(reason="stop")]
        return b"".join(
            self._chunk(event.choice, self._last_parts(event.choice), finish=wire.WRITE_FINISH[event.reason])
            for event in finished
        )

    def _last_parts(self, choice: int) -> list[dict[str, Any]]:
        calls = [call for (of, _), call in sorted(self._calls.items()) if of == choice]
        return [_write_call(call) for call in calls] + signature_alone(self._signatures.pop(choice, None))

    def _text(self, event: TextDelta) -> bytes:
        part: dict[str, Any] = {"text": event.text}
        signature = self._signatures.pop(event.choice, None)
        if signature is not None:
            part["thoughtSignature"] = signature
        return self._chunk(event.choice, [part], logprobs=event.logprobs)

    def _reasoning(self, event: ReasoningDelta) -> bytes:
        before = signature_alone(self._signatures.pop(event.choice, None)) if event.text else []
        signature = signature_for("gemini", event.signature)
        if signature is not None:
            self._signatures[event.choice] = self._signatures.pop(event.choice, "") + signature
        parts = [*before, {"text": event.text, "thought": True}] if event.text else before
        return self._chunk(event.choice, parts) if parts else b""

    def _chunk(
        self, choice: int, parts: list[dict[str, Any]], *, finish: str | None = None, logprobs: Any = None
    ) -> bytes:
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}, "index": choice}
        if finish is not None:
            candidate["finishReason"] = finish
        if logprobs is not None:
            candidate["logprobsResult"] = wire.write_logprobs(logprobs)
        usage = wire.write_usage(self._usage, self._service_tier)
        return write_frame(msgspec.json.encode({"candidates": [candidate], "usageMetadata": usage, **self._head}))


def _write_call(call: _Call) -> dict[str, Any]:
    started = call.started
    function = {"id": started.id, "name": started.name, "args": write_input("".join(call.texts))}
    return {"functionCall": function} | ({} if call.signature is None else {"thoughtSignature": call.signature})
