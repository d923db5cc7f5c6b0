"""Owns BM25: an index of a collection's words in memory, exact, that follows changes in small parts."""

from collections.abc import Collection as Some
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

K1 = 1.2
B = 0.75
_MERGE_SHARE = 0.1
"""When the small parts together have so many chunks of the large one's, all become one."""

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """The terms of a chunk, and who may read it; ``None``: everybody."""

    chunk_id: int
    terms: Sequence[str]
    principals: frozenset[str] | None


class _Part:
    """Postings of some chunks: for each term, where it is and how often."""

    def __init__(self, chunks: Sequence[Words]):
        self.ids = np.array([chunk.chunk_id for chunk in chunks], dtype=np.int64)
        self.lengths = np.array([len(chunk.terms) for chunk in chunks], dtype=np.float32)
        self.alive = np.ones(len(chunks), dtype=bool)
        self.principals: list[frozenset[str] | None] = [chunk.principals for chunk in chunks]
        self.places = {int(chunk_id): place for place, chunk_id in enumerate(self.ids)}
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
        readers = {principals: number for number, principals in enumerate(dict.fromkeys(self.principals))}
        self._readers = np.array([readers[principals] for principals in self.principals], dtype=np.int32)
        self._public = readers.get(None)
        self._read_by: dict[str, list[int]] = {}
        for principals, number in readers.items():
            for principal in principals or ():
                self._read_by.setdefault(principal, []).append(number)
        self._kinds = len(readers)

    def postings(self, term: str) -> tuple[npt.NDArray[np.int32], Floats]:
        """Return the places of the chunks with a term, and how often each has it."""
        number = self._numbers.get(term)
        if number is None:
            return self._owners[:0], self._counts[:0]
        start, end = self._bounds[number], self._bounds[number + 1]
        return self._owners[start:end], self._counts[start:end]

    def readable(self, principals: Some[str]) -> npt.NDArray[np.bool_]:
        """Say which chunks are there and may be read."""
        may = np.zeros(self._kinds, dtype=bool)
        if self._public is not None:
            may[self._public] = True
        for principal in principals:
            may[self._read_by.get(principal, [])] = True
        return self.alive & may[self._readers]

    def words(self) -> Iterable[Words]:
        """Return the chunks that are there."""
        terms = np.array(list(self._numbers), dtype=object)
        numbers = np.repeat(np.arange(len(terms)), np.diff(self._bounds))
        order = np.argsort(self._owners, kind="stable")
        spread = np.repeat(numbers[order], self._counts[order].astype(np.int64))
        ends = np.cumsum(self.lengths.astype(np.int64))
        for place in np.flatnonzero(self.alive):
            own = spread[ends[place] - int(self.lengths[place]) : ends[place]]
            yield Words(
                chunk_id=int(self.ids[place]), terms=terms[own].tolist(), principals=self.principals[place]
            )  # fmt: skip


class Scores(msgspec.Struct, frozen=True, kw_only=True):
    """What the chunks that may be read score for a query."""

    ids: Ints
    values: Floats

    def best(self, limit: int, *, after: int = 0) -> list[int]:
        """Return the ids of the best, those of the same score by their age; none that scores nothing."""
        size = min(after + limit, int((self.values > 0).sum()))
        if size <= after:
            return []
        top = np.argpartition(-self.values, size - 1)[:size] if size < len(self.values) else np.arange(len(self.values))
        order = top[np.lexsort((self.ids[top], -self.values[top]))]
        return self.ids[order[after:size]].tolist()

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
        return sum(int(part.alive.sum()) for part in self._parts)

    def update(self, chunks: Sequence[Words], gone: Iterable[int]) -> None:
        """Take in chunks, in the place of older ones with their ids, and leave out those that are gone."""
        for chunk_id in (*gone, *(chunk.chunk_id for chunk in chunks)):
            for part in self._parts:
                if (place := part.places.get(chunk_id)) is not None:
                    part.alive[place] = False
        if not chunks:
            return
        large = len(self._parts[0].ids) if self._parts else 0
        small = sum(len(part.ids) for part in self._parts[1:]) + len(chunks)
        if small > max(1000, _MERGE_SHARE * large):
            chunks = [*(words for part in self._parts for words in part.words()), *chunks]
            self._parts = []
        self._parts.append(_Part(chunks))

    def scores(self, terms: Sequence[str], principals: Some[str]) -> Scores:
        """Score every chunk that may be read for the terms of a query, a term that comes twice counting twice.

        What may not be read is as if it were not there: no count of it goes into a score.
        """
        may = [part.readable(principals) for part in self._parts]
        size = sum(int(np.count_nonzero(each)) for each in may)
        length = sum(float(part.lengths @ each) for part, each in zip(self._parts, may, strict=True))
        spread = K1 * B / max(length / max(size, 1), 1e-9)
        values = [np.zeros(len(part.ids), dtype=np.float32) for part in self._parts]
        for term in terms:
            found = [part.postings(term) for part in self._parts]
            holders = sum(int(np.count_nonzero(each[owners])) for each, (owners, _) in zip(may, found, strict=True))
            weight = np.float32(np.log1p((size - holders + 0.5) / (holders + 0.5)))
            for part, (owners, counts), value in zip(self._parts, found, values, strict=True):
                norms = np.float32(K1 * (1 - B)) + np.float32(spread) * part.lengths[owners]
                value[owners] += weight * counts / (counts + norms)
        return Scores(
            ids=np.concatenate([np.zeros(0, np.int64), *(p.ids[m] for p, m in zip(self._parts, may, strict=True))]),
            values=np.concatenate([np.zeros(0, np.float32), *(v[m] for v, m in zip(values, may, strict=True))]),
        )
