"""Owns the guard at the socket: who sends too slowly, a head without end, or takes no answer, is cut off."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from backstay.api.wires import WHOLE_ANSWER

_LONG_BYTES = 64 * 1024
"""Bodies from here on are not copied behind their head; for shorter ones that costs less than a write of their own."""

_CHUNK_BYTES = 256 * 1024
"""The most that comes at once. Source: uvloop 0.22, ``UV_STREAM_RECV_BUF_SIZE`` (2025-10)."""


class _HeadTooLong(Exception):
    """The head of a request goes on and on."""


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol, with limits on how long a request may take to arrive, on the size of its head, and
    on how long its answer may wait to be taken.
    """

    head_patience_s = 15.0
    """From the opening of a connection, or the first byte of a further request, to the end of its headers."""

    body_patience_s = 30.0
    """Between two pieces of a request's body."""

    reader_patience_s = 120.0
    """From when an answer no longer fits into the buffers, during which nothing of it is taken."""

    longest_head_bytes = 64 * 1024

    longest_unwanted_bytes = 64 * 1024 * 1024
    """Of a body that still comes once its request was answered, as where its key is none: who sends on is cut off.
    Until then it is dropped: many clients read no answer before they have sent all."""

    _timer: asyncio.TimerHandle | None = None
    _deadline: float | None = None
    _head_bytes = 0
    _unparsed_bytes = 0
    _has_body = False
    _unwanted_bytes = 0
    _stall: asyncio.TimerHandle | None = None
    _untaken_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))
        self._wait(self.head_patience_s)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._forget_stall()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        self._forget_stall()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._deadline is not None and not self._has_body:
            self._bound_head(len(data))

    def on_message_begin(self) -> None:
        self._head_bytes, self._has_body, self._unwanted_bytes = 0, False, 0
        # A further request may begin in the middle of what came at once: before it is the end of another one's body.
        self._unparsed_bytes = 0 if self._deadline is not None else -_CHUNK_BYTES
        self._wait(self.head_patience_s)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._has_body = True
        self._wait(self.body_patience_s)
        super().on_body(body)
        if self.cycle.response_complete:
            self._unwanted_bytes += len(body)
            if self._unwanted_bytes > self.longest_unwanted_bytes:
                self.transport.abort()

    def on_message_complete(self) -> None:
        self._wait(None)
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cast(dict[str, Any], cycle.scope)["extensions"] = {WHOLE_ANSWER: self._write_whole}
        super()._start_asgi_task(cycle, app)

    def _write_whole(self, scope: Any, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
        """Write a whole answer at once, which costs a third of what two messages and the look at each header do.

        ``headers``: names in lower case, with a ``content-length``. ``False``: the usual way must be gone. Nothing was
        written.
        """
        cycle = self.cycle
        if cycle.scope is not scope or cycle.response_started or not cycle.keep_alive:
            return False
        if cycle.disconnected or self.flow.write_paused:
            return False
        head = b"%b%b\r\n\r\n" % (STATUS_LINE[status], b"\r\n".join(map(b": ".join, headers)))
        if head.count(b"\r") != len(headers) + 2 or head.count(b"\n") != len(headers) + 2:
            return False  # a value with a line break in it: uvicorn says what is wrong with it
        cycle.response_started = cycle.response_complete = True
        if len(body) < _LONG_BYTES:
            self.transport.write(head + body)
        else:
            self.transport.write(head)
            self.transport.write(body)
        cycle.message_event.set()
        cycle.on_response()
        return True

    def _wait(self, patience_s: float | None) -> None:
        """Cut the connection off unless this is called again in time; ``None`` waits for nothing.

        One timer looks at the deadline now and then: setting a new one for each step would cost every request.
        """
        self._deadline = None if patience_s is None else self.loop.time() + patience_s
        if self._deadline is not None and self._timer is None:
            self._timer = self.loop.call_at(self._deadline, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self.loop.time() >= self._deadline:
            self._turn_away(408, "The request came too slowly. Send it faster, or send less.")
        else:
            self._timer = self.loop.call_at(self._deadline, self._look)

    def _watch_reader(self) -> None:
        """Look again later whether anything was taken. Cutting the connection off frees all that its call holds."""
        self._untaken_bytes = self.transport.get_write_buffer_size()
        self._stall = self.loop.call_later(self.reader_patience_s, self._look_at_reader)

    def _look_at_reader(self) -> None:
        if self.transport.get_write_buffer_size() < self._untaken_bytes:
            self._watch_reader()
        else:
            self.transport.abort()

    def _forget_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self.longest_head_bytes:
            raise _HeadTooLong  # the parser stops at once, and what it raises ends in `send_400_response`

    def _bound_head(self, size: int) -> None:
        """Stop a head whose end is not in sight: the parser tells of a header only once it has all of it."""
        self._unparsed_bytes += size
        if self._unparsed_bytes > 2 * self.longest_head_bytes and not self.transport.is_closing():
            self._head_bytes = self._unparsed_bytes
            self.send_400_response("")

    def send_400_response(self, msg: str) -> None:
        if self._head_bytes > self.longest_head_bytes:
            self._turn_away(431, f"The request's head is larger than {self.longest_head_bytes:,} bytes. Send less.")
        else:
            super().send_400_response(msg)

    def _turn_away(self, status: int, sentence: str) -> None:
        """End the connection, and say why where somebody has begun to ask and has no part of an answer yet."""
        cycle = cast(RequestResponseCycle | None, self.cycle)
        is_open = cycle is not None and not cycle.response_complete
        is_asking = self._head_bytes > 0 and not (is_open and self.cycle.response_started)
        if self.transport.is_closing() or not is_asking:
            self.transport.abort()
            return
        head = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head % len(sentence) + sentence.encode())
        self.transport.close()


def guarded(reader_patience_s: float) -> type[GuardedProtocol]:
    """Make the protocol with this patience for callers that take nothing of their answer."""
    return type("PatientProtocol", (GuardedProtocol,), {"reader_patience_s": reader_patience_s})
