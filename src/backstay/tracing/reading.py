"""Owns how people get to read a stored call: the texts of the wire in neutral form, or as they are where that fails."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import msgspec

from backstay.core.chat import ChatRequest, ChatResponse
from backstay.core.errors import BackstayError
from backstay.tracing.views import StoredSpan

_T = TypeVar("_T")

_CHAT_OPERATIONS = ("chat", "count_tokens")


class ChatReader(Protocol):
    """Reads one dialect. The dialects are another room's; the composition root hands them in."""

    def read_request(self, fields: dict[str, msgspec.Raw]) -> ChatRequest: ...

    def read_response(self, body: bytes) -> ChatResponse: ...


class CallReading(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a call said and was answered. Where a side is ``None``, its note says why."""

    request: ChatRequest | None = None
    request_note: str | None = None
    response: ChatResponse | None = None
    response_note: str | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """What the caller set beside the messages and tools, by neutral name; the dialect's own fields by theirs."""
        if self.request is None:
            return {}
        named: dict[str, Any] = msgspec.to_builtins(self.request)
        extras = named.pop("extras", {})
        return {
            name: value for name, value in {**named, **extras}.items() if name not in ("messages", "model", "tools")
        }


def read_call(span: StoredSpan, dialects: Mapping[str, ChatReader]) -> CallReading:
    """Read a call's stored request and answer into neutral form. Never raises: what cannot be read gets a note."""
    if span.operation not in _CHAT_OPERATIONS:
        note = f"This is a call of {span.operation or 'an unknown operation'}: shown as it went over the wire."
        return CallReading(request_note=note, response_note=note)
    request, request_note = _read(span.input, dialects.get(span.input_dialect or ""), _request)
    response, response_note = _read(span.output, dialects.get(span.output_dialect or ""), _response)
    if response is None and span.output is not None and span.status != "ok":
        response_note = "This call failed: the answer is shown as it went over the wire."
    return CallReading(request=request, request_note=request_note, response=response, response_note=response_note)


def _read(
    text: str | None, reader: ChatReader | None, read: Callable[[ChatReader, bytes], _T]
) -> tuple[_T | None, str | None]:
    if text is None:
        return None, "Nothing was kept."
    if reader is None:
        return None, "Nobody here knows this dialect: shown as it went over the wire."
    try:
        return read(reader, text.encode()), None
    except BackstayError as error:
        return None, f"Shown as it went over the wire, because it could not be read: {error.message}"
    except Exception as error:  # noqa: BLE001 - anything may stand in a stored text, and its page must open all the same
        return None, f"Shown as it went over the wire, because it is damaged ({type(error).__name__})."


def _request(reader: ChatReader, body: bytes) -> ChatRequest:
    return reader.read_request(msgspec.json.decode(body, type=dict[str, msgspec.Raw]))


def _response(reader: ChatReader, body: bytes) -> ChatResponse:
    return reader.read_response(body)
