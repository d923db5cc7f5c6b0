"""Owns collections as models on OpenAI's wire: a chat completion that is an answer from documents, with its citations.

Source: OpenAI's OpenAPI document, CreateChatCompletionResponse and CreateChatCompletionStreamResponse (2026-08). A
citation is an annotation of its type ``url_citation``, with Backstay's own beside it.
"""

import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from backstay.api.answer_stream import begin
from backstay.api.document_answers import SSE, refuse, reply_whole, require_wire, trace_headers
from backstay.api.model_request import ModelRequest, read_request
from backstay.api.on_behalf import on_behalf
from backstay.api.principals import read_principals
from backstay.core.caller import Caller
from backstay.core.errors import BackstayError
from backstay.gateway import Headers, Models, Sink
from backstay.providers import OPENAI
from backstay.retrieval.streaming import AnswerStreams, Event, Piece, Whole
from backstay.retrieval.types import Answer, Sentence

PATH = "/v1/chat/completions"
_NO_USAGE = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


class _Named(msgspec.Struct):
    model: Any = None


class CollectionModels:
    """Answers those chat completions whose model is a collection."""

    def __init__(self, models: Callable[[], Models], streams: AnswerStreams, public_url: str | None):
        self._models = models
        self._streams = streams
        self._public_url = public_url

    def may_concern(self, path: str, body: bytes) -> bool:
        """Say whether a request may name a collection: its body is only looked through for the names."""
        names = self._models().collections
        return bool(names) and path == PATH and any(name.encode() in body for name in names)

    def find(self, body: bytes, caller: Caller) -> str | None:
        """Return the collection that a request's model is; ``None``: it is none."""
        models = self._models()
        try:
            named = msgspec.json.decode(body, type=_Named).model
        except msgspec.DecodeError:
            return None
        return models.collection(named, caller) if isinstance(named, str) else None

    async def answer(
        self, collection: str, caller: Caller, headers: Mapping[bytes, bytes], body: bytes, sink: Sink
    ) -> None:
        """Answer one request. Every error is in OpenAI's shape."""
        try:
            require_wire(caller, PATH)
            asked = read_request(body)
            query = asked.query(read_principals(caller, headers, asked.backstay.principals))
            # Whoever may use the collection's name may use its models through it.
            acting = msgspec.structs.replace(on_behalf(caller, headers), models=None, routes=None)
            writer = _Writer(asked.model, collection, acting, self._base_url(headers))
            events = self._streams.give(acting, collection, query, asked.turns, asked.manner)
            first, rest = await begin(events)
        except BackstayError as error:
            await refuse(OPENAI, error, sink)
            return
        async with aclosing(rest):
            head = trace_headers(acting, first)
            if asked.stream:
                await _stream(asked, writer, head, first, rest, sink)
            else:
                await reply_whole(OPENAI, writer.completion, head, first, rest, sink)

    def _base_url(self, headers: Mapping[bytes, bytes]) -> str:
        return (self._public_url or f"http://{headers.get(b'host', b'localhost').decode('latin-1')}").rstrip("/")


async def _stream(
    asked: ModelRequest, writer: "_Writer", head: Headers, first: Event, rest: AsyncGenerator[Event], sink: Sink
) -> None:  # fmt: skip
    await sink.begin(200, [*SSE, *head])
    try:
        for chunk in writer.chunks(first):
            await sink.write(_frame(chunk))
        async for event in rest:
            for chunk in writer.chunks(event):
                await sink.write(_frame(chunk))
    except BackstayError as error:
        await sink.write(OPENAI.write_stream_error(error), end=True)
        return
    if asked.wants_usage:
        await sink.write(_frame(writer.usage_chunk()))
    await sink.write(b"data: [DONE]\n\n", end=True)


def _frame(chunk: Mapping[str, Any]) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(chunk)


class _Writer:
    """Writes one answer, whole or in chunks.

    Chunks are sentences: a sentence is told once it is checked, and the first ones not before one of them is
    supported. What is streamed is then what a whole answer says, which is an abstention where none is.
    """

    def __init__(self, model: str, collection: str, caller: Caller, base_url: str):
        trace_id = caller.terms.trace_id or ""
        self._head = {"id": f"chatcmpl-{trace_id}", "created": int(time.time()), "model": model}
        self._page = f"{base_url}/collections/{quote(collection)}/document"
        self._usage: dict[str, Any] = _NO_USAGE
        self._text = ""
        self._sent = 0
        """Characters of the text."""
        self._held: list[Sentence] = []
        self._found_to = 0

    def completion(self, whole: Whole) -> dict[str, Any]:
        answer = whole.answer
        annotations: list[dict[str, Any]] = []
        at = 0
        for sentence in () if answer.abstained else answer.sentences:
            at, end = _place(answer.answer, sentence, at)
            annotations += self._annotations(sentence, at, end)
            at = end
        message = {"role": "assistant", "content": answer.answer, "refusal": None, "annotations": annotations}
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
            "usage": whole.usage or _NO_USAGE,
            "backstay": answer,
        }

    def chunks(self, event: Event) -> list[dict[str, Any]]:
        """Return what an event lets be told."""
        if isinstance(event, Piece):
            self._text += event.text
            return []
        if isinstance(event, Sentence):
            self._held.append(event)
            return self._release() if self._sent or event.supported else []
        self._usage = event.usage or _NO_USAGE
        return [*self._rest(event.answer), self._chunk({}, finish_reason="stop", backstay=event.answer)]

    def usage_chunk(self) -> dict[str, Any]:
        return {**self._head, "object": "chat.completion.chunk", "choices": [], "usage": self._usage}

    def _release(self) -> list[dict[str, Any]]:
        chunks: list[dict[str, Any]] = []
        for sentence in self._held:
            start, end = _place(self._text, sentence, self._found_to)
            delta: dict[str, Any] = {"content": self._text[self._sent : end]}
            if annotations := self._annotations(sentence, start, end):
                delta["annotations"] = annotations
            chunks.append(self._said(delta))
            self._sent = self._found_to = end
        self._held = []
        return chunks

    def _rest(self, answer: Answer) -> list[dict[str, Any]]:
        told = self._text[: self._sent]
        is_kept = answer.answer.startswith(told)  # else it was taken back after a part was told
        left = answer.answer[len(told) :] if is_kept else f"\n\n{answer.answer}"
        return [self._said({"content": left})] if left else []

    def _said(self, delta: dict[str, Any]) -> dict[str, Any]:
        return self._chunk(delta if self._sent else {"role": "assistant", **delta})

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None, **more: Any) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return {**self._head, "object": "chat.completion.chunk", "choices": [choice], **more}

    def _annotations(self, sentence: Sentence, start: int, end: int) -> Sequence[dict[str, Any]]:
        """Cite what supports a sentence, which is at these characters of the content."""
        told: list[dict[str, Any]] = []
        for citation in sentence.citations:
            place = {"id": citation.external_id, "start": citation.start, "end": citation.end}
            is_url = citation.external_id.startswith(("https://", "http://"))
            url = citation.external_id if is_url else f"{self._page}?{urlencode(place)}"
            cited = {"start_index": start, "end_index": end, "url": url, "title": citation.external_id}
            told.append({"type": "url_citation", "url_citation": cited, "backstay": citation})
        return told


def _place(text: str, sentence: Sentence, after: int) -> tuple[int, int]:
    at = text.find(sentence.text, after)
    if at < 0:  # it was cut
        return after, after
    return at, at + len(sentence.text)
