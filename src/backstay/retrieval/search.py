"""Owns a search: candidates by words and by meaning, read again as those may who ask, ranked and shown."""

from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from backstay.core.caller import Caller
from backstay.retrieval.embeddings import Embeddings
from backstay.retrieval.fusion import Evidence, fuse, relevance
from backstay.retrieval.lexical import Scores
from backstay.retrieval.store import Reading, RetrievalStore, Vector, literal
from backstay.retrieval.types import Candidate, Collection, Found, Query
from backstay.retrieval.word_indexes import WordIndex, WordIndexes

_DEPTH = 100
"""Candidates of each kind."""
_MOST_READ = 100_000
"""Hits of words that are read again where rights or a filter leave few of them."""


Hear = Callable[[Collection, Query], None]


class Search:
    """Searches the collections of one worker."""

    def __init__(self, store: RetrievalStore, embeddings: Embeddings, hear: Hear | None = None):
        """Search. ``hear`` is told of each query."""
        self._store = store
        self._embeddings = embeddings
        self._hear = hear
        self._indexes = WordIndexes(store)

    async def find(self, caller: Caller, name: str, query: Query) -> list[Found]:
        """Return what a query finds, the best first: what its principals may not read is as if it were not there.

        Raises:
            NotFound: There is no such collection.
            StoreUnavailable: Postgres does not answer.
            BackstayError: What a call of the embedding model may end with.
        """
        collection = await self._store.find(caller.tenant_id, name)
        if self._hear is not None:
            self._hear(collection, query)
        while True:
            found = await self.within(caller, collection, query)
            if len(found) >= query.limit:
                return found
            # Where another generation became the live one meanwhile, this one may have been dropped under our hands.
            earlier, collection = collection, await self._store.find(caller.tenant_id, name)
            if collection.generation == earlier.generation:
                return found

    async def within(self, caller: Caller, collection: Collection, query: Query) -> list[Found]:
        """Search one generation of a collection, whether or not it is live. Else as ``find``."""
        by_meaning = query.mode != "lexical"
        vector = await self._vector(caller, collection, query) if by_meaning else None
        index = await self._indexes.of(collection)
        scores = _by_words(index, query)
        depth = max(_DEPTH, (10 if query.by_document else 2) * query.limit)
        async with self._store.reading(collection, query) as reading:
            candidates = await _gather(reading, query, scores, None if vector is None else literal(vector), depth)
            ranked = _rank(query, index, scores, vector, candidates)
            return await reading.passages([_shown(query, collection, each) for each in _firsts(ranked, query)])

    async def _vector(self, caller: Caller, collection: Collection, query: Query) -> Vector:
        """Return the direction of what is asked, drawn a little to what was asked before."""
        vector = await self._embeddings.of_query(caller, collection, query.text)
        if not query.earlier:
            return vector
        for text, weight in query.earlier:
            vector = vector + np.float32(weight) * await self._embeddings.of_query(caller, collection, text)
        return vector / max(float(np.linalg.norm(vector)), 1e-9)


def _by_words(index: WordIndex, query: Query) -> Scores:
    principals = frozenset(query.principals)
    scores = index.words.scores(index.analyzer.terms(query.text), principals)
    for text, weight in query.earlier:
        earlier = index.words.scores(index.analyzer.terms(text), principals)
        scores = msgspec.structs.replace(scores, values=scores.values + np.float32(weight) * earlier.values)
    return scores


async def _gather(reading: Reading, query: Query, scores: Scores, vector: str | None, depth: int) -> list[Candidate]:
    """Read the best candidates of each kind that is wanted."""
    near = [] if vector is None else await reading.nearest(vector, depth)
    by_words = scores.best(depth) if query.mode != "dense" else []
    found = {each.chunk_id: each for each in await reading.candidates(dict.fromkeys([*near, *by_words]), vector)}
    kept, read = sum(chunk_id in found for chunk_id in by_words), len(by_words)
    # A filter, or a document that is new or gone, may leave too few: look further down, in ever larger steps.
    while by_words and kept < depth and read < _MOST_READ:
        by_words = scores.best(4 * read, after=read)
        more = {each.chunk_id: each for each in await reading.candidates(by_words, vector)}
        wanted = [chunk_id for chunk_id in by_words if chunk_id in more][: depth - kept]
        found |= {chunk_id: more[chunk_id] for chunk_id in wanted}
        kept, read = kept + len(wanted), read + len(by_words)
    return list(found.values())


def _rank(
    query: Query, index: WordIndex, scores: Scores, vector: Vector | None, found: Sequence[Candidate]
) -> list[Candidate]:
    """Order candidates by the mode's score, the best first; by age where they are equal."""
    if not found:
        return []
    lexical = scores.of([each.chunk_id for each in found])
    cosines = np.array([each.cosine for each in found], dtype=np.float32)
    if query.mode == "hybrid" and vector is not None:
        values = fuse(
            Evidence(
                lexical=lexical,
                cosines=cosines,
                all_lexical=scores.values,
                some_cosines=index.sample.cosines(vector, query.principals),
            )
        )
    else:
        values = lexical if query.mode == "lexical" else cosines
    scored = [
        msgspec.structs.replace(each, score=float(value))
        for each, value, words in zip(found, values, lexical, strict=True)
        if query.mode != "lexical" or words > 0
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
