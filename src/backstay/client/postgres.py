"""Owns a client's use of the embedded Postgres: the one that runs in the data folder, or one that it starts itself."""

import asyncio
import atexit
import fcntl
import os
from pathlib import Path

from backstay.core.errors import ConfigError
from backstay.data_folder import is_held
from backstay.store import EmbeddedPostgres

_SERVER_STARTS_S = 10.0
"""How long a server of the same folder may take to start its Postgres."""


class SharedPostgres:
    """The embedded Postgres of a data folder, which clients of several processes and a server use together.

    Each client holds a lock on ``pg-clients`` that others may hold too: the last one to leave stops the server.
    """

    def __init__(self, data_dir: Path):
        self._data_dir = data_dir
        self._embedded = EmbeddedPostgres(data_dir)
        self._place = -1

    async def join(self) -> str:
        """Return the URL of the Postgres that runs, started if none does.

        Raises:
            ConfigError: It cannot be started, or the data folder's server uses another Postgres.
            StoreUnavailable: It runs and does not answer.
        """
        self._place = os.open(self._data_dir / "pg-clients", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Whoever stops the server holds the lock alone, for the moment that it takes.
            await asyncio.to_thread(fcntl.flock, self._place, fcntl.LOCK_SH)
            await self._let_server_go_first()
            url = await self._embedded.start()
        except BaseException:
            self.let_go()
            raise
        atexit.register(self._leave_at_exit)
        return url

    async def leave(self) -> None:
        """Stop the Postgres if nobody else uses it: no other client, no server."""
        if self._place < 0:
            return
        try:
            fcntl.flock(self._place, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not is_held(self._data_dir):
                await self._embedded.stop()
        except BlockingIOError:
            pass  # another client uses it
        finally:
            self.let_go()

    def let_go(self) -> None:
        """Give up the place among the clients, and stop nothing."""
        atexit.unregister(self._leave_at_exit)
        if self._place >= 0:
            os.close(self._place)
            self._place = -1

    def _leave_at_exit(self) -> None:
        """Leave for a program that ends without closing its client: its event loop has ended before."""
        asyncio.run(self.leave())

    async def _let_server_go_first(self) -> None:
        """Leave it to a server of the same folder to start the Postgres that it uses."""
        give_up = asyncio.get_running_loop().time() + _SERVER_STARTS_S
        while is_held(self._data_dir) and not self._embedded.is_running():
            if asyncio.get_running_loop().time() > give_up:
                raise ConfigError(
                    f"The server of {self._data_dir} uses a Postgres of its own. Give this process the same "
                    "BACKSTAY_DATABASE_URL."
                )
            await asyncio.sleep(0.05)
