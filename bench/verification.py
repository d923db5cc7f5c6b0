"""Owns ``python -m bench verification``: how well sentences are held against passages, and the learning of it.

Printed is what is seen on claims of other documents than those that were learnt from or chosen on, beside two baselines
whose thresholds were chosen on the same claims: the cosine of the nearest sentence, and the share of word pairs that
one sentence has.
"""

import math
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np

from backstay.providers.local_embedder import Embedder
from backstay.providers.local_types import embedding_tokenizer, embedding_weights
from backstay.retrieval.alignment import FEATURES
from backstay.retrieval.analysis import Analyzer
from backstay.retrieval.chunking import sentences
from backstay.retrieval.classifier import Classifier, Weights
from backstay.retrieval.support import Verifier
from backstay.retrieval.types import Found
from backstay.statistics.reliability import calibration_error, reliability
from bench import training
from bench.claims import Claim, Part, read_supported
from bench.planted import kinds_of, plant
from bench.retrieval_plots import draw_verification
from bench.scores import Floats, best_threshold, judge
from bench.search_sets import embed
from bench.targets import Check

DATA = Path(__file__).parents[2] / "shared" / "data"
WEIGHTS = Path(__file__).parents[1] / "src" / "backstay" / "retrieval" / "support.json"
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "verification.svg"
NEVER = ("number", "unit", "date", "negation", "name")
"""Planted changes of facts: of a claim that is found to be supported, not one may pass, whatever else is like it."""
_BASELINES = ("word pairs", "cosine")
_LONGEST_MS = 20.0
_SAMPLE = 400
"""Claims of each part whose cosines are computed: each takes some twenty sentences to the embedding model."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What one way of checking comes to, on claims that nothing was chosen on."""

    precision: float
    recall: float
    f1: float
    calibration_error: float | None
    claims: int


def main(*, data: Path, train: bool, is_json: bool, cache: Path | None = None) -> int:
    """Measure, print, and draw; 1 where a planted fact passes, or a sentence takes too long."""
    supported = read_supported(data)
    claims = [*supported, *plant(supported)]
    parts: dict[Part, list[Claim]] = {"train": [], "choose": [], "test": []}
    for claim in claims:
        parts[claim.part].append(claim)
    began = time.perf_counter()
    examples = {part: examples_of(each) for part, each in parts.items()}
    per_sentence_ms = 1000 * (time.perf_counter() - began) / len(claims)
    if train:
        weights = training.learn(examples["train"], examples["choose"])
        WEIGHTS.write_bytes(msgspec.json.encode(weights) + b"\n")
    classifier = Classifier(msgspec.json.decode(WEIGHTS.read_bytes(), type=Weights))
    told = training.score(classifier, examples["test"])
    labels = np.array([claim.supported for claim in parts["test"]])
    ours = judge(labels, told, classifier.threshold)
    figures = {
        "backstay": Figures(
            precision=ours.precision, recall=ours.recall, f1=ours.f1, claims=len(labels),
            calibration_error=calibration_error(told.tolist(), labels.tolist()),
        ),
        **{name: _baseline(name, parts, cache) for name in _BASELINES},
    }  # fmt: skip
    passed = {kind: (int((_scores(told, parts["test"], kind) >= classifier.threshold).sum()), len(each))
              for kind, each in kinds_of(parts["test"])}  # fmt: skip
    passing_facts = false_facts(
        classifier,
        [claim for each in parts.values() for claim in each],
        [e for each in examples.values() for e in each],
    )
    true_kinds = {claim.kind for claim in supported}
    draw_verification(figures, passed, true_kinds, reliability(told.tolist(), labels.tolist()), PICTURE)
    checks = [
        Check(name="planted numbers, units, dates, names and denials that pass", limit=0, unit="",
              value=len(passing_facts)),
        Check(name="a sentence takes", value=per_sentence_ms, limit=_LONGEST_MS, unit="ms"),
        Check(name="F1 over the better baseline's", value=ours.f1 - max(figures[name].f1 for name in _BASELINES),
              limit=0, unit="", at_least=True),
    ]  # fmt: skip
    _print(figures, passed, checks, is_json=is_json)
    return 0 if all(check.passed for check in checks) else 1


def examples_of(claims: Sequence[Claim]) -> list[training.Example]:
    analyzer = Analyzer("en")
    verifiers: dict[tuple[str, ...], Verifier] = {}
    found: list[training.Example] = []
    for claim in claims:
        if claim.passages not in verifiers:
            verifiers[claim.passages] = Verifier(analyzer, [_as_found(text) for text in claim.passages])
        compared = verifiers[claim.passages].compared(claim.text)
        rows = [each.features for each in compared]
        places = np.array(rows) if rows else np.zeros((0, len(FEATURES)))
        where = tuple(hash((each.place.passage.text, each.place.start)) for each in compared)
        found.append(training.Example(places=places, supported=claim.supported, where=where))
    return found


def false_facts(classifier: Classifier, claims: Sequence[Claim], examples: Sequence[training.Example]) -> list[Claim]:
    """Return planted changes of facts that pass by a place by which the claim passes as it was."""

    def good(example: training.Example) -> set[int]:
        if not example.where:
            return set()
        passing = classifier.probabilities(example.places) >= classifier.threshold
        return {place for place, is_good in zip(example.where, passing.tolist(), strict=True) if is_good}

    passing = {(claim.text, claim.passages): good(each) for claim, each in zip(claims, examples, strict=True)}
    return [
        claim
        for claim in claims
        if claim.kind in NEVER
        and not passing[claim.text, claim.passages].isdisjoint(passing.get((claim.origin, claim.passages), ()))
    ]


def _as_found(text: str) -> Found:
    return Found(external_id="", chunk_id="", text=text, score=0.0, relevance=None, start=0, end=len(text))


def _scores(told: Floats, claims: Sequence[Claim], kind: str) -> Floats:
    return told[[n for n, claim in enumerate(claims) if claim.kind == kind]]


def _baseline(name: str, parts: dict[Part, list[Claim]], cache: Path | None) -> Figures:
    """Measure what others do, its threshold chosen where ours was."""
    chosen, shown = parts["choose"], parts["test"]
    if name == "cosine":
        chosen, shown = (_some(each) for each in (chosen, shown))
        scores = _cosines([*chosen, *shown], cache and cache / "verification.npy")
    else:
        scores = np.array([max(_pairs_in(claim.text, text) for text in _cut(claim)) for claim in [*chosen, *shown]])
    labels = np.array([claim.supported for claim in [*chosen, *shown]])
    size = len(chosen)
    judged = judge(labels[size:], scores[size:], best_threshold(labels[:size], scores[:size]))
    return Figures(
        precision=judged.precision, recall=judged.recall, f1=judged.f1, calibration_error=None, claims=len(shown)
    )


def _some(claims: Sequence[Claim]) -> list[Claim]:
    return list(claims[:: math.ceil(len(claims) / _SAMPLE)])


def _cut(claim: Claim) -> list[str]:
    return [text[start:end] for text in claim.passages for start, end in sentences(text)] or [""]


def _cosines(claims: Sequence[Claim], cache: Path | None) -> Floats:
    """Return how near to each claim the nearest sentence of its passages is, by the local embedding model."""
    embedder = Embedder(embedding_weights(), embedding_tokenizer(), threads=1)
    texts = sorted({text for claim in claims for text in (claim.text, *_cut(claim))}, key=len)
    vectors = dict(zip(texts, embed(embedder, texts, cache), strict=True))
    return np.array([max(float(vectors[claim.text] @ vectors[text]) for text in _cut(claim)) for claim in claims])


def pair_overlap(claim: Claim) -> float:
    """Return the largest share of a claim's word pairs that one sentence of its passages has."""
    return max(_pairs_in(claim.text, text) for text in _cut(claim))


def _pairs_in(claim: str, text: str) -> float:
    """Return the share of a claim's pairs of neighbouring words that a text has (ROUGE-2's recall, of the claim)."""
    told, held = (set(pairwise(each.casefold().split())) for each in (claim, text))
    return len(told & held) / max(len(told), 1)


def _print(
    figures: dict[str, Figures], passed: dict[str, tuple[int, int]], checks: Sequence[Check], *, is_json: bool
) -> None:
    if is_json:
        shown = {"figures": figures, "passed": passed, "checks": checks}
        print(msgspec.json.encode(shown).decode())
        return
    print(f"{'':12} {'F1':>7} {'precision':>10} {'recall':>7} {'ECE':>7} {'claims':>7}")
    for name, each in figures.items():
        error = "" if each.calibration_error is None else f"{each.calibration_error:.3f}"
        print(f"{name:12} {each.f1:7.3f} {each.precision:10.3f} {each.recall:7.3f} {error:>7} {each.claims:7}")
    print("\ntaken for supported, by kind of claim")
    for kind, (taken, of) in passed.items():
        print(f"  {kind:14} {taken:5} of {of:5}  {taken / of:6.1%}")
    print()
    for check in checks:
        print(
            f"{'ok  ' if check.passed else 'FAIL'} {check.name}: {check.value:.3g}{check.unit} (limit {check.limit:g})"
        )
