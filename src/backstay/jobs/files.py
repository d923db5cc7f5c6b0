"""Owns files: taken in and given out piece by piece, and who may see them."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

import msgspec

from backstay.core.caller import Caller
from backstay.core.errors import NotFound
from backstay.core.ids import new_id
from backstay.jobs.types import CHUNK_BYTES, File
from backstay.store import Connection, Database, load_queries

_QUERIES = load_queries("backstay.jobs")
_CHUNK_S = 20.0


class Files:
    """The files of all tenants. Every method raises ``StoreUnavailable`` where Postgres does not answer."""

    def __init__(self, database: Database):
        self._database = database

    async def begin(self, caller: Caller, purpose: str) -> "FileWriter":
        """Begin a file of the caller's, which is there for others once it is ended."""
        return await self.writer(caller.tenant_id, caller.id, f"file-{new_id('f')[2:]}", purpose)

    async def writer(self, tenant_id: str, key_id: str, file_id: str, purpose: str) -> "FileWriter":
        """Begin a file with an id; what an earlier try left under it is thrown away."""
        values = {"tenant_id": tenant_id, "file_id": file_id}
        async with self._database.tenant(tenant_id, timeout_s=_CHUNK_S) as connection:
            await connection.execute(_QUERIES["drop_file"], values)
            await connection.execute(_QUERIES["begin_file"], {**values, "key_id": key_id, "purpose": purpose})
        return FileWriter(self._database, tenant_id, file_id)

    async def find(self, caller: Caller, file_id: str) -> File:
        """Find a file that the caller may see. Raises ``NotFound``."""
        async with self._database.tenant(caller.tenant_id) as connection:
            values = {**await visible(connection, caller), "file_id": file_id}
            row = await (await connection.execute(_QUERIES["find_file"], values)).fetchone()
        if row is None:
            raise NotFound(f"There is no file {file_id!r}.")
        return msgspec.convert(row, File)

    async def list(
        self, caller: Caller, *, purpose: str | None, after: str | None, limit: int, order: Literal["asc", "desc"]
    ) -> Sequence[File]:
        """List the files that the caller may see, from behind ``after`` on."""
        query = _QUERIES["list_files" if order == "desc" else "list_files_upwards"]
        async with self._database.tenant(caller.tenant_id) as connection:
            values = {**await visible(connection, caller), "purpose": purpose, "after": after, "limit": limit}
            rows = await (await connection.execute(query, values)).fetchall()
        return msgspec.convert(rows, list[File])

    async def delete(self, caller: Caller, file_id: str) -> None:
        """Delete a file that the caller may see. Raises ``NotFound``."""
        await self.find(caller, file_id)
        async with self._database.tenant(caller.tenant_id, timeout_s=_CHUNK_S) as connection:
            await connection.execute(_QUERIES["drop_file"], {"tenant_id": caller.tenant_id, "file_id": file_id})

    async def read(self, tenant_id: str, file_id: str) -> AsyncIterator[bytes]:
        """Go through the pieces of a file, each fetched when it is wanted."""
        number = 0
        while True:
            async with self._database.tenant(tenant_id, timeout_s=_CHUNK_S) as connection:
                values = {"tenant_id": tenant_id, "file_id": file_id, "number": number}
                row = await (await connection.execute(_QUERIES["read_chunk"], values)).fetchone()
            if row is None:
                return
            yield row["data"]
            if row["is_last"]:
                return
            number += 1


class FileWriter:
    """A file that is being written. Only ``end`` makes it one that can be found."""

    def __init__(self, database: Database, tenant_id: str, file_id: str):
        self.file_id = file_id
        self.size_bytes = 0
        self._database = database
        self._tenant_id = tenant_id
        self._number = 0
        self._held: list[bytes] = []
        self._held_bytes = 0

    async def write(self, piece: bytes) -> None:
        """Add to the file; what is enough for a chunk goes to Postgres."""
        self._held.append(piece)
        self._held_bytes += len(piece)
        self.size_bytes += len(piece)
        if self._held_bytes >= CHUNK_BYTES:
            await self._flush()

    async def end(
        self, filename: str, *, expires_after_s: int | None = None, purpose: str | None = None
    ) -> File:  # fmt: skip
        """Complete the file, under a name; it is let go of so long after it was begun, or when it is deleted.

        ``purpose`` takes the place of the one that it was begun with.
        """
        await self._flush()
        async with self._database.tenant(self._tenant_id, timeout_s=_CHUNK_S) as connection:
            cursor = await connection.execute(
                _QUERIES["end_file"],
                {
                    **self._values(),
                    "filename": filename,
                    "size_bytes": self.size_bytes,
                    "expires_after_s": expires_after_s,
                    "purpose": purpose,
                },
            )
            return msgspec.convert(await cursor.fetchone(), File)

    async def drop(self) -> None:
        """Throw away what was written."""
        async with self._database.tenant(self._tenant_id, timeout_s=_CHUNK_S) as connection:
            await connection.execute(_QUERIES["drop_file"], self._values())

    async def _flush(self) -> None:
        if not self._held:
            return
        data = b"".join(self._held)
        async with self._database.tenant(self._tenant_id, timeout_s=_CHUNK_S) as connection:
            await connection.execute(_QUERIES["add_chunk"], {**self._values(), "number": self._number, "data": data})
        self._number += 1
        self._held.clear()
        self._held_bytes = 0

    def _values(self) -> dict[str, Any]:
        return {"tenant_id": self._tenant_id, "file_id": self.file_id}


async def visible(connection: Connection, caller: Caller) -> dict[str, Any]:
    """Return what a query needs to find what a caller may see: keys their own and those that they replaced, unless they
    may administrate; people all of the tenant's, as they see its traces."""
    values: dict[str, Any] = {"tenant_id": caller.tenant_id, "key_ids": None}
    if caller.kind == "key" and not caller.may("admin"):
        cursor = await connection.execute(_QUERIES["keys_of"], {"tenant_id": caller.tenant_id, "key_id": caller.id})
        values["key_ids"] = [row["key_id"] for row in await cursor.fetchall()]
    return values
