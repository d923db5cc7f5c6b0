"""Owns tool arguments on their way between JSON text and Anthropic's objects.

Models write arguments that are not JSON. On this wire a tool's input is an object, so such text travels inside one,
under the key that Anthropic's own documentation suggests, and is taken out of it again on the way back.
Source: https://docs.claude.com/en/docs/agents-and-tools/tool-use/fine-grained-tool-streaming (2026-08).
"""

from typing import Any, cast

import msgspec

INVALID_JSON_KEY = "INVALID_JSON"


def read_input(raw: bytes) -> str:
    """Return a tool's input as JSON text, as the model wrote it."""
    if INVALID_JSON_KEY.encode() in raw:
        value: Any = msgspec.json.decode(raw)
        if isinstance(value, dict) and list(cast(dict[str, Any], value)) == [INVALID_JSON_KEY]:
            text = cast(dict[str, Any], value)[INVALID_JSON_KEY]
            return text if isinstance(text, str) else raw.decode()
    return raw.decode()


def write_input(arguments: str) -> msgspec.Raw:
    """Return the object that arguments stand for; none at all are an empty one."""
    if not arguments.strip():
        return msgspec.Raw(b"{}")
    if is_object(arguments):
        return msgspec.Raw(arguments.encode())
    return msgspec.Raw(msgspec.json.encode({INVALID_JSON_KEY: arguments}))


def is_object(arguments: str) -> bool:
    """Whether the text is one whole JSON object."""
    try:
        return isinstance(msgspec.json.decode(arguments), dict)
    except (msgspec.DecodeError, RecursionError):
        return False
