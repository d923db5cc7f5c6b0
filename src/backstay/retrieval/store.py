"""Owns retrieval's SQL: collections, documents and chunks, read as whom a search is for and written as their keeper."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypedDict, cast

import msgspec
import numpy as np
import numpy.typing as npt

from backstay.core.errors import Conflict, NotFound
from backstay.retrieval.analysis import VERSION
from backstay.retrieval.evidence import Example
from backstay.retrieval.types import (
    Candidate,
    Collection,
    CollectionView,
    DocumentPart,
    Found,
    Hashes,
    KeptAs,
    KeptDocument,
    Known,
    Memo,
    NewDocument,
    Query,
    Settings,
    Span,
)
from backstay.statistics.logistic import Curve
from backstay.store import Connection, Database, load_queries

SEPARATOR = "\x1f"
"""Between principals, as the policies read them; no principal has it."""

_WRITE_S = 60.0
_LOAD_S = 120.0
_VECTORS_AT_ONCE = 4096
_QUERIES = load_queries("backstay.retrieval")
_GENERATIONS = load_queries("backstay.retrieval", "generations.sql")

Vector = npt.NDArray[np.float32]
Witness = Callable[[Connection], Awaitable[None]]
"""Does something within a transaction."""


class ChunkRow(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk to be written; its document is named by its external id."""

    external_id: str
    ordinal: int
    starts_at: int
    ends_at: int
    page: int | None
    heading: str
    text_hash: bytes
    terms: str
    principals: Sequence[str] | None
    embedding: str
    parent: Span | None = None
    head: Span | None = None
    memo: Memo = {}


class GenerationsMoved(Exception):
    """Another set of generations is to be written into than chunks were made for. Nothing was written."""


class DocumentsMoved(Exception):
    """Somebody else wrote or deleted one of the documents since it was decided what to write. Nothing was written."""


class TermRow(msgspec.Struct, frozen=True, kw_only=True):
    """The words of a chunk, as an index of them takes them in."""

    chunk_id: int
    terms: str
    principals: list[str] | None
    document_id: int


class VectorRow(TypedDict):
    """The vector of a chunk, as pgvector sends it."""

    chunk_id: int
    document_id: int
    principals: list[str] | None
    vector: bytes


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What changed of a generation's words and its documents' metadata."""

    rows: list[TermRow]
    gone: list[int]
    """Ids of chunks; they are remembered for a day."""
    metadata: list[tuple[int, str]]
    """By the document's id, as JSON."""


class RetrievalStore:
    """Retrieval in Postgres. Every verb raises ``StoreUnavailable`` where it does not answer."""

    def __init__(self, database: Database):
        self._database = database

    async def ensure(self) -> bool:
        """Make what needs pgvector where it is missing; false without pgvector of 0.8 or newer."""
        async with self._database.system() as connection:
            row = await (await connection.execute(_QUERIES["ensure"])).fetchone()
            return row is not None and row["is_there"]

    async def create(self, tenant_id: str, name: str, settings: Settings) -> None:
        """Make a collection with its first generation. Raises ``Conflict`` where there is one of that name."""
        place = {"tenant_id": tenant_id, "collection": name}
        async with self._database.tenant(tenant_id) as connection:
            made = await connection.execute(_QUERIES["create_collection"], {**place, "settings": _json(settings)})
            if await made.fetchone() is None:
                raise Conflict(f"There is a collection {name} already. `backstay collections show {name}` shows it.")
            generation = {
                "chunking": _json(settings.chunking),
                "embedding_model": settings.embedding_model,
                "language": settings.language,
                "terms_version": VERSION,
            }
            await connection.execute(_QUERIES["begin_generation"], {**place, **generation})

    async def generations(self, tenant_id: str, name: str) -> list[Collection]:
        """Read a collection as each of its generations has it, the live one first. Raises ``NotFound``."""
        async with self._database.tenant(tenant_id) as connection:
            values = {"tenant_id": tenant_id, "collection": name}
            rows = await (await connection.execute(_GENERATIONS["generations"], values)).fetchall()
        if not rows:
            raise NotFound(f"There is no collection {name}. `backstay collections create {name}` makes it.")
        return msgspec.convert(rows, list[Collection])

    async def find(self, tenant_id: str, name: str) -> Collection:
        """Read a collection. Raises ``NotFound``."""
        async with self._database.tenant(tenant_id) as connection:
            return await self._find(connection, tenant_id, name)

    async def _find(self, connection: Connection, tenant_id: str, name: str) -> Collection:
        place = {"tenant_id": tenant_id, "collection": name}
        row = await (await connection.execute(_QUERIES["collection"], place)).fetchone()
        if row is None:
            raise NotFound(f"There is no collection {name}. `backstay collections create {name}` makes it.")
        return msgspec.convert(row, Collection)

    async def views(
        self, tenant_id: str, name: str | None = None, principals: Sequence[str] | None = None
    ) -> list[CollectionView]:
        """Read all collections as they are shown, or one; counted is what principals may read, ``None``: everything."""
        async with self._database.tenant(tenant_id, timeout_s=10.0) as connection:
            if principals is None:
                await connection.execute(_QUERIES["keep_documents"])
            else:
                await connection.execute(_QUERIES["read_for"], {"principals": SEPARATOR.join(principals)})
            cursor = await connection.execute(_QUERIES["views"], {"tenant_id": tenant_id, "collection": name})
            return msgspec.convert(await cursor.fetchall(), list[CollectionView])

    async def change_settings(self, tenant_id: str, name: str, changes: Mapping[str, Any]) -> None:
        """Put some settings in the place of a collection's. Raises ``NotFound``."""
        async with self._database.tenant(tenant_id) as connection:
            values = {"tenant_id": tenant_id, "collection": name, "changes": _json(changes)}
            if await (await connection.execute(_QUERIES["change_settings"], values)).fetchone() is None:
                raise NotFound(f"There is no collection {name}. `backstay collections create {name}` makes it.")

    async def delete(self, tenant_id: str, name: str) -> None:
        """Delete a collection and all that is in it. Raises ``NotFound``."""
        async with self.keeper(tenant_id, timeout_s=_WRITE_S) as connection:
            place = {"tenant_id": tenant_id, "collection": name}
            if await (await connection.execute(_QUERIES["delete_collection"], place)).fetchone() is None:
                raise NotFound(f"There is no collection {name}.")
        await self.sweep_indexes()

    async def sweep_indexes(self) -> None:
        """Drop the indexes of generations that are gone."""
        async with self._database.system(timeout_s=_WRITE_S) as connection:
            await connection.execute(_QUERIES["sweep_indexes"])

    async def set_calibration(
        self, collection: Collection, curve: Curve | None, evidence: Sequence[Example] | None, questions: int
    ) -> None:
        """Keep what labels showed of the live generation, in the place of what was kept."""
        values = {"relevance": curve and _json(curve), "evidence": evidence and _json(evidence), "questions": questions}
        async with self._database.tenant(collection.tenant_id) as connection:
            await connection.execute(_QUERIES["set_calibration"], {**_generation(collection), **values})

    async def evidence(self, collection: Collection) -> list[Example] | None:
        """Read the examples by which it is decided what is answered; ``None``: the collection has none."""
        async with self._database.tenant(collection.tenant_id) as connection:
            row = await (await connection.execute(_QUERIES["calibration"], _generation(collection))).fetchone()
        return None if row is None else msgspec.convert(row["evidence"], list[Example] | None)

    async def forget_calibration(self, collection: Collection) -> None:
        """Forget what labels showed."""
        async with self._database.tenant(collection.tenant_id) as connection:
            await connection.execute(_QUERIES["forget_calibration"], _generation(collection))

    async def set_language(self, collection: Collection, language: str) -> None:
        """Keep the language of a collection that had none yet."""
        async with self._database.tenant(collection.tenant_id) as connection:
            values = {**_place(collection), "language": language}
            await connection.execute(_QUERIES["set_language"], values)

    async def known(self, collection: Collection, external_ids: Sequence[str] | None = None) -> Known:
        """Read what a collection's documents, or some of them, are known by."""
        async with self.keeper(collection.tenant_id, timeout_s=_WRITE_S) as connection:
            return await self._known(connection, collection, external_ids)

    async def _known(
        self, connection: Connection, collection: Collection, external_ids: Sequence[str] | None
    ) -> Known:  # fmt: skip
        values = {**_place(collection), "external_ids": None if external_ids is None else list(external_ids)}
        rows = await (await connection.execute(_QUERIES["known"], values)).fetchall()
        return {row.pop("external_id"): msgspec.convert(row, KeptAs) for row in rows}

    async def documents(self, collection: Collection, *, after: str, limit: int) -> list[KeptDocument]:
        """Read documents by their external ids, those after one first."""
        async with self.keeper(collection.tenant_id) as connection:
            values = {**_place(collection), "generation": collection.generation, "after": after, "limit": limit}
            return msgspec.convert(
                await (await connection.execute(_QUERIES["documents"], values)).fetchall(), list[KeptDocument]
            )

    async def part(self, collection: Collection, external_id: str, *, start: int, length: int) -> DocumentPart | None:
        """Read a part of a document's text, whoever may read it; ``None``: there is no such document."""
        place = {**_place(collection), "generation": collection.generation, "external_id": external_id}
        async with self.keeper(collection.tenant_id) as connection:
            values = {**place, "start": start, "length": length}
            row = await (await connection.execute(_QUERIES["document_part"], values)).fetchone()
        return None if row is None else msgspec.convert(row, DocumentPart)

    async def vectors_of_texts(self, collection: Collection, hashes: Sequence[bytes]) -> dict[bytes, str]:
        """Read the vectors that equal texts have in any collection of the same embedding model, by the text's hash."""
        async with self.keeper(collection.tenant_id) as connection:
            values = {"tenant_id": collection.tenant_id, "model": collection.embedding_model, "hashes": list(hashes)}
            rows = await (await connection.execute(_QUERIES["vectors_of_texts"], values)).fetchall()
        return {bytes(row["text_hash"]): row["embedding"] for row in rows}

    async def memos(self, collection: Collection, external_ids: Sequence[str]) -> Memo:
        """Read what models said when some documents were cut, as they are kept now."""
        async with self.keeper(collection.tenant_id, timeout_s=_WRITE_S) as connection:
            values = {**_place(collection), "external_ids": list(external_ids)}
            rows = await (await connection.execute(_QUERIES["memos"], values)).fetchall()
        return {asked: told for row in rows for asked, told in row["memo"].items()}

    async def put(
        self,
        collection: Collection,
        documents: Sequence[NewDocument],
        hashes: Hashes,
        chunks: Mapping[int, Sequence[ChunkRow] | None],
        witness: Witness | None = None,
        known: Known | None = None,
    ) -> None:
        """Write documents with their chunks in the place of what was kept of them, in one transaction.

        Args:
            chunks: By generation, for each that the collection has; ``None``: they could not be made, so that the
                generation is to be built on.
            witness: What else is to be done in that transaction, or nothing of it.
            known: That by which it was decided that these are to be written; ``None``: that is not looked at.

        Raises:
            NotFound: The collection is gone.
            GenerationsMoved: A generation came or went since the chunks were made.
            DocumentsMoved: Somebody else wrote or deleted one of the documents since.
        """
        async with self.keeper(collection.tenant_id, timeout_s=_WRITE_S) as connection:
            change = await self.change(connection, collection.tenant_id, collection.name)
            found = await (await connection.execute(_GENERATIONS["generations"], _place(collection))).fetchall()
            if {row["generation"] for row in found} != set(chunks):
                raise GenerationsMoved
            names = [document.external_id for document in documents]
            if known is not None and await self._known(connection, collection, names) != {
                name: known[name] for name in names if name in known
            }:
                raise DocumentsMoved
            await connection.execute(
                _QUERIES["clear_chunks"], {**_place(collection), "external_ids": names, "change": change}
            )
            rows = [_document_row(document, hashes[document.external_id]) for document in documents]
            written = await connection.execute(_QUERIES["put_documents"], {**_place(collection), **_columns(rows)})
            ids = {row["external_id"]: row["document_id"] for row in await written.fetchall()}
            for generation, made in chunks.items():
                place = msgspec.structs.replace(collection, generation=generation)
                if made is None:
                    await self._unbuild(connection, place)
                else:
                    await self.put_chunks(connection, place, made, ids, change)
            if witness is not None:
                await witness(connection)

    async def put_chunks(
        self,
        connection: Connection,
        collection: Collection,
        chunks: Sequence[ChunkRow],
        ids: Mapping[str, int],
        change: int,
    ) -> None:
        """Write chunks into a generation, within a transaction; ``ids`` are their documents', by external id."""
        if chunks:
            values = _columns([_chunk_row(chunk, ids[chunk.external_id]) for chunk in chunks])
            place = {"tenant_id": collection.tenant_id, "generation": collection.generation, "change": change}
            await connection.execute(_QUERIES["put_chunks"], {**place, **values})

    async def _unbuild(self, connection: Connection, place: Collection) -> None:
        values = {"tenant_id": place.tenant_id, "generation": place.generation}
        await connection.execute(_GENERATIONS["unbuilt"], values)
        await connection.execute(_GENERATIONS["notify"])

    async def remove(self, collection: Collection, external_ids: Sequence[str]) -> int:
        """Delete documents and return how many there were."""
        async with self.keeper(collection.tenant_id, timeout_s=_WRITE_S) as connection:
            change = await self.change(connection, collection.tenant_id, collection.name)
            values = {**_place(collection), "external_ids": list(external_ids)}
            await connection.execute(_QUERIES["clear_chunks"], {**values, "change": change})
            return (await connection.execute(_QUERIES["delete_documents"], values)).rowcount

    async def absent(self, collection: Collection, external_ids: Sequence[str]) -> list[str]:
        """Return the external ids of documents that are not among those named."""
        async with self.keeper(collection.tenant_id, timeout_s=_WRITE_S) as connection:
            values = {**_place(collection), "external_ids": list(external_ids)}
            return [
                row["external_id"] for row in await (await connection.execute(_QUERIES["absent"], values)).fetchall()
            ]

    async def change(self, connection: Connection, tenant_id: str, name: str) -> int:
        """Raise a collection's number of changes, within a transaction that holds its lock from here on.

        Raises:
            NotFound: The collection is gone.
        """
        place = {"tenant_id": tenant_id, "collection": name}
        row = await (await connection.execute(_QUERIES["change"], place)).fetchone()
        if row is None:
            raise NotFound(f"The collection {name} was deleted meanwhile.")
        return row["changes"]

    async def index_vectors(self, collection: Collection, *, from_chunks: int) -> None:
        """Build the index of a generation's vectors, if it has so many; return when it is there."""
        place = {"tenant_id": collection.tenant_id, "generation": collection.generation}
        async with self._database.system(timeout_s=3600.0) as connection:
            cursor = await connection.execute(_QUERIES["size_of_index"], {**place, "most": from_chunks})
            row = await cursor.fetchone()
            if row is not None and row["chunks"] >= from_chunks:
                await connection.execute(_QUERIES["index_vectors"], {"generation": collection.generation})
            await connection.execute(_QUERIES["sweep_removals"])

    async def changes_since(self, collection: Collection, since: int) -> Changes:
        """Read what changed of a generation since a change of its collection; -1: everything."""
        values = {**_generation(collection), "since": since}
        async with self.keeper(collection.tenant_id, timeout_s=_LOAD_S) as connection:
            gone = await (await connection.execute(_QUERIES["removals_since"], values)).fetchall()
            metadata = await (await connection.execute(_QUERIES["metadata_since"], values)).fetchall()
            rows = await (await connection.execute(_QUERIES["terms_since"], values)).fetchall()
        return Changes(
            rows=msgspec.convert(rows, list[TermRow]),
            gone=[row["chunk_id"] for row in gone],
            metadata=[(row["document_id"], row["metadata"]) for row in metadata],
        )

    @asynccontextmanager
    async def vectors_since(
        self, collection: Collection, since: int
    ) -> AsyncGenerator[AsyncGenerator[list[VectorRow]]]:  # fmt: skip
        """Read the vectors that came since a change, in batches."""
        values = {**_generation(collection), "since": since}
        async with (
            self.keeper(collection.tenant_id, timeout_s=_LOAD_S) as connection,
            connection.cursor("vectors", binary=True) as cursor,
        ):
            await cursor.execute(_QUERIES["vectors_since"], values)

            async def batches() -> AsyncGenerator[list[VectorRow]]:
                while rows := await cursor.fetchmany(_VECTORS_AT_ONCE):
                    yield cast(list[VectorRow], rows)

            yield batches()

    async def some_vectors(self, collection: Collection, limit: int) -> tuple[Vector, list[frozenset[str] | None]]:
        """Read the vectors of so many chunks at most, whichever, and who may read each; ``None``: everybody."""
        values = {"tenant_id": collection.tenant_id, "generation": collection.generation, "limit": limit}
        async with self.keeper(collection.tenant_id, timeout_s=_LOAD_S) as connection:
            rows = await (await connection.execute(_QUERIES["some_vectors"], values)).fetchall()
        readers = [None if row["principals"] is None else frozenset[str](row["principals"]) for row in rows]
        return np.array([row["vector"] for row in rows], dtype=np.float32), readers

    @asynccontextmanager
    async def reading(self, collection: Collection, query: Query) -> AsyncGenerator["Reading"]:
        """Begin a transaction that sees what the principals of a query may read."""
        readers = {"backstay.principals": SEPARATOR.join(query.principals)}
        async with self._database.tenant(collection.tenant_id, timeout_s=10.0, settings=readers) as connection:
            yield Reading(connection, collection, query)

    @asynccontextmanager
    async def keeper(self, tenant_id: str, *, timeout_s: float = 10.0) -> AsyncGenerator[Connection]:
        """Begin a transaction that sees all documents of a tenant, to keep them."""
        settings = {"backstay.keeps_documents": "on"}
        async with self._database.tenant(tenant_id, timeout_s=timeout_s, settings=settings) as connection:
            yield connection


class Reading:
    """A transaction in which chunks are looked for, as those principals see them whom a query names."""

    def __init__(self, connection: Connection, collection: Collection, query: Query):
        self._connection = connection
        self._place = {**_generation(collection), "filter": None if query.filter is None else query.filter.jsonpath}

    async def nearest(self, vector: str, limit: int) -> list[int]:
        """Return the ids of the chunks nearest to a vector, the nearest first."""
        await self._connection.execute(_QUERIES["look_far"])
        values = {**self._place, "vector": vector, "limit": limit}
        return [
            row["chunk_id"] for row in await (await self._connection.execute(_QUERIES["nearest"], values)).fetchall()
        ]

    async def candidates(self, chunk_ids: Iterable[int], vector: str | None) -> list[Candidate]:
        """Read chunks again that are still there, may be read and meet the filter; the order is lost.

        Without a vector their cosines are 0.
        """
        values = {**self._place, "vector": vector, "chunk_ids": list(chunk_ids)}
        rows = await (await self._connection.execute(_QUERIES["candidates"], values)).fetchall()
        return msgspec.convert(rows, list[Candidate])

    async def passages(self, chosen: Sequence[tuple[int, float, float | None]]) -> list[Found]:
        """Read the texts of chunks, given with their score and relevance, in that order."""
        values = {"tenant_id": self._place["tenant_id"], "chunk_ids": [chunk_id for chunk_id, _, _ in chosen]}
        rows = await (await self._connection.execute(_QUERIES["passages"], values)).fetchall()
        by_id: dict[str, Mapping[str, Any]] = {row["chunk_id"]: row for row in rows}
        return [
            msgspec.convert({**by_id[str(chunk_id)], "score": score, "relevance": relevance}, Found)
            for chunk_id, score, relevance in chosen
            if str(chunk_id) in by_id
        ]


def literal(vector: Vector) -> str:
    """Write a vector as pgvector reads it."""
    return "[" + ",".join(f"{number:.7g}" for number in vector.tolist()) + "]"


def _generation(collection: Collection) -> dict[str, Any]:
    return {"tenant_id": collection.tenant_id, "generation": collection.generation}


def _place(collection: Collection) -> dict[str, Any]:
    return {"tenant_id": collection.tenant_id, "collection": collection.name}


def _document_row(document: NewDocument, content_hash: str) -> dict[str, Any]:
    return {
        "external_id": document.external_id,
        "content_hash": content_hash,
        "title": document.title,
        "media_type": document.media_type,
        "metadata": _json(document.metadata),
        "principals": _joined(document.principals),
        "body": document.text,
        "page_starts": "{" + ",".join(map(str, document.page_starts)) + "}",
    }


def _chunk_row(chunk: ChunkRow, document_id: int) -> dict[str, Any]:
    row = {name: getattr(chunk, name) for name in chunk.__struct_fields__ if name != "external_id"}
    parent, head = chunk.parent or (None, None), chunk.head or (None, None)
    spans = {
        "parent_starts_at": parent[0],
        "parent_ends_at": parent[1],
        "head_starts_at": head[0],
        "head_ends_at": head[1],
    }
    memo = _json(chunk.memo) if chunk.memo else None
    return {**row, **spans, "document_id": document_id, "principals": _joined(chunk.principals), "memo": memo}


def _joined(principals: Sequence[str] | None) -> str | None:
    return None if principals is None else SEPARATOR.join(principals)


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
