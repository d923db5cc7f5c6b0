"""Owns conversations on OpenAI's responses wire: what a call goes on from, and the keeping of its answer.

A conversation whose last answer came from a provider that speaks this wire itself is kept by that provider: the call
goes there again, untouched. Any other is kept here: the call gets its whole input.
"""

from collections.abc import Sequence

import msgspec

from backstay.conversations import Conversations, Turn
from backstay.core.errors import InvalidRequest
from backstay.core.ids import new_id
from backstay.gateway.body import read_fields, read_flag, read_text
from backstay.gateway.recording import Recording
from backstay.gateway.types import Headers, Incoming, Sink
from backstay.providers import RESPONSES, Fields

_ENDS = ("response.completed", "response.incomplete")


class _Answered(msgspec.Struct, frozen=True):
    id: str
    output: msgspec.Raw = msgspec.Raw(b"[]")
    status: str | None = None


class _Ending(msgspec.Struct, frozen=True):
    type: str
    response: msgspec.Raw = msgspec.Raw(b"null")


async def take_up(conversations: Conversations, recording: Recording, sink: Sink) -> tuple[Incoming, Sink]:
    """Return a call with what it goes on from, and a sink that keeps its answer.

    Raises:
        InvalidRequest: A field is wrong, or asks for what nobody could account for.
        PreviousResponseNotFound: It goes on from nothing that this caller may see.
        StoreUnavailable: Only Postgres could tell.
    """
    incoming = recording.incoming
    fields = read_fields(incoming.body)
    if read_flag(fields, "background"):
        raise InvalidRequest(
            "background is not possible: what such a response costs is known only after the call. Stream it instead.",
            param="background",
        )
    said = RESPONSES.said_now(fields)
    previous_id = read_text(fields, "previous_response_id")
    response_id = new_id("resp")
    dialect = RESPONSES.of_call(fields, response_id)
    recording.incoming = msgspec.structs.replace(incoming, dialect=dialect)
    if previous_id is not None:
        turns = await conversations.follow(incoming.caller, previous_id)
        recording.incoming = _continued(recording.incoming, fields, turns, said)
    if _is_false(fields, "store"):
        return recording.incoming, sink
    return recording.incoming, _Keeper(sink, conversations, recording, response_id, previous_id, said.decode())


def _is_false(fields: Fields, name: str) -> bool:
    """Whether a flag that is on by default is switched off."""
    return bytes(fields.get(name, b"null")) != b"null" and not read_flag(fields, name)


def _continued(incoming: Incoming, fields: Fields, turns: Sequence[Turn], said: bytes) -> Incoming:
    """Return a call with what was said before: its whole input, or the target that knows it."""
    last = turns[-1]
    if last.target is not None:
        return msgspec.structs.replace(incoming, only_target=last.target)
    earlier = [((turn.said or "[]").encode(), bytes(_answered(turn.response or "").output)) for turn in turns]
    whole = {name: raw for name, raw in fields.items() if name != "previous_response_id"}
    whole["input"] = RESPONSES.join_input(earlier, said)
    return msgspec.structs.replace(incoming, body=msgspec.json.encode(whole))


def _answered(body: bytes | str) -> _Answered:
    return msgspec.json.decode(body, type=_Answered)


class _Keeper:
    """Passes an answer on and keeps it before its last byte: the next call may come at once, at any worker."""

    def __init__(
        self,
        sink: Sink,
        conversations: Conversations,
        recording: Recording,
        response_id: str,
        previous_id: str | None,
        said: str,
    ):
        self.begun = False
        self._sink = sink
        self._conversations = conversations
        self._recording = recording
        self._response_id = response_id
        self._previous_id = previous_id
        self._said = said

    async def reply(self, status: int, headers: Headers, body: bytes) -> None:
        if status < 400:
            await self._keep(body)
        self.begun = True
        await self._sink.reply(status, headers, body)

    async def begin(self, status: int, headers: Headers) -> None:
        self.begun = True
        await self._sink.begin(status, headers)

    async def write(self, chunk: bytes, *, end: bool = False) -> None:
        if end:
            response = _last_response(chunk)
            if response is not None:
                await self._keep(response)
        await self._sink.write(chunk, end=end)

    async def _keep(self, body: bytes) -> None:
        try:
            answered, caller = _answered(body), self._recording.incoming.caller
        except msgspec.DecodeError:  # a provider of this wire that leaves the id out: nobody can go on from that
            return
        if answered.status not in ("completed", "incomplete"):
            return
        turn = Turn(
            response_id=answered.id,
            key_id=caller.id,
            previous_id=self._previous_id,
            said=self._said,
            response=body.decode(),
        )
        if answered.id != self._response_id:  # its provider's own, and kept there
            target = self._recording.attempts[-1].target.name
            turn = msgspec.structs.replace(turn, target=target, said=None, response=None)
        await self._conversations.keep(caller, turn)


def _last_response(chunk: bytes) -> bytes | None:
    """Return the response that the last frames of a stream tell; ``None`` where they tell of none."""
    for line in reversed(chunk.splitlines()):
        if line.startswith(b"data:"):
            try:
                ending = msgspec.json.decode(line[5:], type=_Ending)
            except msgspec.DecodeError:  # some servers end every stream with `[DONE]`
                continue
            return bytes(ending.response) if ending.type in _ENDS else None
    return None
