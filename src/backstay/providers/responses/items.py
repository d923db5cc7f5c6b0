"""Owns conversations as lists of items: what one turn said, and what a model must see of the turns before. Pure."""

from collections.abc import Iterable
from typing import Any

import msgspec

from backstay.core.errors import InvalidRequest
from backstay.providers.types import Fields

_items = msgspec.json.Decoder(list[msgspec.Raw])


def said_now(fields: Fields) -> bytes:
    """Return a request's own input as a JSON list of items.

    Raises:
        InvalidRequest: It is neither a text nor a list.
    """
    raw = fields.get("input", msgspec.Raw(b"null"))
    if bytes(raw) == b"null":
        return b"[]"
    try:
        value = msgspec.json.decode(raw, type=str | list[msgspec.Raw])
    except msgspec.DecodeError:
        raise InvalidRequest("input must be a text or a list of items.", param="input") from None
    if isinstance(value, list):
        return bytes(raw)
    message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": value}]}
    return msgspec.json.encode([message])


def join_input(turns: Iterable[tuple[bytes, bytes]], now: bytes) -> msgspec.Raw:
    """Return the input that holds a whole conversation.

    Args:
        turns: Of each earlier turn, the oldest first: the items that were said, and the items of the answer.
        now: The items that are said now.
    """
    items: list[msgspec.Raw] = []
    for said, answered in turns:
        items += _items.decode(said)
        items += [item for raw in _items.decode(answered) if (item := _replayed(raw)) is not None]
    items += _items.decode(now)
    return msgspec.Raw(msgspec.json.encode(items))


def _replayed(raw: msgspec.Raw) -> msgspec.Raw | None:
    """Return an item of an answer as a later request says it; ``None`` for thoughts that no model can take back.

    Without its id where the wire allows that: another provider that is asked next does not know it.
    """
    item: dict[str, Any] = msgspec.json.decode(raw)
    if item["type"] == "reasoning":
        return raw if item.get("encrypted_content") else None
    if item["type"] == "function_call":
        del item["id"], item["status"]
    elif item["type"] == "message" and [part["type"] for part in item["content"]] == ["output_text"]:
        item = {"type": "message", "role": "assistant", "content": item["content"][0]["text"]}
    return msgspec.Raw(msgspec.json.encode(item))
