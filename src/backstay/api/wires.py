"""Owns the vendors' wires: what is a call, who makes it, and how its answer goes over ASGI. No logic of its own."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import partial
from typing import Any

import msgspec

from backstay.access import clean_label
from backstay.api.auth import Authenticate
from backstay.api.bodies import Message, Receive, announced_bytes, discard_body, read_body
from backstay.api.later import LaterCalls, is_async
from backstay.cache import read_directives
from backstay.core.caller import Caller, Priority
from backstay.core.errors import BackstayError, InvalidRequest, Overloaded, RequestTooLarge
from backstay.core.ids import parse_traceparent
from backstay.core.money import NanoUSD, from_usd
from backstay.gateway import Gate, Gateway, Headers, Incoming, Ticket, call
from backstay.idempotency import check_key
from backstay.providers import Dialect, Operation

Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

_WATCH_AFTER_S = 0.05
"""From when on, at the earliest, it is watched whether the caller is still there; twice this at the latest."""


class Wire(msgspec.Struct, frozen=True, kw_only=True):
    """One path of a vendor's API."""

    path: str
    operation: Operation
    dialect: Dialect
    forward: frozenset[bytes] = frozenset()
    """Names of headers that the vendor understands."""


class AsgiSink:
    """Answers one call over ASGI. ``hold`` is told of each piece of the answer."""

    def __init__(self, send: Send, hold: Callable[[int], None]):
        self.begun = False
        self._send = send
        self._hold = hold

    async def reply(self, status: int, headers: Headers, body: bytes) -> None:
        self.begun = True
        self._hold(len(body))
        length = (b"content-length", str(len(body)).encode())
        await self._send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
        await self._send({"type": "http.response.body", "body": body})

    async def begin(self, status: int, headers: Headers) -> None:
        self.begun = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, chunk: bytes, *, end: bool = False) -> None:
        self._hold(len(chunk))
        await self._send({"type": "http.response.body", "body": chunk, "more_body": not end})


class Wires:
    """Answers the vendors' wires with one gateway, as far as its gate lets calls in."""

    def __init__(
        self,
        gateway: Gateway,
        gate: Gate,
        authenticate: Authenticate,
        *,
        max_body_bytes: int,
        later: LaterCalls | None = None,
    ):
        """Take the parts. ``later`` takes calls in that are answered later; ``None``: they are refused."""
        self._gateway = gateway
        self._gate = gate
        self._authenticate = authenticate
        self._later = later
        self._turns = asyncio.Lock()
        self._watches = _Watches()
        self._max_body_bytes = min(max_body_bytes, gate.admission.capacity.longest_bytes)

    async def __call__(self, wire: Wire, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Every error is in the shape of the wire's vendor.

        Who is not let in is told so before the body is read. What a call holds is given back however it ends.
        """
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        try:
            caller = await self._authenticate(headers)
            _deadline_s(headers)
            _max_cost(headers)
            _idempotency_key(headers)
            priority = _priority(headers, caller)
            is_later = is_async(headers)
            announced = announced_bytes(headers, self._max_body_bytes)
            ticket = await self._gate.enter(caller.tenant_id, priority, announced or 0)
        except BackstayError as error:
            await _refuse(wire, error, headers, receive, send)
            return
        grow = None if announced is not None else partial(self._gate.grow, ticket, priority)
        try:
            if is_later:
                await self._take_for_later(wire, scope, headers, caller, grow, receive, send)
            else:
                await self._take(wire, headers, caller, ticket, grow, receive, send)
        finally:
            self._gate.leave(ticket)

    async def _take(
        self,
        wire: Wire,
        headers: Mapping[bytes, bytes],
        caller: Caller,
        ticket: Ticket,
        grow: Callable[[int], None] | None,
        receive: Receive,
        send: Send,
    ) -> None:
        try:
            body = await read_body(receive, self._max_body_bytes, grow, self._turns)
        except BackstayError as error:
            self._gate.leave(ticket)
            await _refuse(wire, error, headers, receive, send)
            return
        sink = AsgiSink(send, partial(self._gate.hold, ticket))
        await self._watches.during(call(self._gateway, _incoming(wire, headers, caller, body), sink), receive)

    async def _take_for_later(
        self,
        wire: Wire,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        caller: Caller,
        grow: Callable[[int], None] | None,
        receive: Receive,
        send: Send,
    ) -> None:
        try:
            if self._later is None:
                raise InvalidRequest(
                    "Calls that are answered later are taken by a server alone.", param="x-backstay-async"
                )
            body = await read_body(receive, self._max_body_bytes, grow, self._turns)
            head, told = await self._later.take(_incoming(wire, headers, caller, body), headers, scope)
        except BackstayError as error:
            await _refuse(wire, error, headers, receive, send)
            return
        length = (b"content-length", b"%d" % len(told))
        await send({"type": "http.response.start", "status": 202, "headers": [*head, length]})
        await send({"type": "http.response.body", "body": told})


def _incoming(wire: Wire, headers: Mapping[bytes, bytes], caller: Caller, body: bytes) -> Incoming:
    trace_id, parent_id = parse_traceparent(_text(headers, b"traceparent")) or (None, None)
    return Incoming(
        operation=wire.operation,
        path=wire.path,
        dialect=wire.dialect,
        caller=caller,
        body=body,
        forward={name.decode(): headers[name].decode("latin-1") for name in wire.forward if name in headers},
        feature=_label(headers, b"x-backstay-feature") or caller.feature,
        tags=_tags(headers) or caller.tags,
        deadline_s=_deadline_s(headers),
        max_cost_nanousd=_max_cost(headers),
        priority=_priority(headers, caller),
        cache_control=read_directives(_text(headers, b"cache-control")),
        trace_id=trace_id,
        parent_id=parent_id,
        idempotency_key=_idempotency_key(headers),
    )


async def _refuse(
    wire: Wire, error: BackstayError, headers: Mapping[bytes, bytes], receive: Receive, send: Send
) -> None:
    """Answer a request that did not become a call. Where its body is not wanted, the connection ends with it."""
    status, extra, body = wire.dialect.write_error(error)
    answer: list[tuple[bytes, bytes]] = [(b"content-type", b"application/json"), *_encoded(extra)]
    answer.append((b"content-length", b"%d" % len(body)))
    ends = isinstance(error, Overloaded | RequestTooLarge)
    if ends:
        answer.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": answer})
    await send({"type": "http.response.body", "body": body, "more_body": ends})
    if ends:
        await discard_body(headers, receive)
        await send({"type": "http.response.body", "body": b""})


class _Watch:
    """Cancels a task when its caller has gone: the provider's call is cancelled with it."""

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


class _Watches:
    """The callers of all open calls. Nobody watches during the first moments, and one timer serves all calls: a task,
    or only a timer, of its own for each would cost more than it saves."""

    def __init__(self) -> None:
        self._new: dict[_Watch, None] = {}
        self._next: dict[_Watch, None] = {}
        """Those that the timer finds when it rings."""
        self._timer: asyncio.TimerHandle | None = None

    async def during(self, answering: Awaitable[None], receive: Receive) -> None:
        """Answer, and stop where the caller goes away first."""
        task = asyncio.current_task()
        assert task is not None
        watch = _Watch(task, receive)
        self._new[watch] = None
        if self._timer is None:
            self._set_timer()
        try:
            await answering
        except asyncio.CancelledError:
            if not watch.gone:
                raise
            task.uncancel()
        finally:
            self._new.pop(watch, None)
            self._next.pop(watch, None)
            watch.stop()

    def _set_timer(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_WATCH_AFTER_S, self._ring)

    def _ring(self) -> None:
        for watch in self._next:
            watch.start()
        self._next, self._new, self._timer = self._new, {}, None
        if self._next:
            self._set_timer()


def _text(headers: Mapping[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return value.decode("latin-1") if value else None


def _priority(headers: Mapping[bytes, bytes], caller: Caller) -> Priority:
    value = headers.get(b"x-backstay-priority")
    if value is None:
        return caller.priority
    match value.strip().lower():
        case b"interactive":
            return "interactive"
        case b"batch":
            return "batch"
        case _:
            raise InvalidRequest("x-backstay-priority is `interactive` or `batch`.", param="x-backstay-priority")


def _idempotency_key(headers: Mapping[bytes, bytes]) -> str | None:
    """Read what repeats have in common. Raises ``InvalidRequest`` where it cannot be used."""
    value = headers.get(b"idempotency-key")
    return None if value is None else check_key(value.decode("latin-1"))


def _label(headers: Mapping[bytes, bytes], name: bytes) -> str | None:
    value = _text(headers, name)
    return clean_label(value) or None if value else None


def _max_cost(headers: Mapping[bytes, bytes]) -> NanoUSD | None:
    """Read ``x-backstay-max-cost``, in US dollars. Raises ``InvalidRequest`` if it is no amount."""
    text = _text(headers, b"x-backstay-max-cost")
    if text is None:
        return None
    try:
        amount = from_usd(text)
    except ValueError:
        amount = NanoUSD(-1)
    if amount < 0:
        raise InvalidRequest("x-backstay-max-cost must be an amount in US dollars, as in 0.05.")
    return amount


def _deadline_s(headers: Mapping[bytes, bytes]) -> float | None:
    """Read how long the caller waits: ``x-backstay-deadline-ms``, or ``x-request-timeout`` in seconds.

    Raises:
        InvalidRequest: It is no number above 0.
    """
    for name, unit_s in ((b"x-backstay-deadline-ms", 0.001), (b"x-request-timeout", 1.0)):
        text = headers.get(name)
        if text is None:
            continue
        try:
            limit_s = float(text) * unit_s
        except ValueError:
            limit_s = math.nan
        if not 0 < limit_s < math.inf:
            unit = "milliseconds" if unit_s < 1 else "seconds"
            raise InvalidRequest(f"{name.decode()} must be a number of {unit} above 0.", param=name.decode())
        return limit_s
    return None


def _tags(headers: Mapping[bytes, bytes]) -> tuple[str, ...]:
    value = _text(headers, b"x-backstay-tags")
    if not value:
        return ()
    return tuple(tag for part in value.split(",") if (tag := clean_label(part)))


def _encoded(headers: Mapping[str, str]) -> Headers:
    return [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
