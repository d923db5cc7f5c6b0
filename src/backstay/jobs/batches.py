"""Owns batches as callers see them: made, shown, listed, cancelled."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from backstay.core.caller import Caller
from backstay.core.errors import Conflict, InvalidRequest, NotFound
from backstay.core.ids import new_id
from backstay.jobs.files import Files, visible
from backstay.jobs.types import COMPLETION_WINDOW, WINDOW_S, Batch, FailedLine, Failure, OpenLines, Standing
from backstay.store import Connection, Database, load_queries

_QUERIES = load_queries("backstay.jobs")
_CANCEL_S = 30.0

Record = Callable[[Connection], Awaitable[None]]

CANCELLED = Failure(code="batch_cancelled", message="The batch was cancelled before this request was made.")


class Batches:
    """The batches of all tenants. Every method raises ``StoreUnavailable`` where Postgres does not answer."""

    def __init__(self, database: Database, files: Files, endpoints: Sequence[str]):
        """Take which paths a batch may call."""
        self._database = database
        self._files = files
        self._endpoints = endpoints

    async def create(
        self,
        caller: Caller,
        *,
        endpoint: str,
        input_file_id: str,
        completion_window: str,
        metadata: Mapping[str, str] | None,
        output_expires_after_s: int | None = None,
    ) -> Batch:
        """Take a batch in; it is read and run soon, as the caller's key.

        Args:
            output_expires_after_s: How long its result files stay once they are made; ``None``: until they are deleted.

        Raises:
            InvalidRequest: No such endpoint or window, or the file is of another purpose.
            NotFound: There is no such file.
        """
        if endpoint not in self._endpoints:
            raise InvalidRequest(f"endpoint must be one of {', '.join(self._endpoints)}.", param="endpoint")
        if completion_window != COMPLETION_WINDOW:
            raise InvalidRequest(f"completion_window must be {COMPLETION_WINDOW}.", param="completion_window")
        file = await self._files.find(caller, input_file_id)
        if file.purpose != "batch":
            raise InvalidRequest(
                f"File {input_file_id} is of purpose {file.purpose}, not batch.", param="input_file_id"
            )
        batch_id = new_id("batch")
        async with self._database.tenant(caller.tenant_id) as connection:
            await connection.execute(
                _QUERIES["create_batch"],
                {
                    "tenant_id": caller.tenant_id,
                    "batch_id": batch_id,
                    "key_id": caller.id,
                    "endpoint": endpoint,
                    "input_file_id": input_file_id,
                    "completion_window": completion_window,
                    "metadata": None if metadata is None else msgspec.json.encode(metadata).decode(),
                    "window_s": WINDOW_S,
                    "output_expires_after_s": output_expires_after_s,
                },
            )
            await connection.execute(_QUERIES["notify"])
        return await self.find(caller, batch_id)

    async def find(self, caller: Caller, batch_id: str) -> Batch:
        """Find a batch that the caller may see. Raises ``NotFound``."""
        async with self._database.tenant(caller.tenant_id) as connection:
            values = {**await visible(connection, caller), "batch_id": batch_id}
            row = await (await connection.execute(_QUERIES["find_batch"], values)).fetchone()
        if row is None:
            raise NotFound(f"There is no batch {batch_id!r}.")
        return read_batch(row)

    async def list(self, caller: Caller, *, after: str | None, limit: int) -> Sequence[Batch]:
        """List the batches that the caller may see, the newest first, from behind ``after`` on."""
        async with self._database.tenant(caller.tenant_id) as connection:
            values = {**await visible(connection, caller), "after": after, "limit": limit}
            rows = await (await connection.execute(_QUERIES["list_batches"], values)).fetchall()
        return [read_batch(row) for row in rows]

    async def failed_lines(self, caller: Caller, batch_id: str, *, limit: int) -> Sequence[FailedLine]:
        """List the first lines of a batch that failed. Of an ended one, ``FAILED_LINES_KEPT`` are kept for 30 days."""
        values = {"tenant_id": caller.tenant_id, "batch_id": batch_id, "limit": limit}
        async with self._database.tenant(caller.tenant_id) as connection:
            rows = await (await connection.execute(_QUERIES["failed_lines"], values)).fetchall()
        return msgspec.convert(rows, list[FailedLine])

    async def open_lines(self, caller: Caller, batch_id: str) -> OpenLines:
        """Count the lines of a batch that are not made yet."""
        values = {"tenant_id": caller.tenant_id, "batch_id": batch_id}
        async with self._database.tenant(caller.tenant_id) as connection:
            row = await (await connection.execute(_QUERIES["open_lines"], values)).fetchone()
        return msgspec.convert(row, OpenLines)

    async def standing(self, caller: Caller) -> Standing:
        """Count what is open of the caller's tenant."""
        async with self._database.tenant(caller.tenant_id) as connection:
            row = await (await connection.execute(_QUERIES["standing"], {"tenant_id": caller.tenant_id})).fetchone()
        return msgspec.convert(row, Standing)

    async def cancel(self, caller: Caller, batch_id: str, *, record: Record | None = None) -> Batch:
        """Make no more of a batch's calls. Those that are under way are finished.

        Args:
            record: Writes the act down, in the transaction over all tenants that performs it.

        Raises:
            NotFound: There is no such batch.
            Conflict: It has ended, or is about to.
        """
        batch = await self.find(caller, batch_id)
        values = {"tenant_id": caller.tenant_id, "batch_id": batch_id}
        async with self._database.system(timeout_s=_CANCEL_S) as connection:
            cursor = await connection.execute(_QUERIES["cancel_batch"], values)
            if cursor.rowcount == 0 and batch.status not in ("cancelling", "cancelled"):
                raise Conflict(f"Batch {batch_id} is {batch.status}: there is nothing left to cancel.")
            if cursor.rowcount and record is not None:
                await record(connection)
            error = msgspec.json.encode(CANCELLED).decode()
            await connection.execute(_QUERIES["drop_waiting"], {**values, "error": error})
            await connection.execute(_QUERIES["notify"])
        return await self.find(caller, batch_id)


def read_batch(row: Mapping[str, Any]) -> Batch:
    """Read a row."""
    return msgspec.convert(row, Batch)
