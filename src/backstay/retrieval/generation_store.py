"""Owns the SQL of a collection's generations: the live one, the one beside it, and what was asked of late."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from backstay.core.errors import Conflict, NotFound
from backstay.retrieval.analysis import VERSION
from backstay.retrieval.store import ChunkRow, RetrievalStore
from backstay.retrieval.types import Chunking, Collection, NewDocument, Query
from backstay.store import Connection, Database, load_queries

SILENCE_S = 300.0
"""After which what somebody was at, who is not heard of, is anybody's."""
RETIRED_DAYS = 7
"""After which a generation that was switched away from is dropped."""
MOST_RECENT = 200
"""Queries that are remembered of a collection."""

_LONG_S = 120.0
_DROP_S = 3600.0
_QUERIES = load_queries("backstay.retrieval", "generations.sql")

State = Literal["building", "live", "retired"]


class GenerationView(msgspec.Struct, frozen=True, kw_only=True):
    """A generation as it is shown."""

    generation: int
    state: State
    """``building``: not switched to yet. ``live``: searched. ``retired``: switched away from, kept current still."""
    embedding_model: str
    chunking: Chunking
    documents: int
    """That there are in the collection."""
    done: int
    """Those of them that it was built up to."""
    is_complete: bool
    """Whether it has all that the live one has, so that it can be switched to."""
    problem: str | None
    """Why building rests; it is tried again."""
    created_at: dt.datetime
    retired_at: dt.datetime | None


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """A generation that somebody here is to build on."""

    tenant_id: str
    collection: str
    generation: int
    key_id: str
    reached: int


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """A document that a generation has no chunks of."""

    document_id: int
    content_hash: str
    document: NewDocument


class GenerationStore:
    """Generations in Postgres. Every verb raises ``StoreUnavailable`` where it does not answer."""

    def __init__(self, database: Database, store: RetrievalStore):
        self._database = database
        self._store = store

    async def views(self, tenant_id: str, name: str) -> list[GenerationView]:
        """Read the generations of a collection, the live one first. Raises ``NotFound``."""
        async with self._store.keeper(tenant_id) as connection:
            values = {"tenant_id": tenant_id, "collection": name}
            rows = await (await connection.execute(_QUERIES["views"], values)).fetchall()
        if not rows:
            raise NotFound(f"There is no collection {name}. `backstay collections create {name}` makes it.")
        told = [{**row, "is_complete": row["state"] == "live" or row["built_at"] is not None} for row in rows]
        return msgspec.convert(told, list[GenerationView])

    async def start(self, collection: Collection, chunking: Chunking, embedding_model: str, key_id: str) -> int:
        """Begin a generation beside the live one. Raises ``Conflict`` where there is one already."""
        values = {
            "tenant_id": collection.tenant_id,
            "collection": collection.name,
            "chunking": msgspec.json.encode(chunking).decode(),
            "embedding_model": embedding_model,
            "terms_version": VERSION,
            "key_id": key_id,
        }
        async with self._store.keeper(collection.tenant_id) as connection:
            # Under the lock that writers take, so that each of them writes into both or is done before.
            await self._store.change(connection, collection.tenant_id, collection.name)
            row = await (await connection.execute(_QUERIES["start"], values)).fetchone()
            if row is None:
                raise Conflict(
                    f"{collection.name} has a generation beside the live one already. Switch to it, or drop it first."
                )
            await connection.execute(_QUERIES["notify"])
        return row["generation"]

    async def switch(self, collection: Collection, *, to: State) -> None:
        """Make the other generation the live one, and retire the live one, in one transaction.

        Raises:
            Conflict: There is no other in the state ``to``, or it lacks documents that the live one has.
        """
        place = {"tenant_id": collection.tenant_id, "collection": collection.name}
        async with self._store.keeper(collection.tenant_id, timeout_s=_LONG_S) as connection:
            await self._store.change(connection, collection.tenant_id, collection.name)
            rows = await (await connection.execute(_QUERIES["views"], place)).fetchall()
            other = next((row for row in rows if row["state"] == to), None)
            if other is None:
                raise Conflict(_nothing_to_switch_to(collection.name, to))
            values = {**place, "generation": other["generation"]}
            if other["built_at"] is None or await self._lacks(connection, values):
                await connection.execute(_QUERIES["unbuilt"], values)
                await connection.execute(_QUERIES["notify"])
                lacking = True
            else:
                lacking = False
                await connection.execute(_QUERIES["retire"], values)
                await connection.execute(_QUERIES["begin"], values)
        if lacking:
            why = f" {other['problem']}" if other["problem"] else ""
            raise Conflict(f"The other generation does not have all documents yet; they are being put into it.{why}")

    async def drop(self, collection: Collection) -> None:
        """Drop the generation that is not live. Raises ``NotFound`` where there is none."""
        place = {"tenant_id": collection.tenant_id, "collection": collection.name}
        async with self._store.keeper(collection.tenant_id, timeout_s=_LONG_S) as connection:
            await self._store.change(connection, collection.tenant_id, collection.name)
            if await (await connection.execute(_QUERIES["drop"], place)).fetchone() is None:
                raise NotFound(f"{collection.name} has no generation beside the live one.")
        await self._store.sweep_indexes()

    async def drop_retired(self) -> None:
        """Drop those that were retired long enough ago, of all tenants; and forget what was asked long ago."""
        async with self._database.system(timeout_s=_DROP_S) as connection:
            await connection.execute(_QUERIES["forget_old_queries"])
            cursor = await connection.execute(_QUERIES["drop_retired"], {"days": RETIRED_DAYS})
            is_some = await cursor.fetchone() is not None
        if is_some:
            await self._store.sweep_indexes()

    async def claim(self, owner: str) -> Claimed | None:
        """Take a generation that is to be built; what was taken here before is taken up again."""
        async with self._database.system() as connection:
            values = {"owner": owner, "silence_s": SILENCE_S}
            row = await (await connection.execute(_QUERIES["claim"], values)).fetchone()
        return None if row is None else msgspec.convert(row, Claimed)

    async def missing(self, claimed: Claimed, *, limit: int) -> list[Missing]:
        """Read documents that a generation lacks, from where it was built up to on, then from the start."""
        async with self._store.keeper(claimed.tenant_id, timeout_s=_LONG_S) as connection:
            for reached in dict.fromkeys((claimed.reached, 0)):
                values = {**_place(claimed), "reached": reached, "limit": limit}
                if rows := await (await connection.execute(_QUERIES["missing"], values)).fetchall():
                    return [_missing(row) for row in rows]
        return []

    async def fill(self, collection: Collection, missing: Sequence[Missing], chunks: Sequence[ChunkRow]) -> int:
        """Write the chunks of documents that are as they were read, and return how many those are.

        Raises:
            NotFound: The collection or the generation is gone.
        """
        async with self._store.keeper(collection.tenant_id, timeout_s=_LONG_S) as connection:
            change = await self._store.change(connection, collection.tenant_id, collection.name)
            place = {"tenant_id": collection.tenant_id, "generation": collection.generation}
            read = {each.document_id: each for each in missing}
            values = {
                **place,
                "document_ids": list(read),
                "content_hashes": [each.content_hash for each in missing],
            }
            rows = await (await connection.execute(_QUERIES["still"], values)).fetchall()
            still = {read[row["document_id"]].document.external_id: row["document_id"] for row in rows}
            reached = {**place, "reached": max(read)}
            if await (await connection.execute(_QUERIES["reach"], reached)).fetchone() is None:
                raise NotFound(f"The generation of {collection.name} was dropped meanwhile.")
            kept = [chunk for chunk in chunks if chunk.external_id in still]
            await self._store.put_chunks(connection, collection, kept, still, change)
        return len(still)

    async def built(self, claimed: Claimed) -> bool:
        """Say that a generation is built, if it lacks nothing now that no document is written."""
        async with self._store.keeper(claimed.tenant_id, timeout_s=_LONG_S) as connection:
            await self._store.change(connection, claimed.tenant_id, claimed.collection)
            if await self._lacks(connection, _place(claimed)):
                return False
            await connection.execute(_QUERIES["built"], _place(claimed))
        return True

    async def fail(self, claimed: Claimed, problem: str, *, pause_s: float) -> None:
        """Say why building rests, and for how long."""
        async with self._store.keeper(claimed.tenant_id) as connection:
            await connection.execute(_QUERIES["fail"], {**_place(claimed), "problem": problem, "pause_s": pause_s})

    async def note_queries(self, asked: Sequence[tuple[Collection, Query]]) -> None:
        """Remember what was asked, and forget all but the last of it."""
        told = {(each.tenant_id, each.name, query.text, _terms(query)): None for each, query in asked}
        tenants, names, texts, terms = map(list, zip(*sorted(told), strict=True))
        columns = {"tenant_id": tenants, "collection": names, "query": texts, "terms": terms}
        async with self._database.system(timeout_s=_LONG_S) as connection:
            await connection.execute(_QUERIES["note_queries"], columns)
            await connection.execute(_QUERIES["forget_queries"], {**columns, "most": MOST_RECENT})

    async def recent_queries(self, tenant_id: str, name: str, limit: int) -> list[Query]:
        """Read what was asked last, the newest first."""
        values = {"tenant_id": tenant_id, "collection": name, "limit": limit}
        async with self._database.tenant(tenant_id) as connection:
            rows = await (await connection.execute(_QUERIES["recent_queries"], values)).fetchall()
        return [msgspec.convert({**row["terms"], "text": row["query"]}, Query) for row in rows]

    async def _lacks(self, connection: Connection, place: Mapping[str, Any]) -> bool:
        cursor = await connection.execute(_QUERIES["missing"], {**place, "reached": 0, "limit": 1})
        return await cursor.fetchone() is not None


def _place(claimed: Claimed) -> dict[str, Any]:
    return {
        "tenant_id": claimed.tenant_id,
        "collection": claimed.collection,
        "generation": claimed.generation,
    }


def _missing(row: Mapping[str, Any]) -> Missing:
    names = ("external_id", "title", "text", "media_type", "principals", "page_starts")
    document = msgspec.convert({name: row[name] for name in names}, NewDocument)
    return msgspec.convert(
        {"document_id": row["document_id"], "content_hash": row["content_hash"], "document": document}, Missing
    )


def _terms(query: Query) -> str:
    told = {"mode": query.mode, "filter": query.filter, "principals": sorted(query.principals)}
    return msgspec.json.encode(told).decode()


def _nothing_to_switch_to(name: str, to: State) -> str:
    if to == "retired":
        return f"{name} has no retired generation to switch back to: there was no switch, or it was dropped."
    return f"{name} has no new generation. `backstay collections migration start {name}` begins one."
