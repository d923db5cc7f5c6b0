"""Owns what one worker keeps in memory of collections: caches of what Postgres has, brought up to date before use."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager

import msgspec
import numpy as np

from backstay.retrieval.analysis import Analyzer
from backstay.retrieval.fields import Fields
from backstay.retrieval.lexical import LexicalIndex, Words
from backstay.retrieval.near import NearIndex, Part, Vectors, bytes_of
from backstay.retrieval.roll import Bools
from backstay.retrieval.store import Changes, RetrievalStore, Vector, VectorRow
from backstay.retrieval.types import Collection, Query

_MOST_CHUNKS = 2_000_000
"""Of all indexes together; those that were not used for longest go."""
MOST_VECTOR_BYTES = 256 * 1024 * 1024
"""Of the vectors of all indexes together, and so of one: a larger collection's are looked for in Postgres."""
_HEAD = 2
"""Numbers before a vector's own as pgvector sends it: its size, and a zero. Source: pgvector 0.8, halfvec_send."""
_OLDEST_S = 12 * 3600.0
"""An index that was not brought up to date for so long is built anew: removals are remembered for a day."""
_SAMPLE = 512
"""Vectors by which it is told how near to a query chunks are that have nothing to do with it."""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors of some chunks, and who may read each."""

    vectors: Vector
    readers: Sequence[frozenset[str] | None]
    of: int
    """How many chunks there were when it was taken."""

    def cosines(self, vector: Vector, principals: Iterable[str]) -> Vector:
        """Return how near those are to a vector that may be read."""
        if not len(self.vectors):
            return np.zeros(0, dtype=np.float32)
        may = [readers is None or not readers.isdisjoint(principals) for readers in self.readers]
        return self.vectors[may] @ vector


_NO_SAMPLE = Sample(vectors=np.zeros((0, 0), dtype=np.float32), readers=(), of=0)


class Index(msgspec.Struct, kw_only=True):
    """The words, vectors and metadata of a generation, as they were at some change of its collection."""

    analyzer: Analyzer
    words: LexicalIndex = msgspec.field(default_factory=LexicalIndex)
    fields: Fields = msgspec.field(default_factory=Fields)
    near: NearIndex | None = None
    """``None``: there are too many vectors, or none at all."""
    sample: Sample = _NO_SAMPLE
    change: int = -1
    at_s: float = 0.0
    lock: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)

    def fits(self, query: Query) -> Bools | None:
        """Say for each number of a document whether it meets the filter; ``None``: all do, or it is not known."""
        return None if query.filter is None else self.fields.fits(query.filter.told)


class Indexes:
    """The indexes of the generations that this worker has searched."""

    def __init__(self, store: RetrievalStore, *, most_vector_bytes: int = MOST_VECTOR_BYTES):
        self._store = store
        self._most_vector_bytes = most_vector_bytes
        self._indexes: OrderedDict[tuple[str, int], Index] = OrderedDict()

    @asynccontextmanager
    async def of(self, collection: Collection) -> AsyncGenerator[Index]:
        """Lend the index of a generation, with all that was written before it was asked for, which nobody changes now.

        Raises:
            StoreUnavailable: It has to be read from Postgres, which does not answer.
        """
        place = (collection.tenant_id, collection.generation)
        index = self._indexes.get(place)
        if index is None or time.monotonic() - index.at_s > _OLDEST_S:
            index = self._indexes[place] = Index(analyzer=Analyzer(collection.language), at_s=time.monotonic())
        self._indexes.move_to_end(place)
        async with index.lock:
            if index.change < collection.changes:
                await self._bring_up_to_date(index, collection)
                self._bound()
            yield index

    async def _bring_up_to_date(self, index: Index, collection: Collection) -> None:
        if index.change < 0:
            index.analyzer = Analyzer(collection.language)
        changes = await self._store.changes_since(collection, index.change)
        await asyncio.to_thread(_take_in, index, changes)
        if index.sample.of <= _SAMPLE or index.words.size > 2 * index.sample.of:
            vectors, readers = await self._store.some_vectors(collection, _SAMPLE)
            index.sample = Sample(vectors=vectors, readers=readers, of=index.words.size)
        await self._bring_vectors_up_to_date(index, collection, changes.gone)
        index.change, index.at_s = collection.changes, time.monotonic()

    async def _bring_vectors_up_to_date(self, index: Index, collection: Collection, gone: Sequence[int]) -> None:
        some = index.sample.vectors
        if not len(some) or index.words.size * bytes_of(some.shape[1]) > self._most_vector_bytes:
            index.near = None
            return
        near, since = index.near, index.change
        if near is None:
            near, since = NearIndex(some.mean(axis=0)), -1
        parts: list[Part] = []
        async with self._store.vectors_since(collection, since) as batches:
            async for rows in batches:
                parts.append(await asyncio.to_thread(_encoded, index, near, rows))
        await asyncio.to_thread(near.update, parts, gone)
        index.near = near

    def _bound(self) -> None:
        while len(self._indexes) > 1 and (
            sum(each.words.size for each in self._indexes.values()) > _MOST_CHUNKS
            or sum(each.near.size_bytes for each in self._indexes.values() if each.near) > self._most_vector_bytes
        ):
            self._indexes.popitem(last=False)


def _take_in(index: Index, changes: Changes) -> None:
    index.fields.update(changes.metadata)
    documents = index.fields.numbers([row.document_id for row in changes.rows]).tolist()
    # Each term once, however many chunks have it: as texts of their own they would take eight times the memory.
    once: dict[str, str] = {}
    words = [
        Words(
            chunk_id=row.chunk_id,
            terms=[once.setdefault(term, term) for term in row.terms.split()],
            principals=None if row.principals is None else frozenset(row.principals),
            document=document,
        )
        for row, document in zip(changes.rows, documents, strict=True)
    ]
    index.words.update(words, changes.gone)


def _encoded(index: Index, near: NearIndex, rows: Sequence[VectorRow]) -> Part:
    vectors = np.frombuffer(b"".join(row["vector"] for row in rows), dtype=">f2").reshape(len(rows), -1)
    return near.encode(
        Vectors(
            ids=np.array([row["chunk_id"] for row in rows], dtype=np.int64),
            readers=[None if row["principals"] is None else frozenset(row["principals"]) for row in rows],
            documents=index.fields.numbers([row["document_id"] for row in rows]),
            rows=vectors[:, _HEAD:].astype(np.float32),
        )
    )
