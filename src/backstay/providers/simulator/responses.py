"""Owns the simulated state of OpenAI's responses API: answers that are kept, gone on from, shown and deleted."""

from collections import OrderedDict
from collections.abc import Iterator

import msgspec

from backstay.core.chat import ChatResponse
from backstay.core.errors import InvalidRequest, NotFound
from backstay.providers.responses import RESPONSES, ResponsesDialect
from backstay.providers.simulator.performance import Performance, perform_body, perform_error
from backstay.providers.types import Fields

MAX_KEPT = 1_000
"""Responses kept at once; the oldest go first."""


class _Kept(msgspec.Struct, frozen=True):
    said: bytes
    body: bytes
    previous_id: str | None


class _Asked(msgspec.Struct, frozen=True):
    previous_response_id: str | None = None
    store: bool | None = None


class _Answered(msgspec.Struct, frozen=True):
    output: msgspec.Raw


class SimulatedResponses:
    """The newest responses, by their ids."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def expand(self, fields: Fields) -> Fields:
        """Return a request with the conversation that it goes on with.

        Raises:
            InvalidRequest: It goes on from a response that is not kept.
        """
        asked = _asked(fields)
        if asked.previous_response_id is None:
            return fields
        turns = [(kept.said, _output_of(kept.body)) for kept in self._chain(asked.previous_response_id)]
        without = {name: raw for name, raw in fields.items() if name != "previous_response_id"}
        return without | {"input": RESPONSES.join_input(reversed(turns), RESPONSES.said_now(fields))}

    def dialect(self, fields: Fields) -> ResponsesDialect:
        """Return the dialect that writes the answer to a request."""
        return RESPONSES.of_call(fields)

    def keep(self, fields: Fields, response: ChatResponse) -> None:
        """Keep an answer, unless its request says otherwise."""
        asked = _asked(fields)
        if asked.store is False:
            return
        body = self.dialect(fields).write_response(response)
        self._kept[response.id] = _Kept(RESPONSES.said_now(fields), body, asked.previous_response_id)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)

    def manage(self, method: str, response_id: str) -> Performance:
        """Show or delete a response."""
        kept = self._kept.get(response_id)
        if kept is None:
            error = NotFound(f"Response with id '{response_id}' not found.")
            return perform_error(error, RESPONSES, outcome="invalid")
        if method == "GET":
            return perform_body(kept.body)
        del self._kept[response_id]
        return perform_body(msgspec.json.encode({"id": response_id, "object": "response", "deleted": True}))

    def _chain(self, response_id: str) -> Iterator[_Kept]:
        """Iterate over a conversation, the newest turn first."""
        step: str | None = response_id
        while step is not None:
            kept = self._kept.get(step)
            if kept is None:
                raise InvalidRequest(f"Previous response with id '{step}' not found.", param="previous_response_id")
            yield kept
            step = kept.previous_id


def _asked(fields: Fields) -> _Asked:
    try:
        return msgspec.json.decode(msgspec.json.encode(fields), type=_Asked)
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"{error}.") from error


def _output_of(body: bytes) -> bytes:
    return bytes(msgspec.json.decode(body, type=_Answered).output)
