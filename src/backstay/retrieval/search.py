"""Owns a search: candidates by words and by meaning, read again as those may who ask, ranked and shown."""

import asyncio
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from backstay.core.caller import Caller
from backstay.retrieval.embeddings import Embeddings
from backstay.retrieval.fusion import Evidence, fuse, relevance
from backstay.retrieval.indexes import MOST_VECTOR_BYTES, Index, Indexes, Sample
from backstay.retrieval.lexical import Scores
from backstay.retrieval.roll import Bools
from backstay.retrieval.store import Reading, RetrievalStore, Vector, literal
from backstay.retrieval.types import Candidate, Collection, Found, Query

_DEPTH = 100
"""Candidates of each kind."""
_MOST_READ = 100_000
"""Hits of words that are read again where rights or a filter leave few of them."""
_MOST_IN_PLACE = 200_000
"""Chunks that are looked through for near ones without a thread, which takes longer to begin and end than 2 ms more."""


Hear = Callable[[Collection, Query], None]


class Search:
    """Searches the collections of one worker."""

    def __init__(
        self,
        store: RetrievalStore,
        embeddings: Embeddings,
        hear: Hear | None = None,
        *,
        most_vector_bytes: int = MOST_VECTOR_BYTES,
    ):
        """Search.

        Args:
            hear: Is told of each query.
            most_vector_bytes: Of vectors in memory; what is beyond is looked for in Postgres.
        """
        self._store = store
        self._embeddings = embeddings
        self._hear = hear
        self._indexes = Indexes(store, most_vector_bytes=most_vector_bytes)

    async def find(self, caller: Caller, name: str, query: Query) -> list[Found]:
        """Return what a query finds, the best first: what its principals may not read is as if it were not there.

        Raises:
            NotFound: There is no such collection.
            StoreUnavailable: Postgres does not answer.
            BackstayError: What a call of the embedding model may end with.
        """
        return await self.starting_from(caller, await self._store.find(caller.tenant_id, name), query)

    async def starting_from(self, caller: Caller, collection: Collection, query: Query) -> list[Found]:
        """Search a collection that was just read. Else as ``find``."""
        if self._hear is not None:
            self._hear(collection, query)
        while True:
            found = await self.within(caller, collection, query)
            if len(found) >= query.limit:
                return found
            # Where another generation became the live one meanwhile, this one may have been dropped under our hands.
            earlier, collection = collection, await self._store.find(caller.tenant_id, collection.name)
            if collection.generation == earlier.generation:
                return found

    async def within(self, caller: Caller, collection: Collection, query: Query) -> list[Found]:
        """Search one generation of a collection, whether or not it is live. Else as ``find``."""
        depth = max(_DEPTH, (10 if query.by_document else 2) * query.limit)
        # Words are looked for in a thread while the embedding model is at work.
        vector, words = await asyncio.gather(
            self._vector(caller, collection, query), self._words(collection, query, depth)
        )
        near = None if vector is None else await self._near(collection, query, vector, depth)
        async with self._store.reading(collection, query) as reading:
            candidates = await _gather(reading, query, words, near, vector, depth)
            ranked = _rank(query, words, vector, candidates)
            return await reading.passages([_shown(query, collection, each) for each in _firsts(ranked, query)])

    async def _words(self, collection: Collection, query: Query, depth: int) -> "_ByWords":
        async with self._indexes.of(collection) as index:
            return await asyncio.to_thread(_by_words, index, query, depth)

    async def _near(self, collection: Collection, query: Query, vector: Vector, depth: int) -> list[int] | None:
        """Return the nearest chunks; ``None``: Postgres has to be asked."""
        async with self._indexes.of(collection) as index:
            fits = index.fits(query)
            if index.near is None or (query.filter is not None and fits is None):
                return None
            near = index.near.nearest
            if index.words.size <= _MOST_IN_PLACE:
                return near(vector, query.principals, fits, depth)
            return await asyncio.to_thread(near, vector, query.principals, fits, depth)

    async def _vector(self, caller: Caller, collection: Collection, query: Query) -> Vector | None:
        """Return the direction of what is asked, drawn a little to what was asked before; ``None``: none is needed."""
        if query.mode == "lexical":
            return None
        vector = await self._embeddings.of_query(caller, collection, query.text)
        if not query.earlier:
            return vector
        for text, weight in query.earlier:
            vector = vector + np.float32(weight) * await self._embeddings.of_query(caller, collection, text)
        return vector / max(float(np.linalg.norm(vector)), 1e-9)


class _ByWords(msgspec.Struct, frozen=True, kw_only=True):
    """What a query scores by words."""

    scores: Scores
    fits: Bools | None
    """Documents that meet the filter, by their number; ``None``: all do, or Postgres has to be asked."""
    best: list[int]
    sample: Sample


def _by_words(index: Index, query: Query, depth: int) -> _ByWords:
    principals = frozenset(query.principals)
    scores = index.words.scores(index.analyzer.terms(query.text), principals)
    for text, weight in query.earlier:
        earlier = index.words.scores(index.analyzer.terms(text), principals)
        scores = msgspec.structs.replace(scores, values=scores.values + np.float32(weight) * earlier.values)
    fits = index.fits(query)
    best = [] if query.mode == "dense" else scores.best(depth, fits=fits)
    return _ByWords(scores=scores, fits=fits, best=best, sample=index.sample)


async def _gather(
    reading: Reading, query: Query, words: _ByWords, near: list[int] | None, vector: Vector | None, depth: int
) -> list[Candidate]:
    """Read the best candidates of each kind that is wanted."""
    asked = None if vector is None else literal(vector)
    if near is None and asked is not None:
        near = await reading.nearest(asked, depth)
    found = {
        each.chunk_id: each for each in await reading.candidates(dict.fromkeys([*(near or ()), *words.best]), asked)
    }
    kept, read = sum(chunk_id in found for chunk_id in words.best), len(words.best)
    # A filter that is not known here, or a document that is new or gone, may leave too few: look further down, in ever
    # larger steps.
    while kept < depth <= read < _MOST_READ and (next_best := words.scores.best(4 * read, after=read, fits=words.fits)):
        more = {each.chunk_id: each for each in await reading.candidates(next_best, asked)}
        wanted = [chunk_id for chunk_id in next_best if chunk_id in more][: depth - kept]
        found |= {chunk_id: more[chunk_id] for chunk_id in wanted}
        kept, read = kept + len(wanted), read + len(next_best)
    return list(found.values())


def _rank(query: Query, words: _ByWords, vector: Vector | None, found: Sequence[Candidate]) -> list[Candidate]:
    """Order candidates by the mode's score, the best first; by age where they are equal."""
    if not found:
        return []
    lexical = words.scores.of([each.chunk_id for each in found])
    cosines = np.array([each.cosine for each in found], dtype=np.float32)
    if query.mode == "hybrid" and vector is not None:
        values = fuse(
            Evidence(
                lexical=lexical,
                cosines=cosines,
                all_lexical=words.scores.values,
                some_cosines=words.sample.cosines(vector, query.principals),
            )
        )
    else:
        values = lexical if query.mode == "lexical" else cosines
    scored = [
        msgspec.structs.replace(each, score=float(value))
        for each, value, by_words in zip(found, values, lexical, strict=True)
        if query.mode != "lexical" or by_words > 0
    ]
    return sorted(scored, key=lambda each: (-each.score, each.chunk_id))


def _shown(query: Query, collection: Collection, candidate: Candidate) -> tuple[int, float, float | None]:
    likely = round(relevance(candidate.score, collection.relevance), 4) if query.mode == "hybrid" else None
    return candidate.chunk_id, round(candidate.score, 6), likely


def _firsts(ranked: Sequence[Candidate], query: Query) -> list[Candidate]:
    """Take the best; of each document only the best chunk, where documents are wanted."""
    if not query.by_document:
        return list(ranked[: query.limit])
    best: dict[int, Candidate] = {}
    for each in ranked:
        best.setdefault(each.document_id, each)
    return list(best.values())[: query.limit]
