"""Owns the connections to Postgres that are open and free, and the bound on how many there are.

``psycopg_pool`` reconnects in the background with a growing pause, and lets callers wait meanwhile. Here a connection
is opened when one is needed: a Postgres that is away is known at once, and one that is back is used at once.
"""

import asyncio
import math
import os
import socket
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row
from psycopg.sql import Composed

from backstay.core.errors import StoreUnavailable

Connection = psycopg.AsyncConnection[dict[str, Any]]
"""A connection whose rows are dictionaries."""


async def connect(url: str, *, name: str, timeout_s: float) -> Connection:
    """Open a connection that commits each statement by itself.

    Raises:
        StoreUnavailable: Postgres refuses, or does not answer in time.
    """
    options: Mapping[str, Any] = {
        "application_name": name,
        "client_encoding": "UTF8",
        "connect_timeout": max(2, math.ceil(timeout_s)),
        "keepalives_idle": 15,
        "keepalives_interval": 5,
        "keepalives_count": 3,
    }
    try:
        async with asyncio.timeout(timeout_s):
            return await Connection.connect(url, autocommit=True, row_factory=dict_row, **options)
    except (TimeoutError, psycopg.OperationalError) as error:
        raise StoreUnavailable() from error


class Pool:
    """Connections to one Postgres, opened on demand, the last one used handed out first."""

    def __init__(self, url: str, *, size: int, name: str):
        self._url = url
        self._name = name
        self._slots = asyncio.Semaphore(size)
        self._free: list[Connection] = []
        self._is_open = True

    @asynccontextmanager
    async def lease(self, opening: Composed, timeout_s: float) -> AsyncGenerator[Connection]:
        """Lend a connection on which the statements ``opening`` have just run: so it is known to be alive.

        After ``timeout_s`` the connection is cut, and whoever waits for an answer on it gets an error of the driver.

        Raises:
            StoreUnavailable: No connection became free in time, or Postgres is away.
        """
        give_up = asyncio.get_running_loop().time() + timeout_s
        try:
            async with asyncio.timeout_at(give_up):
                await self._slots.acquire()
        except TimeoutError as error:
            raise StoreUnavailable("All connections to Postgres are busy. Try again shortly.") from error
        try:
            connection = await self._alive(opening, give_up)
            try:
                with cut_at(give_up, connection):
                    yield connection
            finally:
                await self._take_back(connection)
        finally:
            self._slots.release()

    async def close(self) -> None:
        """Close the free connections now, and each one in use when it comes back."""
        self._is_open = False
        while self._free:
            await self._free.pop().close()

    async def _alive(self, opening: Composed, give_up: float) -> Connection:
        """Return a free connection that answers, or a new one. What died while it was free is thrown away."""
        while True:
            is_new = not self._free
            if is_new:
                left_s = give_up - asyncio.get_running_loop().time()
                connection = await connect(self._url, name=self._name, timeout_s=max(left_s, 0.001))
            else:
                connection = self._free.pop()
            try:
                with cut_at(give_up, connection):
                    await connection.execute(opening)
                return connection
            except psycopg.OperationalError as error:
                await connection.close()
                if is_new:
                    raise StoreUnavailable() from error
            except BaseException:
                await connection.close()
                raise

    async def _take_back(self, connection: Connection) -> None:
        is_idle = not connection.closed and connection.info.transaction_status == TransactionStatus.IDLE
        if is_idle and self._is_open:
            self._free.append(connection)
        else:
            await connection.close()


@contextmanager
def cut_at(give_up: float, connection: Connection) -> Generator[None]:
    """Shut the connection's socket down at a time of the loop's clock: a server that hangs cannot hold its caller.

    To cancel the task instead would not do: the driver would then ask the same server to cancel, and wait for it.
    """
    timer = asyncio.get_running_loop().call_at(give_up, _shut_down, connection)
    try:
        yield
    finally:
        timer.cancel()


def _shut_down(connection: Connection) -> None:
    if connection.closed:
        return
    with socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
        try:
            duplicate.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other side was faster
