"""Owns the writing of a response that searched files, whole or as events: a search call, then a message that cites."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from backstay.api.file_search_request import FileSearchRequest
from backstay.core.errors import BackstayError
from backstay.core.ids import new_id
from backstay.providers.responses.response import Echo, write_head
from backstay.providers.responses.stream import Progress, send, write_failure
from backstay.retrieval.streaming import Event, Piece, Whole
from backstay.retrieval.types import Found, Sentence

About = Mapping[str, tuple[str, Mapping[str, Any]]]
"""The name and the attributes of documents, by their external ids."""


class FileSearchWriter:
    """Writes one response.

    Text is streamed by the sentence, each once it is checked, and none before one of them is supported: what is
    streamed is then what a whole answer says.
    """

    def __init__(self, asked: FileSearchRequest, found: Sequence[Found], about: About, *, created_s: int):
        self._asked = asked
        self._about = about
        name = new_id("resp")
        head = write_head(Echo(fields=asked.fields), response_id=name, model=asked.model, created_s=created_s)
        # It is not kept: who goes on sends the whole input.
        self._head = {**head, "store": False, "error": None, "incomplete_details": None}
        self._created_s = created_s
        self._call_id, self._message_id = f"fs_{name[5:]}", f"msg_{name[5:]}_1"
        results = [self._result(each) for each in found] if asked.wants_results else None
        self._call = {"type": "file_search_call", "queries": [asked.question], "results": results}
        self._progress = Progress()
        self._progress.head = self._head
        self._text = ""
        self._sent = 0
        self._held: list[Sentence] = []
        self._annotations: list[dict[str, Any]] = []
        self._found_to = 0

    def response(self, whole: Whole) -> dict[str, Any]:
        """Write it whole."""
        answer = whole.answer
        if not answer.abstained:
            self._text, self._held = answer.answer, list(answer.sentences)
            self._annotations = [each for sentence in self._take() for each in sentence[2]]
        return self._ended(answer.answer, whole)

    def opening(self) -> bytes:
        """Write the events up to the message's first text."""
        started: dict[str, Any] = {
            **self._head,
            "status": "in_progress",
            "completed_at": None,
            "output": [],
        }
        call, message = {"output_index": 0, "item_id": self._call_id}, self._message("in_progress", [])
        begun = {**self._call, "id": self._call_id, "status": "in_progress", "results": None}
        place = {"item_id": self._message_id, "output_index": 1, "content_index": 0}
        return b"".join(
            [
                self._send("response.created", response=started),
                self._send("response.in_progress", response=started),
                self._send("response.output_item.added", output_index=0, item=begun),
                self._send("response.file_search_call.in_progress", **call),
                self._send("response.file_search_call.searching", **call),
                self._send("response.file_search_call.completed", **call),
                self._send("response.output_item.done", output_index=0, item=self._done_call()),
                self._send("response.output_item.added", output_index=1, item=message),
                self._send("response.content_part.added", **place, part=_part("", [])),
            ]
        )

    def frames(self, event: Event) -> list[bytes]:
        """Write what an event lets be told."""
        if isinstance(event, Piece):
            self._text += event.text
            return []
        if isinstance(event, Sentence):
            self._held.append(event)
            return self._release() if self._sent or event.supported else []
        return self._end(event)

    def failure(self, error: BackstayError) -> bytes:
        """Write that it broke off."""
        return write_failure(self._progress, error.message, error.code)

    def _release(self) -> list[bytes]:
        frames: list[bytes] = []
        for _, end, annotations in self._take():
            frames.append(self._delta(self._text[self._sent : end]))
            self._sent = end
            for annotation in annotations:
                place = {"item_id": self._message_id, "output_index": 1, "content_index": 0}
                number = len(self._annotations)
                frames.append(
                    self._send(
                        "response.output_text.annotation.added",
                        **place,
                        annotation_index=number,
                        annotation=annotation,
                    )
                )
                self._annotations.append(annotation)
        return frames

    def _take(self) -> list[tuple[int, int, list[dict[str, Any]]]]:
        """Place the sentences that are held: where each begins and ends, and what it cites."""
        taken: list[tuple[int, int, list[dict[str, Any]]]] = []
        for sentence in self._held:
            at = self._text.find(sentence.text, self._found_to)
            if at < 0:  # it was cut
                continue
            self._found_to = at + len(sentence.text)
            taken.append((at, self._found_to, [self._citation(each, self._found_to) for each in sentence.citations]))
        self._held = []
        return taken

    def _end(self, whole: Whole) -> list[bytes]:
        told, answer = self._text[: self._sent], whole.answer.answer
        is_kept = answer.startswith(told)  # else it was taken back after a part was told
        left = answer[len(told) :] if is_kept else f"\n\n{answer}"
        text = told + left
        place = {"item_id": self._message_id, "output_index": 1, "content_index": 0}
        part = _part(text, self._annotations)
        ended = self._ended(text, whole)
        return [
            *([self._delta(left)] if left else []),
            self._send("response.output_text.done", **place, text=text, logprobs=[]),
            self._send("response.content_part.done", **place, part=part),
            self._send("response.output_item.done", output_index=1, item=self._message("completed", [part])),
            self._send("response.completed", response=ended),
        ]

    def _ended(self, text: str, whole: Whole) -> dict[str, Any]:
        message = self._message("completed", [_part(text, self._annotations)])
        return {
            **self._head,
            "status": "completed",
            "completed_at": self._created_s,
            "output": [self._done_call(), message],
            "usage": _usage(whole.usage or {}),
            "backstay": whole.answer,
        }

    def _done_call(self) -> dict[str, Any]:
        return {**self._call, "id": self._call_id, "status": "completed"}

    def _message(self, status: str, content: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._message_id,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": list(content),
        }

    def _delta(self, text: str) -> bytes:
        place = {"item_id": self._message_id, "output_index": 1, "content_index": 0}
        return self._send("response.output_text.delta", **place, delta=text, logprobs=[])

    def _citation(self, citation: Any, index: int) -> dict[str, Any]:
        """Cite a file where a sentence ends."""
        name, _ = self._about.get(citation.external_id, (citation.external_id, {}))
        cited = {"type": "file_citation", "index": index, "file_id": citation.external_id, "filename": name}
        return {**cited, "backstay": citation}

    def _result(self, found: Found) -> dict[str, Any]:
        name, metadata = self._about.get(found.external_id, (found.external_id, {}))
        plain = {key: value for key, value in metadata.items() if isinstance(value, str | int | float)}
        told = {"file_id": found.external_id, "filename": name, "score": found.relevance or 0.0}
        return {**told, "text": found.text, "attributes": plain}

    def _send(self, kind: str, **fields: Any) -> bytes:
        return send(self._progress, kind, **fields)


def _part(text: str, annotations: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": list(annotations), "logprobs": []}


class _Details(msgspec.Struct):
    cached_tokens: int = 0
    reasoning_tokens: int = 0


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


def _usage(told: Mapping[str, Any]) -> dict[str, Any]:
    """Write the usage of a chat completion as that of a response."""
    used = msgspec.convert(told, _Usage)
    cached = (used.prompt_tokens_details or _Details()).cached_tokens
    thought = (used.completion_tokens_details or _Details()).reasoning_tokens
    return {
        "input_tokens": used.prompt_tokens,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": used.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": used.prompt_tokens + used.completion_tokens,
    }
