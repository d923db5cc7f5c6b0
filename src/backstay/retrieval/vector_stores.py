"""Owns collections as vector stores: their names and files there, kept beside what is searched."""

import datetime as dt
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import msgspec

from backstay.core.caller import Caller
from backstay.core.errors import Forbidden, NotFound
from backstay.core.ids import new_id
from backstay.retrieval.store import SEPARATOR
from backstay.store import Connection, Database, load_queries

_QUERIES = load_queries("backstay.retrieval")
_STORES = load_queries("backstay.retrieval", "vector_stores.sql")

Status = Literal["in_progress", "completed", "failed", "cancelled"]
Order = Literal["asc", "desc"]
_SIGNS: Mapping[Order, int] = {"asc": 1, "desc": -1}


class VectorStore(msgspec.Struct, frozen=True, kw_only=True):
    """A collection as a vector store. Counted is what the principals may read that it was asked for."""

    id: str
    name: str
    metadata: dict[str, str]
    key_id: str | None
    """Who made it on this wire; ``None``: it was made elsewhere."""
    created_at: dt.datetime
    last_active_at: dt.datetime
    usage_bytes: int
    in_progress: int
    completed: int
    failed: int
    cancelled: int


class VectorFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a vector store."""

    id: str
    vector_store_id: str
    status: Status
    error: str | None
    error_code: str | None
    filename: str
    size_bytes: int
    attributes: dict[str, Any]
    created_at: dt.datetime


class NewFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file to be put into a vector store."""

    file_id: str
    filename: str
    size_bytes: int
    attributes: Mapping[str, Any]
    principals: Sequence[str] | None


class FileBatch(msgspec.Struct, frozen=True, kw_only=True):
    """How far the files are that were put there together."""

    in_progress: int
    completed: int
    failed: int
    cancelled: int
    created_at: dt.datetime | None


class VectorStores:
    """Vector stores in Postgres. Every verb raises ``StoreUnavailable`` where it does not answer."""

    def __init__(self, database: Database):
        self._database = database

    async def name(self, caller: Caller, store_id: str, name: str, metadata: Mapping[str, str]) -> None:
        """Keep what a collection is called here, and who made it."""
        async with self._database.tenant(caller.tenant_id) as connection:
            values = {**_place(caller, store_id), "key_id": caller.id, "name": name, "metadata": _json(metadata)}
            await connection.execute(_STORES["name_store"], values)

    async def find(self, caller: Caller, store_id: str, principals: Sequence[str] | None) -> VectorStore:
        """Find one, counted as principals may read; ``None``: as they all may. Raises ``NotFound``."""
        found = await self._read(caller, principals, collection=store_id, after=None, limit=1, order="desc")
        if not found:
            raise NotFound(f"There is no vector store {store_id!r}.")
        return found[0]

    async def all(
        self, caller: Caller, principals: Sequence[str] | None, *, after: str | None, limit: int, order: Order
    ) -> list[VectorStore]:
        """List them by when they were made."""
        return await self._read(caller, principals, collection=None, after=after, limit=limit, order=order)

    async def _read(
        self, caller: Caller, principals: Sequence[str] | None, *, order: Order, **wanted: Any
    ) -> list[VectorStore]:  # fmt: skip
        values = {"tenant_id": caller.tenant_id, "sign": _SIGNS[order], **wanted}
        async with self._reading(caller, principals) as connection:
            rows = await (await connection.execute(_STORES["stores"], values)).fetchall()
        return msgspec.convert(rows, list[VectorStore])

    async def require_own(self, caller: Caller, store_id: str) -> VectorStore:
        """Find one that the caller may change: an admin any, a key what it or one before it made here.

        Raises:
            NotFound: There is none.
            Forbidden: It is somebody else's.
        """
        store = await self.find(caller, store_id, None)
        if caller.may("admin"):
            return store
        async with self._database.tenant(caller.tenant_id) as connection:
            values = {"tenant_id": caller.tenant_id, "key_id": caller.id}
            rows = await (await connection.execute(_STORES["keys_of"], values)).fetchall()
        if store.key_id is None or store.key_id not in {row["key_id"] for row in rows}:
            raise Forbidden("This vector store is not this key's own: it may search it, and an admin may change it.")
        return store

    async def add(self, caller: Caller, store_id: str, files: Sequence[NewFile], batch_id: str | None) -> None:
        """Put files there, to be read by an ingest of their own, whose calls are the caller's."""
        rows: list[dict[str, Any]] = [
            {
                "file_id": each.file_id,
                "filename": each.filename,
                "size_bytes": each.size_bytes,
                "attributes": _json(each.attributes),
                "principals": None if each.principals is None else SEPARATOR.join(each.principals),
            }
            for each in files
        ]
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        ids = {"ingest_id": new_id("ing"), "batch_id": batch_id, "key_id": caller.id}
        values = {**_place(caller, store_id), **ids, **columns, "file_ids": columns["file_id"]}
        async with self._database.tenant(caller.tenant_id) as connection:
            for query in ("leave_out", "begin_ingest", "add_items", "add_files", "notify"):
                await connection.execute(_STORES[query], values)

    async def files(
        self,
        caller: Caller,
        store_id: str,
        *,
        file_id: str | None = None,
        batch_id: str | None = None,
        status: Status | None = None,
        after: str | None = None,
        limit: int = 1,
        order: Order = "desc",
    ) -> list[VectorFile]:
        """Read files of a store by when they were put there."""
        wanted = {"file_id": file_id, "batch_id": batch_id, "status": status, "after": after, "limit": limit}
        values = {**_place(caller, store_id), **wanted, "sign": _SIGNS[order]}
        async with self._database.tenant(caller.tenant_id) as connection:
            rows = await (await connection.execute(_STORES["files"], values)).fetchall()
        return msgspec.convert(rows, list[VectorFile])

    async def file(self, caller: Caller, store_id: str, file_id: str) -> VectorFile:
        """Find a file of a store. Raises ``NotFound``."""
        found = await self.files(caller, store_id, file_id=file_id)
        if not found:
            raise NotFound(f"The vector store {store_id} has no file {file_id!r}.")
        return found[0]

    async def batch(self, caller: Caller, store_id: str, batch_id: str) -> FileBatch:
        """Count the files of a batch. Raises ``NotFound``."""
        async with self._database.tenant(caller.tenant_id) as connection:
            values = {**_place(caller, store_id), "batch_id": batch_id}
            row = await (await connection.execute(_STORES["batch"], values)).fetchone()
        batch = msgspec.convert(row, FileBatch)
        if batch.created_at is None:
            raise NotFound(f"The vector store {store_id} has no file batch {batch_id!r}.")
        return batch

    async def cancel(self, caller: Caller, store_id: str, batch_id: str) -> None:
        """Leave out what of a batch was not read yet."""
        await self._change(caller, store_id, "cancel_batch", batch_id=batch_id)

    async def set_attributes(self, caller: Caller, store_id: str, file_id: str, attributes: Mapping[str, Any]) -> None:
        """Replace a file's attributes, by which searches are filtered."""
        values = {"file_id": file_id, "attributes": _json(attributes)}
        await self._change(caller, store_id, "set_attributes", **values)
        async with self._reading(caller, None) as connection:
            row = await (await connection.execute(_QUERIES["change"], _place(caller, store_id))).fetchone()
            if row is not None:
                change = {**_place(caller, store_id), **values, "change": row["changes"]}
                await connection.execute(_STORES["set_metadata"], change)

    async def drop_file(self, caller: Caller, store_id: str, file_id: str) -> None:
        """Forget a file of a store; if it is being read, nothing of it is written any more."""
        async with self._database.tenant(caller.tenant_id) as connection:
            values = {**_place(caller, store_id), "file_id": file_id, "file_ids": [file_id]}
            await connection.execute(_STORES["leave_out"], values)
            await connection.execute(_STORES["drop_file"], values)

    async def stores_of(self, caller: Caller, file_id: str) -> list[str]:
        """Return the stores that a file was put into."""
        async with self._database.tenant(caller.tenant_id) as connection:
            values = {"tenant_id": caller.tenant_id, "file_id": file_id}
            rows = await (await connection.execute(_STORES["stores_of_file"], values)).fetchall()
        return [row["collection"] for row in rows]

    async def text(self, caller: Caller, store_id: str, file_id: str) -> str:
        """Return what was read of a file. Raises ``NotFound``."""
        async with self._reading(caller, None) as connection:
            values = {**_place(caller, store_id), "file_id": file_id}
            row = await (await connection.execute(_STORES["body"], values)).fetchone()
        if row is None:
            raise NotFound(f"Nothing was read of the file {file_id!r} yet.")
        return row["body"]

    async def about(
        self, caller: Caller, store_id: str, external_ids: Sequence[str], principals: Sequence[str]
    ) -> dict[str, tuple[str, dict[str, Any]]]:
        """Return the names and the metadata of documents, as principals may read them."""
        async with self._reading(caller, principals) as connection:
            values = {**_place(caller, store_id), "external_ids": list(external_ids)}
            rows = await (await connection.execute(_STORES["about_documents"], values)).fetchall()
        return {row["external_id"]: (row["filename"] or row["external_id"], row["metadata"]) for row in rows}

    async def _change(self, caller: Caller, store_id: str, query: str, **values: Any) -> None:
        async with self._reading(caller, None) as connection:
            await connection.execute(_STORES[query], {**_place(caller, store_id), **values})

    @asynccontextmanager
    async def _reading(self, caller: Caller, principals: Sequence[str] | None) -> AsyncGenerator[Connection]:
        """Begin a transaction that sees what principals may read; ``None``: everything of the tenant."""
        async with self._database.tenant(caller.tenant_id) as connection:
            if principals is None:
                await connection.execute(_QUERIES["keep_documents"])
            else:
                await connection.execute(_QUERIES["read_for"], {"principals": SEPARATOR.join(principals)})
            yield connection


def _place(caller: Caller, store_id: str) -> dict[str, Any]:
    return {"tenant_id": caller.tenant_id, "collection": store_id}


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
