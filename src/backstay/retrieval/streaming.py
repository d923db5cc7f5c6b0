"""Owns answers while they are written: pieces of text as they come, each sentence once it is checked, the whole."""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import msgspec

from backstay.core.caller import Caller
from backstay.core.ports import ModelAnswer, ModelStreams
from backstay.retrieval.answering import NOTHING, PLAINLY, Answers, Draft
from backstay.retrieval.chunking import sentences
from backstay.retrieval.types import Answer, Manner, Query, Sentence, Turn

_MARK = re.compile(r"\s*\[\d+(?:\s*,\s*\d+)*\]")
_OPEN = re.compile(r"\s*(\[[\d,\s]*)?$")
"""What may become a model's own citation, or a blank before one."""


_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of the text as the model writes it, not checked yet."""

    text: str


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """The answer, and what its model call used."""

    answer: Answer
    usage: dict[str, Any] | None
    """On OpenAI's wire; ``None``: no model was asked, or it did not say."""


Event = Piece | Sentence | Whole


class AnswerStreams:
    """Gives answers as they are written."""

    def __init__(self, answers: Answers, streams: ModelStreams):
        self._answers = answers
        self._streams = streams

    async def give(
        self, caller: Caller, name: str, query: Query, messages: Sequence[Turn] = (), manner: Manner = PLAINLY
    ) -> AsyncGenerator[Event]:
        """Answer as ``Answers.give`` does. The last event is the whole; closing the generator ends the model's call.

        Raises:
            NotFound: There is no such collection.
            BackstayError: What the calls of the two models may end with.
        """
        draft = await self._answers.prepare(caller, name, query, messages, manner)
        if isinstance(draft, Answer):
            yield Whole(answer=draft, usage=None)
            return
        if draft.unsupported != "mark":
            for event in await self._once_settled(draft):
                yield event
            return
        events: asyncio.Queue[str | None] = asyncio.Queue()  # as long as an answer may be at most
        task = asyncio.create_task(self._ask(draft, events))
        writing = Writing(draft)
        try:
            while (text := await events.get()) is not None:
                for event in writing.add(text):
                    yield event
            told = await task
            answer = draft.read(told)
            for event in writing.end(answer):
                yield event
            yield Whole(answer=answer, usage=_usage(told))
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _once_settled(self, draft: Draft) -> list[Event]:
        """Tell nothing that may yet be taken back: where sentences are cut or asked for again, all comes at the end."""
        answer, told = await self._answers.settle(draft)
        whole = Whole(answer=answer, usage=_sum(list(map(_usage, told))))
        if answer.abstained:
            return [whole]
        kept = [sentence for sentence in answer.sentences if sentence.text in answer.answer]
        return [Piece(text=answer.answer), *kept, whole]

    async def _ask(self, draft: Draft, events: "asyncio.Queue[str | None]") -> ModelAnswer:
        try:
            return await self._streams.stream(draft.payer, draft.request, events.put)
        finally:
            events.put_nowait(None)


class Writing:
    """An answer as far as it is written. What it has told is text without the model's own marks."""

    def __init__(self, draft: Draft):
        self._draft = draft
        self._raw = ""
        self._text = ""
        self._checked = 0

    def add(self, text: str) -> list[Event]:
        """Take a piece in, and return what can be told now: nothing while it may yet be an abstention or a mark."""
        self._raw += text
        begun = self._raw.lstrip()
        if not begun or NOTHING.casefold().startswith(begun.casefold()[: len(NOTHING)]):
            return []
        open_at = _OPEN.search(self._raw)
        settled = self._raw[: open_at.start()] if open_at else self._raw
        return self._tell(_MARK.sub("", settled).lstrip())

    def end(self, answer: Answer) -> list[Event]:
        """Return what is left to tell of the answer that it has become."""
        if not answer.sentences:
            return []
        told = self._tell(_MARK.sub("", self._raw).strip(), is_whole=True)
        return [*told, *answer.sentences[self._checked :]]

    def _tell(self, text: str, *, is_whole: bool = False) -> list[Event]:
        told: list[Event] = []
        if len(text) > len(self._text):
            told.append(Piece(text=text[len(self._text) :]))
            self._text = text
        if not is_whole:
            for start, end in sentences(text)[self._checked : -1]:
                citations = self._draft.verifier.citations(text[start:end])
                told.append(Sentence(text=text[start:end], supported=bool(citations), citations=citations))
                self._checked += 1
        return told


class _Used(msgspec.Struct):
    usage: dict[str, Any] | None = None


def _sum(usages: Sequence[dict[str, Any] | None]) -> dict[str, Any] | None:
    """Add up what several calls used; ``None``: one of them did not say."""
    told = [usage for usage in usages if usage is not None]
    if len(told) < len(usages) or not told:
        return None
    if len(told) == 1:
        return told[0]
    return {**told[-1], **{name: sum(int(usage.get(name) or 0) for usage in told) for name in _COUNTS}}


def _usage(told: ModelAnswer) -> dict[str, Any] | None:
    return msgspec.json.decode(told.body, type=_Used).usage
