"""Owns a large collection to search: real passages many times, each with other words and in another direction."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from backstay.providers.local_embedder import Embedder
from backstay.retrieval import Collections, NewDocument, RetrievalStore, Settings
from backstay.retrieval.analysis import Analyzer
from backstay.retrieval.chunking import cut
from backstay.retrieval.embeddings import text_hash
from backstay.retrieval.store import ChunkRow, literal
from backstay.retrieval.types import Chunking
from backstay.store import Database

NAME = "large"
TENANT = "default"
GROUPS = 50
"""Of people: a fifth of the documents is read by one of them alone."""
PARTS = 100
"""Values of the field ``part``, each with a hundredth of the documents."""
_PASSAGES = 2000
"""That are embedded; all others are made of them."""
_PER_DOCUMENT = 4
_BATCH = 500
_DROPPED = 0.25
"""The share of words that a copy lacks."""
_TURNED = 0.6
"""The length of what is added to the direction of a copy's vector, whose own length is 1."""
_SETS = ("cranfield", "codebases", "xquad/en")

Vectors = npt.NDArray[np.float32]


class Large(msgspec.Struct, frozen=True, kw_only=True):
    """What was put into the collection, one entry a chunk, in the order of their ids."""

    vectors: Vectors
    """As Postgres keeps them, at half precision."""
    group: npt.NDArray[np.int64]
    """Who may read it; -1: everybody."""
    part: npt.NDArray[np.int64]


def passages(data: Path) -> list[str]:
    """Cut the texts of the labelled sets."""
    texts = [
        json.loads(line)["text"] for name in _SETS for line in (data / name / "corpus.jsonl").read_text().splitlines()
    ]
    texts += [file.read_text() for file in sorted((data / "chunking" / "documents").glob("*.md"))]
    cuts = [
        text[piece.start : piece.end]
        for text in texts
        for piece in cut(text, Chunking(max_chars=800), media_type="text/plain")
    ]
    return cuts[:: max(1, len(cuts) // _PASSAGES)][:_PASSAGES]


def copies(texts: Sequence[str], vectors: Vectors, chunks: int) -> tuple[Iterator[str], Vectors]:
    """Return so many passages, each with words of its own left out, and their vectors, each turned at random."""
    chance = np.random.default_rng(5)
    turned = vectors[np.arange(chunks) % len(vectors)]
    noise = chance.normal(size=turned.shape).astype(np.float32)
    turned = turned + _TURNED * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)

    def written() -> Iterator[str]:
        for number in range(chunks):
            words = texts[number % len(texts)].split()
            yield " ".join(
                word for word, drawn in zip(words, chance.random(len(words)), strict=True) if drawn > _DROPPED
            )

    return written(), turned.astype(np.float16).astype(np.float32)


async def fill_collection(database: Database, embedder: Embedder, data: Path, chunks: int) -> Large:
    """Put so many chunks into a new collection, whose index of vectors is there in the end."""
    store, base = RetrievalStore(database), passages(data)
    print(f"  {len(base):,} passages are embedded", file=sys.stderr, flush=True)
    written, vectors = copies(base, embedder.embed(base).vectors, chunks)
    await Collections(store).create(TENANT, NAME, Settings(language="en"))
    collection, analyzer = await store.find(TENANT, NAME), Analyzer("en")
    documents = -(-chunks // _PER_DOCUMENT)
    chance = np.random.default_rng(7)
    group = np.where(chance.random(documents) < 0.2, chance.integers(GROUPS, size=documents), -1)
    part = chance.integers(PARTS, size=documents)
    texts = list(written)
    for start in range(0, documents, _BATCH):
        numbers = range(start, min(start + _BATCH, documents))
        kept, rows = list[NewDocument](), list[ChunkRow]()
        for number in numbers:
            own = texts[number * _PER_DOCUMENT : (number + 1) * _PER_DOCUMENT]
            readers = None if group[number] < 0 else (f"group:{group[number]}",)
            kept.append(
                NewDocument(
                    external_id=f"{number:07d}", text="\n\n".join(own), principals=readers,
                    metadata={"part": int(part[number]), "year": 2000 + number % 25},
                )
            )  # fmt: skip
            rows += _rows(number, own, vectors, analyzer, readers)
        hashes = {each.external_id: text_hash(each.text).hex() for each in kept}
        await store.put(collection, kept, hashes, {collection.generation: rows})
        print(f"\r  {min((start + _BATCH) * _PER_DOCUMENT, chunks):,} of {chunks:,} chunks", end="", file=sys.stderr)
    print("\n  the index of vectors is built", file=sys.stderr, flush=True)
    await store.index_vectors(collection, from_chunks=0)
    owner = np.arange(chunks) // _PER_DOCUMENT
    return Large(vectors=vectors, group=group[owner], part=part[owner])


def _rows(
    number: int, texts: Sequence[str], vectors: Vectors, analyzer: Analyzer, readers: Sequence[str] | None
) -> Iterator[ChunkRow]:
    start = 0
    for ordinal, text in enumerate(texts):
        yield ChunkRow(
            external_id=f"{number:07d}", ordinal=ordinal, starts_at=start, ends_at=start + len(text), page=None,
            heading="", text_hash=text_hash(f"{number} {ordinal} {text}"), terms=" ".join(analyzer.terms(text)),
            principals=readers, embedding=literal(vectors[number * _PER_DOCUMENT + ordinal]),
        )  # fmt: skip
        start += len(text) + 2
