"""Owns the first look at a request's body: split into top-level fields, each left as the JSON text that came."""

import json
from codecs import utf_8_decode

import msgspec

from backstay.core.errors import InvalidRequest
from backstay.providers import Fields

_SHOWN_CHARACTERS = 100
"""Of a model's name that was only asked for."""
_PIECE_BYTES = 256 * 1024
_SHORT_BYTES = 64 * 1024

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str | None)
_flag = msgspec.json.Decoder(bool | None)


def read_fields(body: bytes) -> Fields:
    """Split a JSON object into its top-level fields without reading their values.

    Raises:
        InvalidRequest: It is empty, not UTF-8, not JSON, not an object, nested too deeply or names a field twice.
    """
    if not body:
        raise InvalidRequest("The request has no body. Send a JSON object, with content-type application/json.")
    try:
        _require_utf8(body)
        fields = _fields.decode(body)
    except msgspec.ValidationError:
        raise InvalidRequest("The body is JSON, but not an object. Send {…}.") from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.") from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None
    _refuse_duplicates(body, fields)
    return fields


def _require_utf8(body: bytes) -> None:
    """Refuse a body that is not UTF-8. A long one is looked at in pieces, so that all of it is never kept as text."""
    if body.isascii():
        return
    place, view = 0, memoryview(body)
    try:
        while place < len(body):
            end = place + _PIECE_BYTES
            _, read_bytes = utf_8_decode(view[place:end], "strict", end >= len(body))
            place += read_bytes
    except UnicodeDecodeError as error:
        place += error.start
        raise InvalidRequest(f"The body is not valid UTF-8: byte {place} is 0x{body[place]:02x}.") from None


def write_pieces(fields: Fields) -> tuple[bytes | memoryview, ...]:
    """Write fields as a JSON object in pieces: long values are still the bytes that came, and not copied."""
    pieces: list[bytes | memoryview] = []
    short = bytearray(b"{")
    for number, (name, value) in enumerate(fields.items()):
        view = memoryview(value)
        short += b"%b%b:" % (b"," if number else b"", msgspec.json.encode(name))
        if view.nbytes < _SHORT_BYTES:
            short += view
        else:
            pieces += (bytes(short), view)
            short.clear()
    return (*pieces, bytes(short) + b"}")


def _refuse_duplicates(body: bytes, fields: Fields) -> None:
    """Refuse a body that names a top-level field twice: two readers of it could see two different requests.

    Reading all of it again is dear, so it is done only where the body is not written as nearly all are: without white
    space, or as Python's json does.
    """
    explained = sum(map(len, fields)) + sum(map(len, map(memoryview, fields.values())))
    left, count = len(body) - explained, len(fields)
    if left == 4 * count + 1:  # quotes, colons, commas and braces: there is room for nothing else
        return
    if left == 6 * count and _is_spaced(body, fields):
        return
    names = json.loads(body, object_pairs_hook=lambda pairs: [key for key, _ in pairs])
    for key in fields:
        if names.count(key) > 1:
            raise InvalidRequest(f"The field {key!r} is there {names.count(key)} times. Send it once.", param=key)


def read_asked_model(body: bytes) -> str | None:
    """Read the model that a request asked for, to show it to people, from a body in which anything may stand.

    What cannot be printed is replaced, and what is long is cut. ``None`` where there is no name.
    """
    try:
        name = read_text(read_fields(body), "model") or ""
    except InvalidRequest:
        return None
    return "".join(each if each.isprintable() else "\ufffd" for each in name[:_SHOWN_CHARACTERS]) or None


def _is_spaced(body: bytes, fields: Fields) -> bool:
    """Whether a body is its fields as Python's json writes them, compared in place."""
    place = 0
    for key, value in fields.items():
        opening = b'%b"%b": ' % (b", " if place else b"{", key.encode())
        if not (body.startswith(opening, place) and body.startswith(memoryview(value), place + len(opening))):
            return False
        place += len(opening) + memoryview(value).nbytes
    return body[place:] == b"}"


def read_text(fields: Fields, name: str) -> str | None:
    """Read a field that must be a string; ``None`` where it is absent or null.

    Raises:
        InvalidRequest: It is something else.
    """
    raw = fields.get(name)
    if raw is None:
        return None
    try:
        return _text.decode(raw)
    except msgspec.DecodeError:
        raise InvalidRequest(f"{name} must be a string.", param=name) from None


def read_flag(fields: Fields, name: str) -> bool:
    """Read a field that must be true or false; absent and null are false.

    Raises:
        InvalidRequest: It is something else.
    """
    raw = fields.get(name)
    if raw is None:
        return False
    try:
        return bool(_flag.decode(raw))
    except msgspec.DecodeError:
        raise InvalidRequest(f"{name} must be true or false.", param=name) from None
