"""Owns when two conversations are nearly the same, told by a few hundred of their bytes. Pure.

The beginning says which conversation it is, the last message what is asked now. So the exact same call is alike, and so
is an agent's that grows by the same tool call and the same result each time, whatever lies between. Hashes of all
shingles (MinHash, SimHash) would cost a hundred times as much and call any two turns of one conversation alike.
"""

import re

_HEAD_BYTES = 1024
_TAIL_BYTES = 256
_LEAST_BYTES = 40
"""Of a last message. A shorter end is no message, but one whose ``role`` came last."""

_DIGITS = b"0123456789"
_LEAST_DIGITS = 9
"""Of a time."""

_ID = re.compile(rb'id"\s*:\s*"[^"]*"')
_TIME = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]+")


def likeness(messages: bytes | memoryview) -> int:
    """Hash what nearly the same conversations have in common.

    Ids (``"tool_call_id": "call_9x"``) and times of day are each call's own, so that they do not count. The hash is
    this process's own.

    Args:
        messages: The messages as JSON text, as they came; nothing of it is parsed, and hardly any of it read.
    """
    view = memoryview(messages)
    size = view.nbytes
    tail = bytes(view[-_TAIL_BYTES:])
    last = max(tail.rfind(b'{"role"'), tail.rfind(b'"function_call_output"'))
    if 0 < last <= len(tail) - _LEAST_BYTES:
        tail = tail[last:]
    if b'id"' in tail:
        tail = _ID.sub(b"", tail)
    if len(tail) - len(tail.translate(None, _DIGITS)) >= _LEAST_DIGITS:  # else there is no time to look for
        tail = _TIME.sub(b"", tail)
    return hash((bytes(view[: _head_bytes(size)]), tail))


def _head_bytes(size: int) -> int:
    """Say how much of a conversation is its beginning: of one that grows, the same until it has doubled."""
    return _HEAD_BYTES if size >= 2 * _HEAD_BYTES else 1 << max(0, size.bit_length() - 2)
