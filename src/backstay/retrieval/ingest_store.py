"""Owns the SQL of ingests: what is to be taken in, who is at it, and what became of it."""

import datetime as dt
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence, Set
from contextlib import asynccontextmanager
from typing import Any, Literal

import msgspec

from backstay.core.errors import Conflict, NotFound, Overloaded
from backstay.retrieval.generation_store import SILENCE_S
from backstay.store import Connection, Database, load_queries

PIECE_BYTES = 1024 * 1024
MOST_WAITING_BYTES = 16 * 1024**3
"""Of a tenant's files that are not read yet: they are in Postgres until then."""

_LONG_S = 60.0
_RETRY_S = 5.0
_QUERIES = load_queries("backstay.retrieval", "ingests.sql")

ItemState = Literal[
    "writing", "waiting", "running", "added", "changed", "unchanged", "unreadable", "failed", "cancelled"
]
"""``writing``: it is being sent. ``unreadable``: no text is to be had from it. ``failed``: it may be sent again."""


class IngestView(msgspec.Struct, frozen=True, kw_only=True):
    """An ingest as it is shown: how many of its items are in which state."""

    id: str
    collection: str
    state: Literal["open", "running", "done", "failed", "cancelled"]
    """``open``: more may come. ``failed``: nothing can be taken into the collection any more."""
    problem: str | None
    created_at: dt.datetime
    items: int
    writing: int
    waiting: int
    running: int
    added: int
    changed: int
    unchanged: int
    unreadable: int
    failed: int
    cancelled: int
    chunks: int
    embedded: int
    """Chunks whose vectors were made anew."""
    size_bytes: int


class ItemView(msgspec.Struct, frozen=True, kw_only=True):
    """A file or an address of an ingest, and what became of it."""

    external_id: str
    url: str | None
    size_bytes: int
    state: ItemState
    problem: str | None
    chunks: int
    tries: int


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """An item that somebody here is at."""

    tenant_id: str
    ingest_id: str
    external_id: str
    url: str | None
    filename: str | None
    """Of a file of a vector store, whose bytes are with the tenant's other files; ``None``: it is none."""
    content_hash: str | None
    size_bytes: int
    tries: int
    collection: str
    key_id: str
    principals: tuple[str, ...] | None
    metadata: dict[str, Any]


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an item."""

    external_id: str
    state: ItemState
    problem: str | None = None
    chunks: int = 0
    is_gone: bool = False
    """It is not where it was any more."""


class Unwanted(Exception):
    """A signal: some of the items that are to be written were cancelled, or are somebody else's by now."""

    def __init__(self, external_ids: Set[str]):
        super().__init__()
        self.external_ids = external_ids


class IngestStore:
    """Ingests in Postgres. Every verb raises ``StoreUnavailable`` where it does not answer."""

    def __init__(self, database: Database, *, most_waiting_bytes: int = MOST_WAITING_BYTES):
        self._database = database
        self._most_waiting_bytes = most_waiting_bytes

    async def begin(
        self, place: Mapping[str, str], key_id: str, principals: Sequence[str] | None, metadata: Mapping[str, Any]
    ) -> None:
        """Begin an ingest; ``place`` names tenant, ingest and collection."""
        values = {
            **place,
            "key_id": key_id,
            "principals": None if principals is None else list(principals),
            "metadata": msgspec.json.encode(metadata).decode(),
        }
        async with self._database.tenant(place["tenant_id"]) as connection:
            await connection.execute(_QUERIES["begin"], values)

    async def add_urls(self, tenant_id: str, ingest_id: str, urls: Sequence[str]) -> None:
        """Add addresses. Raises ``NotFound``, or ``Conflict`` where the ingest is closed."""
        async with self._open(tenant_id, ingest_id) as connection:
            values = {"tenant_id": tenant_id, "ingest_id": ingest_id, "urls": list(urls)}
            await connection.execute(_QUERIES["add_urls"], values)
            await connection.execute(_QUERIES["notify"])

    async def begin_item(self, item: Mapping[str, str]) -> None:
        """Begin a file, in the place of what was sent before under its id.

        Raises as ``add_urls``, and ``Overloaded`` where too much waits to be read already.
        """
        async with self._open(item["tenant_id"], item["ingest_id"]) as connection:
            row = await (await connection.execute(_QUERIES["waiting_bytes"], item)).fetchone()
            if row is not None and row["size_bytes"] > self._most_waiting_bytes:
                raise Overloaded(
                    f"Files of {row['size_bytes'] / 1024**3:.1f} GiB wait to be read. Send more when less waits.",
                    retry_after_s=_RETRY_S,
                )
            await connection.execute(_QUERIES["drop_item"], item)
            await connection.execute(_QUERIES["begin_item"], item)

    async def add_piece(self, item: Mapping[str, str], number: int, data: bytes) -> None:
        """Add a piece of a file."""
        async with self._database.tenant(item["tenant_id"], timeout_s=_LONG_S) as connection:
            await connection.execute(_QUERIES["add_piece"], {**item, "number": number, "data": data})

    async def end_item(self, item: Mapping[str, str], size_bytes: int, content_hash: str) -> None:
        """Say that a file is whole. Raises ``Conflict`` where nobody waits for it any more."""
        values = {**item, "size_bytes": size_bytes, "content_hash": content_hash}
        async with self._database.tenant(item["tenant_id"]) as connection:
            await connection.execute(_QUERIES["touch"], item)
            if await (await connection.execute(_QUERIES["end_item"], values)).fetchone() is None:
                raise Conflict("The ingest was closed or cancelled before this file was whole.")
            await connection.execute(_QUERIES["notify"])

    async def drop_item(self, item: Mapping[str, str]) -> None:
        """Let go of a file that did not arrive whole."""
        async with self._database.tenant(item["tenant_id"], timeout_s=_LONG_S) as connection:
            await connection.execute(_QUERIES["drop_item"], item)

    async def close(self, tenant_id: str, ingest_id: str, *, cancel: bool = False) -> None:
        """Say that nothing more comes; with ``cancel``, that nothing more is wanted."""
        async with self._database.tenant(tenant_id, timeout_s=_LONG_S) as connection:
            values = {"tenant_id": tenant_id, "ingest_id": ingest_id}
            await connection.execute(_QUERIES["cancel" if cancel else "close"], values)

    async def views(self, tenant_id: str, *, collection: str | None = None, limit: int = 50) -> list[IngestView]:
        """Read the last ingests, the newest first."""
        return await self._views(tenant_id, ingest_id=None, collection=collection, limit=limit)

    async def view(self, tenant_id: str, ingest_id: str) -> IngestView:
        """Read one ingest. Raises ``NotFound``."""
        found = await self._views(tenant_id, ingest_id=ingest_id, collection=None, limit=1)
        if not found:
            raise NotFound(f"There is no ingest {ingest_id}.")
        return found[0]

    async def _views(self, tenant_id: str, **values: Any) -> list[IngestView]:
        async with self._database.tenant(tenant_id) as connection:
            rows = await (await connection.execute(_QUERIES["views"], {"tenant_id": tenant_id, **values})).fetchall()
        return msgspec.convert(rows, list[IngestView])

    async def is_served(self) -> bool:
        """Say whether a process that runs jobs was heard of."""
        async with self._database.system() as connection:
            row = await (await connection.execute(_QUERIES["is_served"])).fetchone()
        return row is not None and row["is_served"]

    async def items(
        self, tenant_id: str, ingest_id: str, *, states: Sequence[str] | None, after: str, limit: int
    ) -> list[ItemView]:
        """Read items by their external ids."""
        values = {
            "tenant_id": tenant_id,
            "ingest_id": ingest_id,
            "states": None if states is None else list(states),
            "after": after,
            "limit": limit,
        }
        async with self._database.tenant(tenant_id) as connection:
            return msgspec.convert(
                await (await connection.execute(_QUERIES["items"], values)).fetchall(), list[ItemView]
            )

    async def take_back(self, owner: str) -> None:
        """Let what was under way here when the last process ended wait again."""
        async with self._database.system(timeout_s=_LONG_S) as connection:
            await connection.execute(_QUERIES["take_back"], {"owner": owner})

    async def beat(self, owner: str) -> None:
        """Say that what is under way here is, take over from who is silent, and let go of what is old."""
        async with self._database.system(timeout_s=_LONG_S) as connection:
            await connection.execute(_QUERIES["beat"], {"owner": owner, "silence_s": SILENCE_S})
            await connection.execute(_QUERIES["close_forgotten"])
            await connection.execute(_QUERIES["sweep"])

    async def claim(self, owner: str, *, limit: int, most_bytes: int) -> list[Item]:
        """Take some items of one ingest; several only as far as they have few bytes together."""
        async with self._database.system() as connection:
            values = {"owner": owner, "limit": limit, "most_bytes": most_bytes}
            return msgspec.convert(await (await connection.execute(_QUERIES["claim"], values)).fetchall(), list[Item])

    async def pieces(self, item: Item) -> AsyncIterator[bytes]:
        """Go through a file piece by piece, each read when it is wanted."""
        number = 0
        while True:
            async with self._database.tenant(item.tenant_id, timeout_s=_LONG_S) as connection:
                values = {**_place(item), "external_id": item.external_id, "number": number}
                row = await (await connection.execute(_QUERIES["piece"], values)).fetchone()
            if row is None:
                return
            yield row["data"]
            number += 1

    async def end_written(self, connection: Connection, of: Item, ended: Sequence[Ended], embedded: int) -> None:
        """Write what became of items of one ingest, within the transaction that writes their documents.

        Raises:
            Unwanted: Some are not wanted any more. The transaction must not be committed.
        """
        # The ingest before its items, as who claims and who cancels them lock them, so that none waits for the other.
        if embedded:
            await connection.execute(_QUERIES["embedded"], {**_place(of), "embedded": embedded})
        names = {each.external_id for each in ended}
        rows = await (
            await connection.execute(_QUERIES["hold"], {**_place(of), "external_id": list(names)})
        ).fetchall()  # fmt: skip
        if unwanted := names - {row["external_id"] for row in rows}:
            raise Unwanted(unwanted)
        await self._end(connection, of, ended)

    async def end_alone(self, of: Item, ended: Sequence[Ended]) -> None:
        """Write what became of items that wrote no document."""
        async with self._database.tenant(of.tenant_id, timeout_s=_LONG_S) as connection:
            await self._end(connection, of, ended)

    async def _end(self, connection: Connection, of: Item, ended: Sequence[Ended]) -> None:
        values = {name: [getattr(each, name) for each in ended] for name in Ended.__struct_fields__}
        await connection.execute(_QUERIES["end"], {**_place(of), "collection": of.collection, **values})

    async def put_back(self, items: Sequence[Item], *, pause_s: float, problem: str | None, counts: bool) -> None:
        """Let items of one ingest be tried again after a pause; ``counts``: as tries of theirs."""
        values = {
            **_place(items[0]),
            "external_id": [each.external_id for each in items],
            "pause_s": pause_s,
            "problem": problem,
            "uncounted": 0 if counts else 1,
        }
        async with self._database.tenant(items[0].tenant_id, timeout_s=_LONG_S) as connection:
            await connection.execute(_QUERIES["put_back"], values)

    async def fail_all(self, of: Item, problem: str) -> None:
        """End an ingest whose collection is gone."""
        async with self._database.tenant(of.tenant_id, timeout_s=_LONG_S) as connection:
            await connection.execute(_QUERIES["fail_all"], {**_place(of), "problem": problem})

    @asynccontextmanager
    async def _open(self, tenant_id: str, ingest_id: str) -> AsyncGenerator[Connection]:
        """Begin a transaction in which an ingest takes something in."""
        values = {"tenant_id": tenant_id, "ingest_id": ingest_id}
        async with self._database.tenant(tenant_id, timeout_s=_LONG_S) as connection:
            row = await (await connection.execute(_QUERIES["find_open"], values)).fetchone()
            if row is None:
                raise NotFound(f"There is no ingest {ingest_id}.")
            if not row["is_open"]:
                raise Conflict(f"The ingest {ingest_id} takes nothing more in. Begin another one.")
            yield connection


def _place(item: Item) -> dict[str, Any]:
    return {"tenant_id": item.tenant_id, "ingest_id": item.ingest_id}
