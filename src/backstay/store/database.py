"""Owns how the rooms reach Postgres: transactions bound to one tenant or to the system role, and notifications."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.sql import SQL, Composed, Identifier, Literal

from backstay.core.errors import StoreUnavailable
from backstay.store.pool import Connection, Pool, connect, cut_at
from backstay.store.queries import load_queries

TIMEOUT_S = 5.0
_STATEMENT_SHARE = 0.9
"""Part of the time limit after which the server gives up by itself, before the connection is cut."""
_PING_S = 15.0
_MAX_PAUSE_S = 5.0

_log = logging.getLogger(__name__)


class Database:
    """One Postgres, through a bounded pool. Every transaction runs under a role that row-level security binds."""

    def __init__(self, url: str, *, max_connections: int = 8, name: str = "backstay"):
        self._url = url
        self._name = name
        self._queries = load_queries("backstay.store", "database.sql")
        self._pool = Pool(url, size=max_connections, name=name)
        self._listeners: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Check that Postgres answers. Raises ``StoreUnavailable`` if not; the database can be used all the same."""
        async with self.system() as connection:
            await connection.execute(self._queries["ping"])

    async def close(self) -> None:
        """Stop listening and close the connections."""
        for listener in self._listeners:
            listener.cancel()
        await asyncio.gather(*self._listeners, return_exceptions=True)
        await self._pool.close()

    def tenant(
        self, tenant_id: str, *, timeout_s: float = TIMEOUT_S, settings: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[Connection]:
        """Begin a transaction that sees the rows of one tenant only; commit at the end, roll back on an error.

        Args:
            timeout_s: Bounds the whole transaction, the wait for a connection included.
            settings: What else is set for the transaction by its name, in the same round trip.

        Raises:
            StoreUnavailable: Postgres is away, hangs, or took too long. After a lost commit the outcome is unknown.
        """
        begin = SQL(self._queries["begin_tenant"]).format(
            tenant_id=Literal(tenant_id), limit_ms=Literal(_limit_ms(timeout_s))
        )
        for name, value in (settings or {}).items():
            begin += SQL(self._queries["set_for_transaction"]).format(name=Literal(name), value=Literal(value))
        return self._transaction(begin, timeout_s)

    def system(self, *, timeout_s: float = TIMEOUT_S) -> AbstractAsyncContextManager[Connection]:
        """Begin a transaction over all tenants: to authenticate and to ship. Else as ``tenant``."""
        begin = SQL(self._queries["begin_system"])
        return self._transaction(begin.format(limit_ms=Literal(_limit_ms(timeout_s))), timeout_s)

    def listen(self, channel: str, on_event: Callable[[str], None], *, on_gap: Callable[[], None]) -> None:
        """Call ``on_event`` with the payload of each notification, on a connection of its own, until ``close``.

        ``on_gap`` is called each time that listening has begun, the first time too: events before it were missed, so
        that this is the moment to read anew. Both must return at once.
        """
        task = asyncio.create_task(self._keep_listening(channel, on_event, on_gap), name=f"listen {channel}")
        self._listeners.add(task)

    async def is_ready(self) -> bool:
        """Return whether Postgres answers within two seconds."""
        try:
            async with self.system(timeout_s=2.0) as connection:
                await connection.execute(self._queries["ping"])
        except (StoreUnavailable, psycopg.Error):
            return False
        return True

    @asynccontextmanager
    async def _transaction(self, begin: Composed, timeout_s: float) -> AsyncGenerator[Connection]:
        try:
            async with self._pool.lease(begin, timeout_s) as connection:
                try:
                    yield connection
                except BaseException:
                    with suppress(psycopg.OperationalError):
                        await connection.rollback()
                    raise
                if connection.info.transaction_status == TransactionStatus.INERROR:
                    raise psycopg.errors.InFailedSqlTransaction("a statement failed, so nothing can be committed")
                await connection.commit()
        except psycopg.errors.QueryCanceled as error:
            raise StoreUnavailable(f"Postgres did not finish within {timeout_s:g} s. Ask for less at once.") from error
        except psycopg.errors.DiskFull as error:
            raise StoreUnavailable(
                "The disk of Postgres is full, so that nothing more is kept there. Make room; what waits goes on then."
            ) from error
        except psycopg.OperationalError as error:
            if is_about_data(error):
                raise
            raise StoreUnavailable() from error

    async def _keep_listening(self, channel: str, on_event: Callable[[str], None], on_gap: Callable[[], None]) -> None:
        pause_s = 0.1
        while True:
            try:
                connection = await connect(self._url, name=f"{self._name} listen", timeout_s=TIMEOUT_S)
                try:
                    await connection.execute(SQL(self._queries["listen"]).format(channel=Identifier(channel)))
                    pause_s = 0.1
                    on_gap()
                    await self._pass_on(connection, on_event)
                finally:
                    await connection.close()
            except (StoreUnavailable, psycopg.Error) as error:
                _log.warning("not listening to %s: %s; next try in %.1f s", channel, error, pause_s)
            except Exception:  # noqa: BLE001
                # The edge of the task: a fault in a callback must not end listening, and is told here or nowhere.
                _log.exception("a listener to %s failed; it begins anew", channel)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _MAX_PAUSE_S)

    async def _pass_on(self, connection: Connection, on_event: Callable[[str], None]) -> None:
        """Pass notifications on until the connection breaks; a ping now and then finds out that it hangs."""
        while True:
            async for notification in connection.notifies(timeout=_PING_S):
                on_event(notification.payload)
            with cut_at(asyncio.get_running_loop().time() + TIMEOUT_S, connection):
                await connection.execute(self._queries["ping"])


def is_about_data(error: psycopg.Error) -> bool:
    """Return whether Postgres refuses what it was given, so that the same again would fail again.

    Source: https://www.postgresql.org/docs/18/errcodes-appendix.html (2025). Class 54 (a limit of the server: too long,
    too deep) counts as an operational error for the driver.
    """
    if isinstance(error, psycopg.DataError | psycopg.IntegrityError):
        return True
    return (error.sqlstate or "").startswith("54")


def _limit_ms(timeout_s: float) -> int:
    return max(1, int(timeout_s * 1000 * _STATEMENT_SHARE))
