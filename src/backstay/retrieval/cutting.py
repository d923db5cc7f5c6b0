"""Owns the cutting of a collection's documents, with what models are asked for it: nothing is asked twice."""

import asyncio
import hashlib
import itertools
from collections.abc import Sequence

import msgspec

from backstay.core.caller import Caller
from backstay.core.ports import ModelCalls
from backstay.retrieval.chunking import Section, cut, put_together, sections
from backstay.retrieval.contexts import Contexts
from backstay.retrieval.embeddings import Embeddings
from backstay.retrieval.store import RetrievalStore
from backstay.retrieval.types import Collection, Memo, NewDocument, Piece

_PAIRS_AT_ONCE = 2048
"""Neighbours whose vectors are held at a time."""


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk of a document, not embedded yet."""

    document: NewDocument
    ordinal: int
    piece: Piece
    context: str = ""
    """What is indexed with it, and never shown."""
    memo: Memo = {}


class Cutting:
    """Cuts documents as their collections say."""

    def __init__(self, store: RetrievalStore, embeddings: Embeddings, calls: ModelCalls):
        self._store = store
        self._embeddings = embeddings
        self._contexts = Contexts(calls)

    async def cut(self, caller: Caller, collection: Collection, documents: Sequence[NewDocument]) -> list[Chunk]:
        """Cut documents; what models said when they were cut before is not asked again.

        Raises:
            BackstayError: What the calls of the models may end with, or the strategy needs what is not installed.
        """
        chunking = collection.chunking
        known: Memo = {}
        if chunking.strategy == "semantic" or chunking.context_model is not None:
            known = await self._store.memos(collection, [document.external_id for document in documents])
        chunks: list[Chunk] = []
        for document in documents:
            if chunking.strategy == "semantic":
                made = await self._by_meaning(caller, collection, document, known)
            else:
                made = await asyncio.to_thread(_by_itself, document, collection)
            if chunking.context_model is not None:
                made = await self._in_context(caller, collection, document, made, known)
            chunks += made
        return chunks

    async def _by_meaning(
        self, caller: Caller, collection: Collection, document: NewDocument, known: Memo
    ) -> list[Chunk]:
        chunking = collection.chunking
        drawn = await asyncio.to_thread(sections, document.text, chunking, document.media_type)
        hashes = [_pairs(document.text, section, chunking.max_chars, collection.embedding_model) for section in drawn]
        memo: dict[str, float] = {}
        missing: dict[str, tuple[str, str]] = {}
        for section, row in zip(drawn, hashes, strict=True):
            for number, pair in enumerate(row):
                if pair in known:
                    memo[pair] = float(known[pair])
                else:
                    one, two = section.parts[number], section.parts[number + 1]
                    missing[pair] = document.text[slice(*one)], document.text[slice(*two)]
        memo |= await self._compare(caller, collection, missing)
        likeness = [[memo[pair] for pair in row] for row in hashes]
        pieces = put_together(
            document.text, drawn, chunking, page_starts=document.page_starts, likeness=likeness
        )  # fmt: skip
        ends = [
            (section.parts[number][1], pair)
            for section, row in zip(drawn, hashes, strict=True)
            for number, pair in enumerate(row)
        ]
        return _remembered(document, pieces, ends, memo)

    async def _compare(
        self, caller: Caller, collection: Collection, missing: dict[str, tuple[str, str]]
    ) -> dict[str, float]:
        """Return how alike pairs of texts are: the cosines of their vectors."""
        likeness: dict[str, float] = {}
        pairs = list(missing.items())
        for start in range(0, len(pairs), _PAIRS_AT_ONCE):
            some = pairs[start : start + _PAIRS_AT_ONCE]
            texts = list(dict.fromkeys(text for _, pair in some for text in pair))
            vectors = await self._embeddings.of_parts(caller, collection, texts)
            by_text = dict(zip(texts, vectors, strict=True))
            likeness |= {asked: round(float(by_text[one] @ by_text[two]), 4) for asked, (one, two) in some}
        return likeness

    async def _in_context(
        self, caller: Caller, collection: Collection, document: NewDocument, chunks: Sequence[Chunk], known: Memo
    ) -> list[Chunk]:
        pieces = [chunk.piece for chunk in chunks]
        told = await self._contexts.of_pieces(caller, collection, document, pieces, known)
        return [
            msgspec.structs.replace(chunk, context=context, memo={**chunk.memo, asked: context})
            for chunk, (asked, context) in zip(chunks, told, strict=True)
        ]


def _by_itself(document: NewDocument, collection: Collection) -> list[Chunk]:
    pieces = cut(
        document.text, collection.chunking, media_type=document.media_type, page_starts=document.page_starts
    )  # fmt: skip
    return [Chunk(document=document, ordinal=number, piece=piece) for number, piece in enumerate(pieces)]


def _pairs(text: str, section: Section, most: int, model: str) -> list[str]:
    """Return the hashes of a section's neighbouring parts; none where it is one chunk anyway."""
    if section.parts[-1][1] - section.parts[0][0] <= most:
        return []
    parts = [text[start:end] for start, end in section.parts]
    asked = ("\x00".join((model, *pair)) for pair in itertools.pairwise(parts))
    return [hashlib.sha256(each.encode("utf-8", "surrogatepass")).hexdigest()[:32] for each in asked]


def _remembered(
    document: NewDocument, pieces: Sequence[Piece], ends: Sequence[tuple[int, str]], memo: Memo
) -> list[Chunk]:
    """Give each chunk what was learnt of the parts that end within it."""
    chunks: list[Chunk] = []
    at = 0
    for number, piece in enumerate(pieces):
        own: dict[str, float | str] = {}
        while at < len(ends) and ends[at][0] <= piece.end:
            own[ends[at][1]] = memo[ends[at][1]]
            at += 1
        chunks.append(Chunk(document=document, ordinal=number, piece=piece, memo=own))
    return chunks
