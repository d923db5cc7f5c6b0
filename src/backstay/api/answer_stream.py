"""Owns answers from documents as server-sent events: text as it comes, each sentence once it is checked, the whole."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
from starlette.responses import StreamingResponse

from backstay.api.problems import problem_response
from backstay.core.errors import BackstayError
from backstay.retrieval.streaming import Event, Piece
from backstay.retrieval.types import Answer, Sentence

HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


async def begin(events: AsyncGenerator[Event]) -> tuple[Event, AsyncGenerator[Event]]:
    """Wait for the first event, so that what goes wrong before it is an answer of its own status.

    Raises:
        BackstayError: There is no first event, for this reason.
    """
    try:
        return await anext(events), events
    except BaseException:
        await events.aclose()
        raise


async def respond(events: AsyncGenerator[Event]) -> StreamingResponse:
    """Answer with the events of one answer. Raises as ``begin``."""
    first, rest = await begin(events)
    return StreamingResponse(_frames(first, rest), media_type="text/event-stream", headers=HEADERS)


async def _frames(first: Event, rest: AsyncGenerator[Event]) -> AsyncGenerator[bytes]:
    async with aclosing(rest):
        yield _frame(first)
        try:
            async for event in rest:
                yield _frame(event)
        except BackstayError as error:
            yield b"event: error\ndata: %b\n\n" % bytes(problem_response(error).body)


class _Text(msgspec.Struct, tag="text"):
    text: str


class _Sentence(msgspec.Struct, tag="sentence"):
    sentence: Sentence


class _Result(msgspec.Struct, tag="result"):
    result: Answer


def _frame(event: Event) -> bytes:
    if isinstance(event, Piece):
        return b"event: text\ndata: %b\n\n" % msgspec.json.encode(_Text(event.text))
    if isinstance(event, Sentence):
        return b"event: sentence\ndata: %b\n\n" % msgspec.json.encode(_Sentence(event))
    return b"event: result\ndata: %b\n\n" % msgspec.json.encode(_Result(event.answer))
