"""Hybrid search and search by words, measured on sets of the shared data beside bm25s, dense and plain RRF of both."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import bm25s  # pyright: ignore[reportMissingTypeStubs]
import numpy as np
import pytest
import Stemmer

from backstay.providers.local_embedder import Embedder
from backstay.retrieval.analysis import Analyzer, detect
from backstay.retrieval.evaluation import evaluate
from backstay.retrieval.fusion import Evidence, fuse
from backstay.retrieval.lexical import LexicalIndex, Words
from shared_data import shared_data

_DEPTH = 100

Scores = np.ndarray[Any, np.dtype[np.float32]]


@pytest.mark.parametrize(("name", "stemmer"), [("xquad/en", "english"), ("xquad/ar", "arabic")])
def test_words_and_hybrid_are_no_worse_than_the_baselines(name: str, stemmer: str, embedder: Embedder) -> None:
    """By nDCG@10: words within 0.005 of bm25s, hybrid at or above plain RRF; also where the model knows no Arabic."""
    corpus, queries, judged = _read(shared_data(name))
    texts = [f"{each['title'].replace('_', ' ')}\n{each['text']}" for each in corpus]
    vectors = embedder.embed(texts).vectors
    asked = embedder.embed(list(queries.values())).vectors
    ours, hybrid = _ours(texts, list(queries.values()), asked @ vectors.T)
    theirs = _bm25s(texts, list(queries.values()), stemmer)
    names = [str(each["_id"]) for each in corpus]

    def measure(scores: Sequence[Scores]) -> float:
        firsts: list[list[int]] = [np.argsort(-row)[:10].tolist() for row in scores]
        ranked = {query: [names[n] for n in first] for query, first in zip(queries, firsts, strict=True)}
        return evaluate(ranked, judged)["ndcg@10"]

    rrf = [_rrf(one, other) for one, other in zip(theirs, asked @ vectors.T, strict=True)]
    found = {"words": measure(ours), "bm25s": measure(theirs), "hybrid": measure(hybrid), "rrf": measure(rrf)}
    print(name, {measured: round(figure, 4) for measured, figure in found.items()})
    assert found["words"] >= found["bm25s"] - 0.005
    assert found["hybrid"] >= found["rrf"]


def _ours(texts: Sequence[str], queries: Sequence[str], cosines: Scores) -> tuple[list[Scores], list[Scores]]:
    """Score all texts for each query by words, and by words and meaning."""
    analyzer, index = Analyzer(detect(texts)), LexicalIndex()
    index.update([Words(chunk_id=n, terms=analyzer.terms(text), principals=None) for n, text in enumerate(texts)], [])
    words = [index.scores(analyzer.terms(query), ()).values for query in queries]
    hybrid = [
        fuse(Evidence(lexical=row, cosines=near, all_lexical=row, some_cosines=near))
        for row, near in zip(words, cosines, strict=True)
    ]
    return words, hybrid


def _bm25s(texts: Sequence[str], queries: Sequence[str], stemmer: str) -> list[Scores]:
    """Score with the library, as it is set up for the language; of each query the first 100."""
    library: Any = bm25s
    stemmers: Any = Stemmer
    options: dict[str, Any] = {"stemmer": stemmers.Stemmer(stemmer), "show_progress": False}
    options["stopwords"] = "en" if stemmer == "english" else []
    index = library.BM25(k1=1.2, b=0.75)
    index.index(library.tokenize(list(texts), **options), show_progress=False)
    asked = library.tokenize(list(queries), **options)
    found, _ = index.retrieve(asked, k=_DEPTH, show_progress=False)
    scores = [np.zeros(len(texts), dtype=np.float32) for _ in queries]
    for row, places in zip(scores, found, strict=True):
        row[places] = np.arange(_DEPTH, 0, -1)
    return scores


def _rrf(one: Scores, other: Scores) -> Scores:
    total = np.zeros(len(one), dtype=np.float32)
    for scores in (one, other):
        first = np.argsort(-scores)[:_DEPTH]
        total[first] += 1 / (61 + np.arange(len(first)))
    return total


def _read(folder: Path) -> tuple[list[dict[str, Any]], dict[str, str], Mapping[str, Mapping[str, float]]]:
    """Read a set."""
    corpus = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    asked = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]
    judged: dict[str, dict[str, float]] = {}
    for line in (folder / "qrels.tsv").read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        judged.setdefault(query, {})[document] = float(grade)
    queries = {each["_id"]: each["text"] for each in asked}
    return corpus, queries, {query: judged[query] for query in queries if query in judged}
