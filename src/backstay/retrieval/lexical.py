"""Owns BM25: an index of a collection's words in memory, exact, that follows changes in small parts."""

from collections.abc import Collection as Some
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from backstay.retrieval.roll import Bools, Ints, Roll

K1 = 1.2
B = 0.75
_MERGE_SHARE = 0.1
"""When the small parts together have so many chunks of the large one's, all become one."""

Floats = npt.NDArray[np.float32]


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """The terms of a chunk, and who may read it; ``None``: everybody."""

    chunk_id: int
    terms: Sequence[str]
    principals: frozenset[str] | None
    document: int = 0
    """The number that ``Fields`` gave its document."""


class _Part:
    """Postings of some chunks: for each term, where it is and how often."""

    def __init__(self, chunks: Sequence[Words]):
        self.roll = Roll(
            np.array([chunk.chunk_id for chunk in chunks], dtype=np.int64),
            [chunk.principals for chunk in chunks],
            np.array([chunk.document for chunk in chunks], dtype=np.int64),
        )
        self.lengths = np.array([len(chunk.terms) for chunk in chunks], dtype=np.float32)
        self._numbers: dict[str, int] = {}
        number = self._numbers.setdefault
        numbers = np.array(
            [number(term, len(self._numbers)) for chunk in chunks for term in chunk.terms], dtype=np.int64
        )
        owners = np.repeat(np.arange(len(chunks), dtype=np.int64), self.lengths.astype(np.int64))
        keys, counts = np.unique(numbers * max(len(chunks), 1) + owners, return_counts=True)
        self._owners = (keys % max(len(chunks), 1)).astype(np.int32)
        self._counts = counts.astype(np.float32)
        bounds = np.arange(len(self._numbers) + 1, dtype=np.int64) * max(len(chunks), 1)
        self._bounds = np.searchsorted(keys, bounds)

    def postings(self, term: str) -> tuple[npt.NDArray[np.int32], Floats]:
        """Return the places of the chunks with a term, and how often each has it."""
        number = self._numbers.get(term)
        if number is None:
            return self._owners[:0], self._counts[:0]
        start, end = self._bounds[number], self._bounds[number + 1]
        return self._owners[start:end], self._counts[start:end]

    def words(self) -> Iterable[Words]:
        """Return the chunks that are there."""
        terms = np.array(list(self._numbers), dtype=object)
        numbers = np.repeat(np.arange(len(terms)), np.diff(self._bounds))
        order = np.argsort(self._owners, kind="stable")
        spread = np.repeat(numbers[order], self._counts[order].astype(np.int64))
        ends = np.cumsum(self.lengths.astype(np.int64))
        for place in np.flatnonzero(self.roll.alive).tolist():
            own = spread[ends[place] - int(self.lengths[place]) : ends[place]]
            yield Words(
                chunk_id=int(self.roll.ids[place]),
                terms=terms[own].tolist(),
                principals=self.roll.readers[place],
                document=int(self.roll.documents[place]),
            )


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """What the chunks that may be read score for a query."""

    ids: Ints
    values: Floats
    documents: Ints
    """The number of each one's document."""

    def best(self, limit: int, *, after: int = 0, fits: Bools | None = None) -> list[int]:
        """Return the ids of the best, those of the same score by their age; none that scores nothing.

        Args:
            after: So many of them are left out.
            fits: For each number of a document whether it is wanted; ``None``: each is.
        """
        values = (
            self.values
            if fits is None
            else np.where(fits.take(self.documents, mode="clip"), self.values, np.float32(0))
        )
        some = np.flatnonzero(values)
        size = min(after + limit, len(some))
        if size <= after:
            return []
        if size < len(some):
            some = some[np.argpartition(-values[some], size - 1)[:size]]
        order = some[np.lexsort((self.ids[some], -values[some]))]
        return self.ids[order[after:]].tolist()

    def of(self, chunk_ids: Sequence[int]) -> Floats:
        """Return the scores of some chunks; 0 of one that is not in the index yet."""
        order = np.argsort(self.ids, kind="stable")
        wanted = np.array(chunk_ids, dtype=np.int64)
        places = np.searchsorted(self.ids, wanted, sorter=order)
        places = order[np.minimum(places, len(order) - 1)] if len(order) else places
        found = np.zeros(len(wanted), dtype=np.float32)
        if len(order):
            is_there = self.ids[places] == wanted
            found[is_there] = self.values[places[is_there]]
        return found


class LexicalIndex:
    """The words of one generation.

    Scores are those of BM25 as Lucene computes it: ``idf * tf / (tf + k1 * (1 - b + b * length / mean length))`` with
    ``idf = ln(1 + (n - df + 0.5) / (df + 0.5))``. Source: Kamphuis et al., "Which BM25 do you mean?" (2020), table 1.
    """

    def __init__(self) -> None:
        self._parts: list[_Part] = []

    @property
    def size(self) -> int:
        """How many chunks there are."""
        return sum(int(np.count_nonzero(part.roll.alive)) for part in self._parts)

    def update(self, chunks: Sequence[Words], gone: Iterable[int]) -> None:
        """Take in chunks, in the place of older ones with their ids, and leave out those that are gone."""
        struck = np.array([*gone, *(chunk.chunk_id for chunk in chunks)], dtype=np.int64)
        for part in self._parts:
            part.roll.strike(struck)
        if not chunks:
            return
        large = len(self._parts[0].roll) if self._parts else 0
        small = sum(len(part.roll) for part in self._parts[1:]) + len(chunks)
        if small > max(1000, _MERGE_SHARE * large):
            chunks = [*(words for part in self._parts for words in part.words()), *chunks]
            self._parts = []
        self._parts = [*self._parts, _Part(chunks)]

    def scores(self, terms: Sequence[str], principals: Some[str]) -> Scores:
        """Score every chunk that may be read for the terms of a query, a term that comes twice counting twice.

        What may not be read is as if it were not there: no count of it goes into a score.
        """
        parts = self._parts
        may = [part.roll.readable(principals) for part in parts]
        size = sum(int(np.count_nonzero(each)) for each in may)
        length = sum(float(part.lengths @ each) for part, each in zip(parts, may, strict=True))
        spread = K1 * B / max(length / max(size, 1), 1e-9)
        values = [np.zeros(len(part.roll), dtype=np.float32) for part in parts]
        for term in terms:
            found = [part.postings(term) for part in parts]
            holders = sum(int(np.count_nonzero(each[owners])) for each, (owners, _) in zip(may, found, strict=True))
            weight = np.float32(np.log1p((size - holders + 0.5) / (holders + 0.5)))
            for part, (owners, counts), value in zip(parts, found, values, strict=True):
                norms = np.float32(K1 * (1 - B)) + np.float32(spread) * part.lengths[owners]
                value[owners] += weight * counts / (counts + norms)
        rolls = [(part.roll, each) for part, each in zip(parts, may, strict=True)]
        return Scores(
            ids=np.concatenate([np.zeros(0, np.int64), *(roll.ids[each] for roll, each in rolls)]),
            values=np.concatenate([np.zeros(0, np.float32), *(v[each] for v, each in zip(values, may, strict=True))]),
            documents=np.concatenate([np.zeros(0, np.int64), *(roll.documents[each] for roll, each in rolls)]),
        )
