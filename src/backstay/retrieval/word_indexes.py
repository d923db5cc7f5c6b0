"""Owns the indexes of words of one worker: caches of what Postgres has, brought up to date before each search."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from backstay.retrieval.analysis import Analyzer
from backstay.retrieval.lexical import LexicalIndex, Words
from backstay.retrieval.store import RetrievalStore, TermRow, Vector
from backstay.retrieval.types import Collection

_MOST_CHUNKS = 2_000_000
"""Of all indexes together; those that were not used for longest go."""
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


class WordIndex(msgspec.Struct, kw_only=True):
    """The words of a generation, as they were at some change of its collection."""

    analyzer: Analyzer
    words: LexicalIndex = msgspec.field(default_factory=LexicalIndex)
    sample: Sample = _NO_SAMPLE
    change: int = -1
    at_s: float = 0.0
    lock: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)


class WordIndexes:
    """The indexes of the generations that this worker has searched."""

    def __init__(self, store: RetrievalStore):
        self._store = store
        self._indexes: OrderedDict[tuple[str, int], WordIndex] = OrderedDict()

    async def of(self, collection: Collection) -> WordIndex:
        """Return the index of a collection's live generation, with all that was written before it was asked for.

        Raises:
            StoreUnavailable: It has to be read from Postgres, which does not answer.
        """
        place = (collection.tenant_id, collection.generation)
        index = self._indexes.get(place)
        if index is None or time.monotonic() - index.at_s > _OLDEST_S:
            index = self._indexes[place] = WordIndex(analyzer=Analyzer(collection.language), at_s=time.monotonic())
        self._indexes.move_to_end(place)
        async with index.lock:
            if index.change < collection.changes:
                await self._bring_up_to_date(index, collection)
        self._bound()
        return index

    async def _bring_up_to_date(self, index: WordIndex, collection: Collection) -> None:
        if index.change < 0:
            index.analyzer = Analyzer(collection.language)
        rows, gone = await self._store.terms_since(collection, index.change)
        await asyncio.to_thread(index.words.update, [_words(row) for row in rows], gone)
        if index.sample.of <= _SAMPLE or index.words.size > 2 * index.sample.of:
            vectors, readers = await self._store.some_vectors(collection, _SAMPLE)
            index.sample = Sample(vectors=vectors, readers=readers, of=index.words.size)
        index.change, index.at_s = collection.changes, time.monotonic()

    def _bound(self) -> None:
        while len(self._indexes) > 1 and sum(each.words.size for each in self._indexes.values()) > _MOST_CHUNKS:
            self._indexes.popitem(last=False)


def _words(row: TermRow) -> Words:
    principals = None if row.principals is None else frozenset(row.principals)
    return Words(chunk_id=row.chunk_id, terms=row.terms.split(), principals=principals)
