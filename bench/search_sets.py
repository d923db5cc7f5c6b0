"""Owns searches of the labelled sets without a server: the scores that a hybrid search gives, and what is relevant."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from backstay.providers.local_embedder import Embedder
from backstay.retrieval.analysis import Analyzer, detect
from backstay.retrieval.fusion import Evidence, Floats, fuse
from backstay.retrieval.lexical import LexicalIndex, Words

SETS = ("codebases", "cranfield", "xquad/en", "xquad/de", "xquad/zh", "xquad/ar")
_SAMPLE = 512
"""As many cosines as a worker takes for what is usual."""


Weighted = Sequence[tuple[str, float]]


class LabelledSet(msgspec.Struct, frozen=True, kw_only=True):
    """A set in BEIR's layout."""

    names: Sequence[str]
    texts: Sequence[str]
    queries: Mapping[str, str]
    judged: Mapping[str, frozenset[str]]
    """The relevant documents of each query."""


class Searched(msgspec.Struct, frozen=True, kw_only=True):
    """What a search found first."""

    places: Sequence[int]
    scores: Sequence[float]


def read_set(folder: Path, most: int) -> LabelledSet:
    """Read a set, and so many of its judged queries at most, spread over all of them."""
    corpus = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    asked = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]
    judged: dict[str, set[str]] = {}
    for line in (folder / "qrels.tsv").read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        if float(grade) > 0:
            judged.setdefault(query, set()).add(document)
    known = [each for each in asked if each["_id"] in judged]
    chosen = known[:: max(1, len(known) // most)][:most]
    return LabelledSet(
        names=[str(each["_id"]) for each in corpus],
        texts=[f"{each['title'].replace('_', ' ')}\n{each['text']}" for each in corpus],
        queries={each["_id"]: each["text"] for each in chosen},
        judged={each["_id"]: frozenset(judged[each["_id"]]) for each in chosen},
    )


def search(
    texts: Sequence[str], queries: Sequence[Weighted], vectors: Floats, asked: Floats, *, limit: int
) -> list[Searched]:
    """Search texts by each query as a worker does, hybrid, and return the best of each.

    Args:
        queries: What is asked, and what was asked before, each with its weight.
        vectors: Of the texts, one a row, of length 1.
        asked: Of the queries.
    """
    analyzer, index = Analyzer(detect(texts)), LexicalIndex()
    index.update([Words(chunk_id=n, terms=analyzer.terms(text), principals=None) for n, text in enumerate(texts)], [])
    some = np.random.default_rng(0).permutation(len(texts))[:_SAMPLE]
    found: list[Searched] = []
    for query, vector in zip(queries, asked, strict=True):
        words = np.zeros(len(texts), dtype=np.float32)
        for text, weight in query:
            words += np.float32(weight) * index.scores(analyzer.terms(text), ()).values
        near = vectors @ vector
        scores = fuse(Evidence(lexical=words, cosines=near, all_lexical=words, some_cosines=near[some]))
        best: list[int] = np.argsort(-scores, kind="stable")[:limit].tolist()
        found.append(Searched(places=best, scores=[float(scores[place]) for place in best]))
    return found


def embed(embedder: Embedder, texts: Sequence[str], cache: Path | None) -> npt.NDArray[np.float32]:
    """Embed texts, or read what was kept of the same call."""
    if cache is not None and cache.is_file():
        kept: npt.NDArray[np.float32] = np.load(cache)
        if len(kept) == len(texts):
            return kept
    vectors = embedder.embed(texts).vectors
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        np.save(cache, vectors)
    return vectors
