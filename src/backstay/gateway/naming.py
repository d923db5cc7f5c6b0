"""Owns the naming of answers: some dialects (Bedrock's) say neither an answer's id nor its model. Pure."""

import msgspec

from backstay.core.chat import ChatEvent, ChatResponse, Started
from backstay.providers import StreamReader


def named(response: ChatResponse, *, call_id: str, model_id: str) -> ChatResponse:
    """Give an answer what its dialect did not say."""
    if response.id and response.model:
        return response
    return msgspec.structs.replace(response, id=response.id or call_id, model=response.model or model_id)


class NamingReader:
    """A stream's reader that gives the answer what its dialect does not say."""

    def __init__(self, reader: StreamReader, *, call_id: str, model_id: str):
        self._reader = reader
        self._call_id = call_id
        self._model_id = model_id

    @property
    def finished(self) -> bool:
        return self._reader.finished

    def read(self, frame: bytes) -> list[ChatEvent]:
        """Read one frame. Raises as the dialect's reader does."""
        events = self._reader.read(frame)
        if events and isinstance(events[0], Started):
            first = events[0]
            model = first.model or self._model_id
            events[0] = msgspec.structs.replace(first, id=first.id or self._call_id, model=model)
        return events
