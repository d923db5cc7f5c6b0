"""Owns the vendors' wires: what is a call, who makes it, and how its answer goes over ASGI. No logic of its own."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import partial
from typing import Any, NamedTuple

import msgspec

from backstay.api.auth import Authenticate
from backstay.api.bodies import CallerGone, Message, Receive, announced_bytes, discard_body, read_body
from backstay.api.call_options import NO_OPTIONS, CallOptions, read_options
from backstay.api.document_wires import DocumentWires
from backstay.api.later import LaterCalls
from backstay.core.caller import Caller
from backstay.core.errors import BackstayError, Draining, InvalidRequest, Overloaded, RequestTooLarge
from backstay.gateway import Gate, Gateway, Headers, Incoming, Ticket, call, record_unread
from backstay.providers import Dialect, Operation

Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

WHOLE_ANSWER = "backstay.whole_answer"
"""The ASGI extension by which a server takes a whole answer at once: called with the scope, the status, the headers and
the body, it writes them, or says ``False``."""

_CUT_S = 0.5
"""Longest that a caller may take to be told that the worker ends before its answer does."""

_WATCH_AFTER_S = 0.05
"""From when on, at the earliest, it is watched whether the caller is still there; twice this at the latest."""


class Wire(msgspec.Struct, frozen=True, kw_only=True):
    """One path of a vendor's API."""

    path: str
    operation: Operation
    dialect: Dialect
    forward: frozenset[bytes] = frozenset()
    """Names of headers that the vendor understands."""


_NOTHING: Mapping[str, str] = {}


def _hold_nothing(_: int) -> None:
    pass


class AsgiSink:
    """Answers one call over ASGI. ``hold`` is told of each piece of the answer."""

    def __init__(self, scope: Scope, send: Send, hold: Callable[[int], None]):
        self.begun = self.ended = False
        self._scope = scope
        self._send = send
        self._hold = hold

    def hold_nothing(self) -> None:
        """From now on, tell nobody of the pieces."""
        self._hold = _hold_nothing

    async def reply(self, status: int, headers: Headers, body: bytes) -> None:
        self.begun = self.ended = True
        self._hold(len(body))
        headers = [*headers, (b"content-length", b"%d" % len(body))]
        write_whole = self._scope.get("extensions", _NOTHING).get(WHOLE_ANSWER)
        if write_whole is not None and write_whole(self._scope, status, headers, body):
            return
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def begin(self, status: int, headers: Headers) -> None:
        self.begun = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, chunk: bytes, *, end: bool = False) -> None:
        self._hold(len(chunk))
        self.ended = self.ended or end
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
        documents: DocumentWires | None = None,
    ):
        """Take the parts. ``later`` takes calls in that are answered later; ``None``: they are refused. ``documents``
        takes those that are answered from documents; ``None``: none are."""
        self._gateway = gateway
        self._gate = gate
        self._authenticate = authenticate
        self._later = later
        self._documents = documents
        self._turns = asyncio.Lock()
        self._watches = _Watches()
        self._max_body_bytes = min(max_body_bytes, gate.admission.capacity.longest_bytes)

    async def __call__(self, wire: Wire, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Every error is in the shape of the wire's vendor.

        Who is not let in is told so before the body is read. What a call holds is given back however it ends.
        """
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        caller, options = None, NO_OPTIONS
        try:
            caller = await self._authenticate(headers)
            options = read_options(headers)
            priority = options.priority or caller.priority
            announced = announced_bytes(headers, self._max_body_bytes)
            ticket = await self._gate.enter(caller.tenant_id, priority, announced or 0)
        except BackstayError as error:
            trace_id = None
            if caller is not None:
                trace_id = self._note(_Asked(wire, scope, headers, caller, options), error)
            await _refuse(wire, error, headers, receive, send, trace_id)
            return
        grow = None if announced is not None else partial(self._gate.grow, ticket, priority)
        try:
            take = self._take_for_later if options.is_later else self._take
            await take(_Asked(wire, scope, headers, caller, options), ticket, grow, receive, send)
        finally:
            self._gate.leave(ticket)

    async def _take(
        self, asked: "_Asked", ticket: Ticket, grow: Callable[[int], None] | None, receive: Receive, send: Send
    ) -> None:
        try:
            body = await read_body(receive, self._max_body_bytes, grow, self._turns)
        except BackstayError as error:
            self._gate.leave(ticket)
            await _refuse(asked.wire, error, asked.headers, receive, send, self._note(asked, error))
            return
        sink = AsgiSink(asked.scope, send, partial(self._gate.hold, ticket))
        if self._documents is None or not self._documents.may_concern(asked.wire.path, body):
            answering = call(self._gateway, _incoming(asked, body), sink)
        else:
            answering = self._answer_from_documents(asked, body, ticket, sink)
        try:
            await self._watches.during(answering, receive)
        except asyncio.CancelledError:
            # Its caller is there: the time is over that the worker waits for open calls before it ends.
            if not await _tell_cut(asked.wire.dialect, sink):
                raise

    async def _answer_from_documents(self, asked: "_Asked", body: bytes, ticket: Ticket, sink: AsgiSink) -> None:
        """Answer what is to be answered from documents, if this is.

        The calls that are made for it take places of their own: who held one here might wait for them.
        """
        assert self._documents is not None
        answer = await self._documents.find(asked.wire.path, body, asked.caller, asked.headers)
        if answer is None:
            await call(self._gateway, _incoming(asked, body), sink)
        else:
            self._gate.leave(ticket)
            sink.hold_nothing()
            await answer(sink)

    async def _take_for_later(
        self, asked: "_Asked", _ticket: Ticket, grow: Callable[[int], None] | None, receive: Receive, send: Send
    ) -> None:
        try:
            if self._later is None:
                raise InvalidRequest(
                    "Calls that are answered later are taken by a server alone.", param="x-backstay-async"
                )
            body = await read_body(receive, self._max_body_bytes, grow, self._turns)
            head, told = await self._later.take(_incoming(asked, body), asked.headers, asked.scope)
        except BackstayError as error:
            await _refuse(asked.wire, error, asked.headers, receive, send, self._note(asked, error))
            return
        length = (b"content-length", b"%d" % len(told))
        await send({"type": "http.response.start", "status": 202, "headers": [*head, length]})
        await send({"type": "http.response.body", "body": told})

    def _note(self, asked: "_Asked", error: BackstayError) -> str | None:
        """Leave a trace of a request that cannot become a call. What there is no room for is counted alone: shedding
        must cost next to nothing."""
        if not isinstance(error, InvalidRequest):
            return None
        return record_unread(self._gateway, _incoming(asked, b""), error, cancelled=isinstance(error, CallerGone))


class _Asked(NamedTuple):
    """One request whose caller is known."""

    wire: Wire
    scope: Scope
    headers: Mapping[bytes, bytes]
    caller: Caller
    options: CallOptions


def _incoming(asked: _Asked, body: bytes) -> Incoming:
    wire, headers, caller, options = asked.wire, asked.headers, asked.caller, asked.options
    return Incoming(
        operation=wire.operation,
        path=wire.path,
        dialect=wire.dialect,
        caller=caller,
        body=body,
        forward=_NOTHING if wire.forward.isdisjoint(headers) else _forwarded(wire, headers),
        feature=options.feature or caller.feature,
        tags=options.tags or caller.tags,
        deadline_s=options.deadline_s,
        max_cost_nanousd=options.max_cost_nanousd,
        priority=options.priority or caller.priority,
        cache_control=options.cache_control,
        trace_id=options.trace_id,
        parent_id=options.parent_id,
        idempotency_key=options.idempotency_key,
    )


def _forwarded(wire: Wire, headers: Mapping[bytes, bytes]) -> Mapping[str, str]:
    return {name.decode(): headers[name].decode("latin-1") for name in wire.forward if name in headers}


async def _refuse(
    wire: Wire,
    error: BackstayError,
    headers: Mapping[bytes, bytes],
    receive: Receive,
    send: Send,
    trace_id: str | None,
) -> None:
    """Answer a request that did not become a call. Where its body is not wanted, the connection ends with it."""
    status, extra, body = wire.dialect.write_error(error, request_id=trace_id)
    answer: list[tuple[bytes, bytes]] = [(b"content-type", b"application/json"), *_encoded(extra)]
    answer.append((b"content-length", b"%d" % len(body)))
    if trace_id is not None:
        answer.append((b"x-backstay-trace-id", trace_id.encode()))
    ends = isinstance(error, Overloaded | RequestTooLarge)
    if ends:
        answer.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": answer})
    await send({"type": "http.response.body", "body": body, "more_body": ends})
    if ends:
        await discard_body(headers, receive)
        await send({"type": "http.response.body", "body": b""})


async def _tell_cut(dialect: Dialect, sink: AsgiSink) -> bool:
    """Tell a caller that the worker ends before the answer does; ``False``: there is nothing to add, or no time."""
    error = Draining("This server is shutting down, and the answer takes longer than it waits. Try again.")
    if sink.ended:
        return False
    try:
        async with asyncio.timeout(_CUT_S):
            if sink.begun:
                await sink.write(dialect.write_stream_error(error), end=True)
            else:
                status, extra, body = dialect.write_error(error)
                await sink.reply(status, [(b"content-type", b"application/json"), *_encoded(extra)], body)
    except TimeoutError:
        return False
    return True


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
        self._loop: asyncio.AbstractEventLoop | None = None

    async def during(self, answering: Awaitable[None], receive: Receive) -> None:
        """Answer, and stop where the caller goes away first."""
        loop = self._loop = self._loop or asyncio.get_running_loop()  # asked once: each time is a system call
        task = asyncio.current_task(loop)
        assert task is not None
        watch = _Watch(task, receive)
        self._new[watch] = None
        if self._timer is None:
            self._set_timer(loop)
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

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(_WATCH_AFTER_S, self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        for watch in self._next:
            watch.start()
        self._next, self._new, self._timer = self._new, {}, None
        if self._next:
            self._set_timer(loop)


def _encoded(headers: Mapping[str, str]) -> Headers:
    return [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
