"""Owns the joining of a stream: events in, the answer that they make. Linear in the size of the answer."""

from collections.abc import Iterable
from typing import Any, cast

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
    StreamFailed,
    Text,
    TextDelta,
    ToolUse,
    ToolUseDelta,
    ToolUseStarted,
    UsageReported,
)
from backstay.core.usage import NO_USAGE
from backstay.providers.types import ReplySummary


class _Piece:
    """One part in the making."""

    __slots__ = ("redacted", "signature", "texts", "tool")

    def __init__(self, tool: ToolUseStarted | None = None):
        self.texts: list[str] = []
        self.signature: str | None = None
        self.redacted: str | None = None
        self.tool = tool


class _ChoiceInTheMaking:
    def __init__(self) -> None:
        self._pieces: list[tuple[type, _Piece]] = []
        self._tools: dict[int, _Piece] = {}
        self._logprobs: dict[str, list[Any]] = {}
        self.finished: Finished | None = None

    def _piece(self, kind: type, *, fresh: bool = False) -> _Piece:
        if fresh or not self._pieces or self._pieces[-1][0] is not kind:
            self._pieces.append((kind, _Piece()))
        return self._pieces[-1][1]

    def add(self, event: ChatEvent) -> None:
        match event:
            case TextDelta():
                self._piece(Text).texts.append(event.text)
                self._add_logprobs(event.logprobs)
            case RefusalDelta():
                self._piece(Refusal).texts.append(event.text)
            case ReasoningDelta():
                self._add_reasoning(event)
            case ToolUseStarted():
                piece = self._tools[event.index] = _Piece(event)
                self._pieces.append((ToolUse, piece))
            case ToolUseDelta():
                if event.index in self._tools:
                    self._tools[event.index].texts.append(event.arguments)
            case Finished():
                self.finished = event
            case _:
                pass

    def _add_reasoning(self, event: ReasoningDelta) -> None:
        piece = self._piece(Reasoning, fresh=event.redacted is not None)
        if (piece.redacted is not None and event.redacted is None) or (piece.signature is not None and event.text):
            piece = self._piece(Reasoning, fresh=True)  # a signature and a redacted block end what they belong to
        piece.texts.append(event.text)
        if event.signature is not None:
            piece.signature = (piece.signature or "") + event.signature
        if event.redacted is not None:
            piece.redacted = event.redacted

    def _add_logprobs(self, logprobs: Any) -> None:
        if isinstance(logprobs, dict):
            for name, tokens in cast(dict[str, Any], logprobs).items():
                self._logprobs.setdefault(name, []).extend(tokens or ())

    def choice(self, index: int) -> Choice:
        logprobs = {name: tokens or None for name, tokens in self._logprobs.items()} or None
        parts = tuple(part for kind, piece in self._pieces if (part := _part(kind, piece)) is not None)
        if self.finished is None:
            return Choice(index=index, parts=parts, finish_reason=None, logprobs=logprobs)
        return Choice(
            index=index,
            parts=parts,
            finish_reason=self.finished.reason,
            stop_sequence=self.finished.stop_sequence,
            logprobs=logprobs,
        )


def _part(kind: type, piece: _Piece) -> Part | None:
    text = "".join(piece.texts)
    if piece.tool is not None:
        return ToolUse(id=piece.tool.id, name=piece.tool.name, arguments=text)
    if kind is Reasoning:
        return Reasoning(text=text, signature=piece.signature, redacted=piece.redacted)
    if not text:
        return None
    return Text(text=text) if kind is Text else Refusal(text=text)


def accumulate(events: Iterable[ChatEvent]) -> ChatResponse:
    """Join the events of a stream, which may have been cut anywhere, into one answer.

    Usage is the last that was reported; a stream cut before that has the one that it started with, if any.
    """
    started = Started(id="", model="", created_s=0)
    usage, service_tier = NO_USAGE, None
    choices: dict[int, _ChoiceInTheMaking] = {}
    for event in events:
        match event:
            case Started():
                started = event
                usage = event.usage or usage
            case UsageReported():
                usage, service_tier = event.usage, event.service_tier or service_tier
            case StreamFailed():
                pass
            case _:
                if event.choice not in choices:
                    choices[event.choice] = _ChoiceInTheMaking()
                choices[event.choice].add(event)
    made = tuple(choices[index].choice(index) for index in sorted(choices))
    return ChatResponse(
        id=started.id,
        model=started.model,
        created_s=started.created_s,
        choices=made or (Choice(index=0, parts=(), finish_reason=None),),
        usage=usage,
        service_tier=service_tier,
    )


def summarize(response: ChatResponse) -> ReplySummary:
    """Take from an answer what the books need."""
    return ReplySummary(
        id=response.id or None,
        model=response.model or None,
        usage=response.usage,
        finish_reasons=tuple(choice.finish_reason for choice in response.choices if choice.finish_reason is not None),
        service_tier=response.service_tier,
    )
