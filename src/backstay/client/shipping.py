"""Owns how a client's journal comes into Postgres: by the data folder's server, or by the client where none runs."""

import asyncio
import logging
from contextlib import suppress
from functools import partial
from pathlib import Path

from backstay.budgets import end_holder
from backstay.core.errors import StoreUnavailable
from backstay.data_folder import running_server
from backstay.idempotency import keep_swept
from backstay.limits import give_back
from backstay.records import MERGES, interrupted
from backstay.store import Database, Shipper, migrate

_LOOK_S = 1.0
"""How often it is looked for a server."""
_MIGRATE_S = 5.0
"""How long a start waits for Postgres."""

_log = logging.getLogger("backstay.client")


class ClientShipping:
    """Ships the journals of a data folder while no server runs on it. Of several clients, one does."""

    def __init__(self, data_dir: Path, database_url: str):
        self._data_dir = data_dir
        self._url = database_url
        self._database = Database(database_url, max_connections=2, name="backstay client shipping")
        self._shipper = Shipper(
            data_dir / "journal",
            self._database,
            MERGES,
            interrupted,
            on_death=partial(give_back, self._database),
            on_end=partial(end_holder, self._database),
        )
        self._is_migrated = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Bring the schema up to this code, and begin to ship. Where Postgres is away, that happens when it is back.

        Raises:
            ConfigError: The database cannot be used, or was migrated by a newer Backstay.
        """
        try:
            async with asyncio.timeout(_MIGRATE_S):
                await self._migrate()
        except (StoreUnavailable, TimeoutError):
            _log.warning("Postgres does not answer. Calls are written to the journal and shipped when it does.")
        self._task = asyncio.create_task(self._run(), name="client shipping")

    async def close(self, limit_s: float) -> None:
        """Ship what is written, if this process ships, and end. What is left is shipped by whoever comes next."""
        if self._task is not None:
            if self._is_migrated and not await self._has_drained(limit_s):
                _log.warning("Postgres did not take the whole journal in time: the next start ships the rest.")
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._database.close()

    def let_go(self) -> None:
        """In a forked child: hold nothing that is the parent's."""
        self._shipper.let_go()

    async def _has_drained(self, limit_s: float) -> bool:
        if self._is_served():
            return True
        if not await self._database.is_ready():
            return False
        return await self._shipper.drain(limit_s) or self._shipper.backlog_bytes == 0

    async def _run(self) -> None:
        while not self._is_migrated:
            with suppress(StoreUnavailable):
                await self._migrate()
            await asyncio.sleep(0 if self._is_migrated else _LOOK_S)
        while True:
            await self._until_served(False)
            shipping = asyncio.create_task(self._shipper.run(), name="client shipper")
            sweeping = asyncio.create_task(keep_swept(self._database), name="client sweeper")
            try:
                await self._until_served(True)
            finally:
                shipping.cancel()
                sweeping.cancel()
                await asyncio.gather(shipping, sweeping, return_exceptions=True)

    async def _migrate(self) -> None:
        await migrate(self._url)
        self._is_migrated = True

    async def _until_served(self, wanted: bool) -> None:
        # A server tells of itself in a file only, so that there is nothing to wait for but time.
        while self._is_served() != wanted:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)

    def _is_served(self) -> bool:
        return running_server(self._data_dir) is not None
