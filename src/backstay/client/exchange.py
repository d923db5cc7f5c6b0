"""Owns one request to the front door and its answer, in memory: the place of a socket, with its pressure backwards."""

import asyncio
import logging
from collections.abc import MutableMapping, Sequence
from typing import Any

import msgspec

from backstay.api import FrontDoor
from backstay.core.errors import ProviderUnreachable

RawHeaders = Sequence[tuple[bytes, bytes]]

_HELD_BYTES = 64 * 1024
"""What of an answer may wait for its reader before the provider is slowed down."""

_END_S = 1.0
"""How long a call that was stopped may take to end."""

_log = logging.getLogger("backstay.client")


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request as an HTTP server would have read it. Names of headers are in lower case."""

    method: str
    path: str
    query: bytes = b""
    headers: RawHeaders
    body: bytes


class Exchange:
    """A request on its way and the answer that comes. Belongs to the loop that it was begun in."""

    def __init__(self, door: FrontDoor, request: Request, *, stalled_s: float):
        """Send a request in.

        Args:
            stalled_s: How long an answer waits for its reader before it is cut off.
        """
        self.status = 0
        """0 until the answer has begun."""
        self.headers: RawHeaders = ()
        self.task = asyncio.create_task(self._run(door, request), name=f"call {request.path}")
        self._loop = asyncio.get_running_loop()
        self._body: bytes | None = request.body
        self._stalled_s = stalled_s
        self._parts: list[bytes] = []
        self._held_bytes = 0
        self._is_whole = False
        self._is_over = False
        self._readers = 0
        self._left_at = self._loop.time()
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    async def begun(self) -> None:
        """Wait until status and headers are there; of an answer that is no stream, until all is there.

        Raises:
            ProviderUnreachable: The call was cut off before.
        """
        while not self._is_over and not (self.status and self.is_stream):
            await self._wait()
        if not self.status:
            raise ProviderUnreachable("The call was cut off before it was answered.")

    @property
    def is_stream(self) -> bool:
        """Whether the answer comes in pieces. Known once it has begun."""
        return all(name != b"content-length" for name, _ in self.headers)

    async def take(self) -> bytes:
        """Take what has come of the body since the last time, waiting for some; empty at its end.

        Raises:
            ProviderUnreachable: The answer was cut off.
        """
        while not self._parts and not self._is_over:
            await self._wait()
        taken = b"".join(self._parts)
        self._parts.clear()
        self._held_bytes = 0
        self._room.set()
        if not taken and not self._is_whole:
            raise ProviderUnreachable("The answer was cut off.")
        return taken

    def idle_s(self) -> float:
        """Say for how long nobody has waited for anything of it."""
        return 0.0 if self._readers else self._loop.time() - self._left_at

    def abandon(self) -> None:
        """Stop the call, if it has not ended: it is recorded as cancelled, with what was received of it."""
        self.task.cancel()

    def abandon_soon(self) -> None:
        """Do the same from any thread, and also when the loop has ended."""
        if not self.task.done() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.abandon)

    async def end(self) -> None:
        """Stop the call, and wait until it is recorded."""
        self.abandon()
        await asyncio.wait([self.task], timeout=_END_S)

    async def _wait(self) -> None:
        self._readers += 1
        try:
            self._news.clear()
            await self._news.wait()
        finally:
            self._readers -= 1
            self._left_at = self._loop.time()

    async def _run(self, door: FrontDoor, request: Request) -> None:
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "http",
            "method": request.method,
            "path": request.path,
            "raw_path": request.path.encode(),
            "query_string": request.query,
            "root_path": "",
            "headers": request.headers,
            "server": ("in-process", 80),
            "client": None,
        }
        try:
            await door(scope, self._receive, self._send)
        except Exception:  # noqa: BLE001 - the edge of a call: whoever waits for it is told that it was cut off
            _log.exception("A call failed before the gateway could answer it.")
        finally:
            self._is_over = True
            self._news.set()

    async def _receive(self) -> MutableMapping[str, Any]:
        if self._body is None:
            await asyncio.Event().wait()  # who goes away cancels the task instead
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], message["headers"]
        else:
            if body := message.get("body", b""):
                self._parts.append(body)
                self._held_bytes += len(body)
            self._is_whole = not message.get("more_body", False)
        self._news.set()
        if self._held_bytes > _HELD_BYTES and self.is_stream:
            await self._until_taken()

    async def _until_taken(self) -> None:
        self._room.clear()
        try:
            async with asyncio.timeout(self._stalled_s):
                await self._room.wait()
        except TimeoutError:
            self.abandon()
            await asyncio.sleep(0)
