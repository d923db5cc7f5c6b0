"""Owns the reading of a call's body: announced before it is read, bounded in size and time, or refused unread."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from backstay.core.errors import InvalidRequest, RequestTooLarge

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

_GRACE_S = 30.0
_SLOWEST_BYTES_PER_S = 64 * 1024
"""A body must come at least this fast, beyond ``_GRACE_S``: what it reserves is kept from others meanwhile."""

_LONG_BYTES = 1024 * 1024

_DISCARDED_BYTES = 64 * 1024 * 1024
_DISCARD_S = 5.0
_SILENCE_S = 2.0


class CallerGone(InvalidRequest):
    """The caller went away before the body was complete."""


def announced_bytes(headers: Mapping[bytes, bytes], limit_bytes: int) -> int | None:
    """Return how long the body will be; ``None`` where it comes in chunks of untold number.

    Raises:
        RequestTooLarge: It is longer than the limit.
        InvalidRequest: It is compressed.
    """
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise InvalidRequest("Compressed bodies are not taken. Send it without content-encoding.")
    announced = headers.get(b"content-length", b"")
    if not announced.isdigit():
        return None if b"transfer-encoding" in headers else 0
    if int(announced) > limit_bytes:
        raise too_large(limit_bytes)
    return int(announced)


async def read_body(
    receive: Receive, limit_bytes: int, grow: Callable[[int], None] | None, turns: asyncio.Lock
) -> bytes:
    """Read a body whole.

    Args:
        grow: Called with the size of each piece before it is kept, where the length was not announced.
        turns: Shared by all calls. Of long bodies that are complete at the same time, one is put together and looked at
            before the loop tends to everything else: all at once would hold up small calls for as long as all take.

    Raises:
        RequestTooLarge: It is longer than the limit.
        CallerGone: Nobody is there any more, or the connection was cut off because nothing came.
        InvalidRequest: It comes too slowly.
        Overloaded: ``grow`` says that there is no room.
    """
    first, is_last = await _piece(receive)
    _count(first, 0, limit_bytes, grow)
    if is_last:
        return first
    chunks, size = [first], len(first)
    try:
        async with asyncio.timeout(_GRACE_S + limit_bytes / _SLOWEST_BYTES_PER_S):
            while not is_last:
                chunk, is_last = await _piece(receive)
                size = _count(chunk, size, limit_bytes, grow)
                chunks.append(chunk)
    except TimeoutError:
        raise InvalidRequest("The body came too slowly. Send it faster, or send less.") from None
    if size < _LONG_BYTES:
        return b"".join(chunks)
    async with turns:
        await asyncio.sleep(0)
        return b"".join(chunks)


async def discard_body(headers: Mapping[bytes, bytes], receive: Receive) -> None:
    """Take what a refused caller still sends, keep none of it, and stop after a while.

    The answer is on its way already. Closing the connection on bytes that nobody took would reset it, and many clients
    would lose the answer with it; one that sends on and on is cut off. Who waits for ``100 Continue`` sends nothing.
    """
    if headers.get(b"expect", b"").lower() == b"100-continue":
        return
    left_bytes = _DISCARDED_BYTES
    try:
        async with asyncio.timeout(_DISCARD_S):
            while left_bytes > 0:
                async with asyncio.timeout(_SILENCE_S):
                    message = await receive()
                left_bytes -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        return


def too_large(limit_bytes: int) -> RequestTooLarge:
    return RequestTooLarge(f"The request's body is larger than the {limit_bytes:,} bytes that this server takes.")


async def _piece(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise CallerGone
    return message.get("body", b""), not message.get("more_body", False)


def _count(chunk: bytes, size: int, limit_bytes: int, grow: Callable[[int], None] | None) -> int:
    size += len(chunk)
    if size > limit_bytes:
        raise too_large(limit_bytes)
    if grow is not None and chunk:
        grow(len(chunk))
    return size
