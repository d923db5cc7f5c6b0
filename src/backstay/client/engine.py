"""Owns what a client runs: the path of calls in this process, on one event loop, from its first call to its close."""

import asyncio
import logging
import os
import secrets
from collections.abc import Mapping
from contextlib import AsyncExitStack

import msgspec
from starlette.applications import Starlette

from backstay import api
from backstay.api.auth import operator, read_credential
from backstay.call_path import CallPath
from backstay.client.exchange import Exchange, Request
from backstay.client.postgres import SharedPostgres
from backstay.client.shipping import ClientShipping
from backstay.core.caller import Caller
from backstay.core.errors import ClientUnusable, ConfigError
from backstay.core.settings import Settings
from backstay.data_folder import join_data_folder, read_operator_token
from backstay.store import Database
from backstay.tracing import Span

IN_PROCESS = "in-process"
"""What stands where a request's credential would, so that no SDK's object holds one."""

CLOSE_S = 10.0
"""How long ``close`` waits for calls that somebody still reads, and then for their shipping."""
_SHIP_S = 8.0
_UNREAD_S = 1.0
"""From when on an answer that nobody takes anything of does not hold up ``close``."""
_CONNECTIONS = 4

_log = logging.getLogger("backstay.client")


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who a client's calls are from: a key, or the operator of the data folder for one tenant."""

    api_key: str | None
    tenant: str


class Engine:
    """The gateway of one client. Used from one event loop, that of its first use."""

    def __init__(self, settings: Settings, identity: Identity):
        self._settings = settings
        self._identity = identity
        self._pid = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening = asyncio.Lock()
        self._held = AsyncExitStack()
        self._limit_s = CLOSE_S
        self._door: api.FrontDoor | None = None
        self._is_closed = False
        self._exchanges: set[Exchange] = set()
        self._postgres: SharedPostgres | None = None
        self._shipping: ClientShipping | None = None
        self._path: CallPath | None = None

    async def open(self) -> api.FrontDoor:
        """Start what calls need, the first time.

        Raises:
            ClientUnusable: It is closed, of a parent process, or of another loop.
            ConfigError: A setting or the policy is wrong, or the data folder cannot be used. Nothing is left running.
        """
        self._check()
        if self._door is None:
            async with self._opening:
                if self._door is None:
                    self._door = await self._open()
        return self._door

    async def close(self, limit_s: float) -> None:
        """End: calls that somebody reads may finish, the journal is shipped, all within about ``limit_s``."""
        if self._is_closed or os.getpid() != self._pid:
            return
        if self._loop is not None:
            self._check()
        self._is_closed, self._limit_s = True, limit_s
        async with self._opening:
            await self._held.aclose()

    async def ask(self, request: Request, patience_s: float | None) -> Exchange:
        """Send a request in and wait until it is answered: whole, or to where its stream begins.

        Raises:
            TimeoutError: It took longer than ``patience_s``. The call is stopped.
            ProviderUnreachable: The call was cut off.
        """
        door = await self.open()
        exchange = Exchange(door, request, stalled_s=self._settings.stalled_client_s)
        self._exchanges.add(exchange)
        exchange.task.add_done_callback(lambda _: self._exchanges.discard(exchange))
        try:
            async with asyncio.timeout(patience_s):
                await exchange.begun()
        except BaseException:
            exchange.abandon()
            raise
        return exchange

    async def take(self, exchange: Exchange, patience_s: float | None) -> bytes:
        """Take the next piece of an answer; empty at its end. Raises as ``ask``."""
        try:
            async with asyncio.timeout(patience_s):
                return await exchange.take()
        except BaseException:
            exchange.abandon()
            raise

    def let_go(self) -> None:
        """In a forked child: hold nothing that is the parent's, so that its journal is free when it ends."""
        if self._door is None or self._is_closed:
            return  # what it held is given back, and its handles may be others' by now
        for held in (self._postgres, self._shipping, self._path and self._path.journal):
            if held is not None:
                held.let_go()

    def _check(self) -> None:
        if os.getpid() != self._pid:
            raise ClientUnusable(
                "This client was made before the process forked. Make one in each process, after the fork."
            )
        if self._is_closed:
            raise ClientUnusable("This client is closed. Make a new one.")
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if loop is not self._loop:
            raise ClientUnusable("This client belongs to another event loop. Make one for each loop.")

    async def _open(self) -> api.FrontDoor:
        async with AsyncExitStack() as opened:
            await join_data_folder(self._settings.data_dir)
            if self._identity.api_key is None and read_operator_token(self._settings.data_dir) is None:
                raise ConfigError(
                    "Give the client a key (api_key=…, or BACKSTAY_KEY): this user may not act as the operator of "
                    f"{self._settings.data_dir}."
                )
            url = await self._database_url(opened)
            self._shipping = ClientShipping(self._settings.data_dir, url)
            opened.push_async_callback(self._close_shipping, self._shipping)
            await self._shipping.start()
            self._path = path = CallPath(
                self._settings,
                f"client-{os.getpid()}-{secrets.token_hex(4)}",
                database=Database(url, max_connections=_CONNECTIONS, name="backstay client"),
                observe=_ignore,
                knows_all_keys=False,
                is_supervised=False,
            )
            opened.push_async_callback(path.stop)
            await path.start()
            opened.push_async_callback(self._end_calls)
            self._held = opened.pop_all()
        return self._front_door(path)

    async def _database_url(self, opened: AsyncExitStack) -> str:
        if self._settings.database_url is not None:
            return self._settings.database_url.get_secret_value()
        self._postgres = SharedPostgres(self._settings.data_dir)
        opened.push_async_callback(self._postgres.leave)
        return await self._postgres.join()

    async def _close_shipping(self, shipping: ClientShipping) -> None:
        await shipping.close(min(_SHIP_S, self._limit_s))

    async def _end_calls(self) -> None:
        """Wait for the calls that somebody reads, and stop the others."""
        assert self._path is not None
        self._path.gateway.draining = True
        give_up = asyncio.get_running_loop().time() + self._limit_s
        while self._exchanges:
            is_over = asyncio.get_running_loop().time() > give_up
            for exchange in tuple(self._exchanges):
                if is_over or exchange.idle_s() > _UNREAD_S:
                    exchange.abandon()
            await asyncio.wait([exchange.task for exchange in self._exchanges], timeout=0.05)

    def _front_door(self, path: CallPath) -> api.FrontDoor:
        models = Starlette(
            routes=api.model_routes(self._authenticate, path.model_names), exception_handlers=api.EXCEPTION_HANDLERS
        )
        wires = api.Wires(path.gateway, path.gate, self._authenticate, max_body_bytes=self._settings.max_body_bytes)
        return api.FrontDoor(wires, models)

    async def _authenticate(self, headers: Mapping[bytes, bytes]) -> Caller:
        """Say who calls: the client's own identity, unless a request brings a key."""
        assert self._path is not None
        ring, key = self._path.ring, self._identity.api_key
        marks = (headers.get(b"authorization", b"").removeprefix(b"Bearer "), headers.get(b"x-api-key"))
        if IN_PROCESS.encode() not in marks and (credential := read_credential(headers)) is not None:
            key = credential.decode("latin-1")
        if key is not None:
            return ring.find(key) or await ring.authenticate(key)
        return operator(headers.get(b"x-backstay-tenant", b"").decode("latin-1") or self._identity.tenant)


def _ignore(span: Span) -> None:
    """Count no metrics: those are the server's, whose file a client would have to share."""
