"""Owns the vendors' wires: what is a call, who makes it, and how its answer goes over ASGI. No logic of its own."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import msgspec

from backstay.access import clean_label
from backstay.api.auth import Authenticate
from backstay.cache import read_directives
from backstay.core.errors import BackstayError, InvalidRequest, RequestTooLarge
from backstay.core.ids import parse_traceparent
from backstay.gateway import Gateway, Headers, Incoming, call
from backstay.providers import Dialect, Operation

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_DISCARDED_BYTES = 256 * 1024 * 1024
_DISCARD_S = 10.0

_WATCH_AFTER_S = 0.05
"""From when on it is watched whether the caller is still there."""


class Wire(msgspec.Struct, frozen=True, kw_only=True):
    """One path of a vendor's API."""

    path: str
    operation: Operation
    dialect: Dialect
    forward: frozenset[bytes] = frozenset()
    """Names of headers that the vendor understands."""


class AsgiSink:
    """Answers one call over ASGI."""

    def __init__(self, send: Send):
        self.begun = False
        self._send = send

    async def reply(self, status: int, headers: Headers, body: bytes) -> None:
        self.begun = True
        length = (b"content-length", str(len(body)).encode())
        await self._send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
        await self._send({"type": "http.response.body", "body": body})

    async def begin(self, status: int, headers: Headers) -> None:
        self.begun = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, chunk: bytes, *, end: bool = False) -> None:
        await self._send({"type": "http.response.body", "body": chunk, "more_body": not end})


class Wires:
    """Answers the vendors' wires with one gateway."""

    def __init__(self, gateway: Gateway, authenticate: Authenticate, *, max_body_bytes: int):
        self._gateway = gateway
        self._authenticate = authenticate
        self._max_body_bytes = max_body_bytes

    async def __call__(self, wire: Wire, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Every error is in the shape of the wire's vendor."""
        sink = AsgiSink(send)
        try:
            headers: Mapping[bytes, bytes] = dict(scope["headers"])
            caller = await self._authenticate(headers)
            body = await _read_body(headers, receive, self._max_body_bytes)
        except BackstayError as error:
            status, extra, body = wire.dialect.write_error(error)
            close = [(b"connection", b"close")] if isinstance(error, RequestTooLarge) else []
            await sink.reply(status, [(b"content-type", b"application/json"), *close, *_encoded(extra)], body)
            return
        trace_id, parent_id = parse_traceparent(_text(headers, b"traceparent")) or (None, None)
        incoming = Incoming(
            operation=wire.operation,
            path=wire.path,
            dialect=wire.dialect,
            caller=caller,
            body=body,
            forward={name.decode(): headers[name].decode("latin-1") for name in wire.forward if name in headers},
            feature=_label(headers, b"x-backstay-feature") or caller.feature,
            tags=_tags(headers) or caller.tags,
            trace_id=trace_id,
            parent_id=parent_id,
            cache_control=read_directives(_text(headers, b"cache-control")),
        )
        await _while_connected(call(self._gateway, incoming, sink), receive)


async def _while_connected(answering: Awaitable[None], receive: Receive) -> None:
    """Answer, and stop where the caller goes away first: the provider's call is cancelled with it.

    Nobody watches during the first moments: a task of its own for each call would cost more than it saves.
    """
    task = asyncio.current_task()
    assert task is not None
    watch = _Watch(task, receive)
    starting = asyncio.get_running_loop().call_later(_WATCH_AFTER_S, watch.start)
    try:
        await answering
    except asyncio.CancelledError:
        if not watch.gone:
            raise
        task.uncancel()
    finally:
        starting.cancel()
        watch.stop()


class _Watch:
    """Cancels a task when its caller has gone."""

    def __init__(self, task: asyncio.Task[object], receive: Receive):
        self.gone = False
        self._task = task
        self._receive = receive
        self._watcher: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._watcher = asyncio.create_task(self._until_gone())

    def stop(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self._task.cancel()


async def _read_body(headers: Mapping[bytes, bytes], receive: Receive, limit_bytes: int) -> bytes:
    """Read a request's body, bounded in size (and in time, by the protocol's guard).

    Raises:
        RequestTooLarge: It is longer than the limit.
        InvalidRequest: It is compressed, or the caller went away.
    """
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise InvalidRequest("Compressed bodies are not taken. Send it without content-encoding.")
    announced = headers.get(b"content-length", b"")
    if announced.isdigit() and int(announced) > limit_bytes:
        await _discard(receive)
        raise RequestTooLarge(_too_large(limit_bytes))
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidRequest("The caller went away before the body was complete.")
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit_bytes:
            chunks.clear()
            await _discard(receive)
            raise RequestTooLarge(_too_large(limit_bytes))
        if not message.get("more_body", False):
            return chunk if not chunks else b"".join((*chunks, chunk))
        chunks.append(chunk)


async def _discard(receive: Receive) -> None:
    """Take the rest of a body that is too large, and keep none of it: a client that still sends does not read.

    Bounded: one that sends on and on is cut off with the answer unread.
    """
    left_bytes = _DISCARDED_BYTES
    try:
        async with asyncio.timeout(_DISCARD_S):
            while left_bytes > 0:
                message = await receive()
                left_bytes -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        return


def _too_large(limit_bytes: int) -> str:
    return f"The request's body is larger than the {limit_bytes:,} bytes that this server takes."


def _text(headers: Mapping[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return value.decode("latin-1") if value else None


def _label(headers: Mapping[bytes, bytes], name: bytes) -> str | None:
    value = _text(headers, name)
    return clean_label(value) or None if value else None


def _tags(headers: Mapping[bytes, bytes]) -> tuple[str, ...]:
    value = _text(headers, b"x-backstay-tags")
    if not value:
        return ()
    return tuple(tag for part in value.split(",") if (tag := clean_label(part)))


def _encoded(headers: Mapping[str, str]) -> Headers:
    return [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
