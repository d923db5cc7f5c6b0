"""Owns conversations on OpenAI's responses wire: what a call goes on from, and the keeping of its answer.

A conversation whose last answer came from a provider that speaks this wire itself is kept by that provider: the call
goes there again, untouched. Any other is kept here: the call gets its whole input.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from backstay.conversations import Conversations, Turn
from backstay.core.caller import Caller
from backstay.core.errors import InvalidRequest, NotFound
from backstay.core.ids import new_id
from backstay.gateway.body import read_fields, read_flag, read_text
from backstay.gateway.recording import Recording
from backstay.gateway.types import Incoming
from backstay.providers import RESPONSES, Fields

MAX_LOOKED_UP = 100
"""Responses whose items one request may refer to."""

_ENDS = ("response.completed", "response.incomplete")


class _Answered(msgspec.Struct, frozen=True):
    id: str
    output: msgspec.Raw = msgspec.Raw(b"[]")
    status: str | None = None


class _Reference(msgspec.Struct, frozen=True):
    id: str
    type: str


class _Ending(msgspec.Struct, frozen=True):
    type: str
    response: msgspec.Raw = msgspec.Raw(b"null")


async def take_up(conversations: Conversations, recording: Recording) -> None:
    """Give a call what it goes on from, and what keeps its answer.

    Raises:
        InvalidRequest: A field is wrong, or asks for what nobody could account for.
        NotFound: It refers to an item of no response that this caller may see.
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
    if b'"item_reference"' in said:
        said = await _dereferenced(conversations, incoming.caller, said)
        fields = {**fields, "input": msgspec.Raw(said)}
        recording.incoming = msgspec.structs.replace(recording.incoming, body=msgspec.json.encode(fields))
    if previous_id is not None:
        turns = await conversations.follow(incoming.caller, previous_id)
        recording.incoming = _continued(recording.incoming, fields, turns, said)
    if not _is_false(fields, "store"):
        recording.keeper = _Keeper(conversations, recording, response_id, previous_id, said.decode())


async def _dereferenced(conversations: Conversations, caller: Caller, said: bytes) -> bytes:
    """Put items of kept answers in place of references to them (some clients send nothing else of earlier turns).

    References to items that were not written here stay: their provider knows them.
    """
    items = msgspec.json.decode(said, type=list[Any])
    known: dict[str, dict[str, Any]] = {}
    """By response that was looked up: its items, by their ids."""
    for index, item in enumerate(items):
        name = _reference(item)
        response_id = None if name is None else RESPONSES.response_of(name)
        if response_id is None:
            continue
        if response_id not in known:
            if len(known) == MAX_LOOKED_UP:
                raise InvalidRequest(f"input refers to items of more than {MAX_LOOKED_UP} responses.", param="input")
            known[response_id] = await _items_of(conversations, caller, response_id)
        if name not in known[response_id]:
            raise NotFound(f"Item with id '{name}' not found.", param=f"input[{index}].id")
        items[index] = known[response_id][name]
    return msgspec.json.encode(items)


def _reference(item: Any) -> str | None:
    """Return the id that a reference names; ``None`` for any other item."""
    try:
        found = msgspec.convert(item, _Reference)
    except msgspec.ValidationError:
        return None
    return found.id if found.type == "item_reference" else None


async def _items_of(conversations: Conversations, caller: Caller, response_id: str) -> dict[str, Any]:
    turn = await conversations.find(caller, response_id)
    output = b"[]" if turn.response is None else bytes(_answered(turn.response).output)
    return {item["id"]: item for item in msgspec.json.decode(output, type=list[dict[str, Any]])}


def _is_false(fields: Fields, name: str) -> bool:
    """Whether a flag that is on by default is switched off."""
    return bytes(fields.get(name, b"null")) != b"null" and not read_flag(fields, name)


def _continued(incoming: Incoming, fields: Fields, turns: Sequence[Turn], said: bytes) -> Incoming:
    """Return a call with what was said before: its whole input, or the target that knows it."""
    first = turns[0]
    own = turns if first.target is None else turns[1:]
    if not own:
        return msgspec.structs.replace(incoming, only_target=first.target)
    earlier = [((turn.said or "[]").encode(), bytes(_answered(turn.response or "").output)) for turn in own]
    whole = {name: raw for name, raw in fields.items() if name != "previous_response_id"}
    whole["input"] = RESPONSES.join_input(earlier, said)
    if first.target is not None:  # what its provider did not write came after it: a stream gone on with, a fixed text
        whole["previous_response_id"] = msgspec.Raw(msgspec.json.encode(first.response_id))
    return msgspec.structs.replace(incoming, body=msgspec.json.encode(whole), only_target=first.target)


def _answered(body: bytes | str) -> _Answered:
    return msgspec.json.decode(body, type=_Answered)


class _Keeper:
    """Keeps an answer before its last byte is passed on: the next call may come at once, at any worker."""

    def __init__(
        self,
        conversations: Conversations,
        recording: Recording,
        response_id: str,
        previous_id: str | None,
        said: str,
    ):
        self._conversations = conversations
        self._recording = recording
        self._response_id = response_id
        self._previous_id = previous_id
        self._said = said

    async def keep(self, last: bytes, *, is_stream: bool) -> None:
        """Keep the answer, of which ``last`` is all, or the last frames of its stream."""
        body = _last_response(last) if is_stream else last
        if body is not None:
            await self._keep(body)

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
        if answered.id != self._response_id and not self._is_joined():  # its provider's own, and kept there
            target = self._recording.attempts[-1].target.name
            turn = msgspec.structs.replace(turn, target=target, said=None, response=None)
        await self._conversations.keep(caller, turn)

    def _is_joined(self) -> bool:
        """Whether the answer comes from several attempts, so that no provider has the whole of it."""
        return any(attempt.reason in ("continue", "restart") for attempt in self._recording.attempts)


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
