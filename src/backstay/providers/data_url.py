"""Owns ``data:`` URLs: inline bytes as the dialects that have no other form for them want them.

Source: RFC 2397.
"""

import base64
import binascii
from urllib.parse import unquote_to_bytes

import msgspec


class Inline(msgspec.Struct, frozen=True):
    media_type: str
    data: str
    """Base64."""


def read_data_url(url: str) -> Inline | None:
    """Read a ``data:`` URL; ``None`` for any other."""
    if url[:5].lower() != "data:":
        return None
    head, _, data = url[5:].partition(",")
    media_type, *parameters = head.split(";")
    if not any(parameter.strip().lower() == "base64" for parameter in parameters):
        data = base64.b64encode(unquote_to_bytes(data)).decode()
    return Inline(media_type.strip().lower() or "text/plain", data)


def write_data_url(media_type: str, data: str) -> str:
    """Write base64 data as a URL."""
    return f"data:{media_type};base64,{data}"


def text_of(data: str) -> str | None:
    """Return the text that base64 data holds; ``None`` if it is not base64 of UTF-8."""
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
