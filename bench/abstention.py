"""Owns ``python -m bench abstention``: whether wrong answers keep below what is wanted, on conversations of ``mtrag``.

The passages of all tasks are searched, by collection. An answer is wrong where people said that none of them answers,
or where what is found has none of the passages that do. Conversations are in three parts: how evidence is weighed is
learnt from one (there also without the passages that answer, so that there are as many examples of either kind), the
threshold is chosen on another, and what comes of it is shown on the third; then both are shuffled and divided anew many
times, as the promise is of the mean. Questions that ask for too little to be answered are counted apart: the passages
hold answers to what they may mean.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from backstay.providers.local_embedder import Embedder
from backstay.providers.local_types import embedding_tokenizer, embedding_weights
from backstay.retrieval.analysis import Analyzer
from backstay.retrieval.conversation import earlier_questions
from backstay.retrieval.evidence import FEATURES, Example, Weights, describe
from backstay.retrieval.fusion import Floats
from backstay.retrieval.types import Found, Turn
from backstay.statistics import upper_bound
from backstay.statistics.conformal import control_risk
from bench.claims import conversations, read_lines
from bench.retrieval_plots import draw_lines
from bench.search_sets import embed, search
from bench.targets import Check

WEIGHTS = Path(__file__).parents[1] / "src" / "backstay" / "retrieval" / "evidence.json"
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "abstention.svg"
RATES = (0.02, 0.05, 0.1, 0.15, 0.2)
_SHOWN_RATE = 0.1
_CONFIDENCE = 0.95
_LIMIT = 10
_DECAY = 3.0
_SPLITS = 500

Part = Literal["learn", "choose", "show"]


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A question of a conversation, and what was found for it."""

    features: list[float]
    wrong: bool
    underspecified: bool
    part: Part
    has_passages: bool
    """False: it was searched without the passages that answer it, to learn from."""


def main(*, data: Path, train: bool, is_json: bool, cache: Path | None = None) -> int:
    """Measure, print, and draw; 1 where more answers are wrong than the bound allows."""
    cases = list(_cases(data / "mtrag", cache))
    if train:
        _learn(cases)
    weights = msgspec.json.decode(WEIGHTS.read_bytes(), type=Weights)
    shown = [case for case in cases if case.part == "show" and case.has_passages]
    clear = [case for case in shown if not case.underspecified]
    lines = [_at(weights, rate, clear) for rate in RATES]
    means = [_mean_of_splits(weights, rate, clear) for rate in RATES]
    ranking = _ranking([_score(weights, case) for case in clear], [case.wrong for case in clear])
    asked_too_little = [_score(weights, case) for case in shown if case.underspecified]
    chosen = next(line for line in lines if line.rate == _SHOWN_RATE)
    checks = [
        *(Check(name=f"wrong answers where {line.rate:.0%} are allowed", value=100 * line.wrong / line.questions,
                limit=100 * line.rate, unit="%") for line in lines),
        *(Check(name=f"the same, at the mean of {_SPLITS} divisions", value=100 * mean, limit=100 * rate, unit="%")
          for mean, rate in zip(means, RATES, strict=True)),
    ]  # fmt: skip
    draw_lines(
        {
            "answered wrongly": [(line.rate, line.wrong / line.questions) for line in lines],
            "answered": [(line.rate, line.answered / line.questions) for line in lines],
        },
        title="mtrag, conversations not calibrated on",
        across="wrong answers allowed", up="share of questions", file=PICTURE,
    )  # fmt: skip
    if is_json:
        print(msgspec.json.encode({"lines": lines, "auc": ranking, "checks": checks}).decode())
    else:
        _print(lines, ranking, asked_too_little, chosen.threshold)
        for check in checks:
            print(f"{'ok  ' if check.passed else 'FAIL'} {check.name}: {check.value:.1f}% (limit {check.limit:g})")
    return 0 if all(check.passed for check in checks) else 1


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What comes of one wanted rate of wrong answers."""

    rate: float
    threshold: float
    questions: int
    unanswerable: int
    answered: int
    wrong: int


def _at(weights: Weights, rate: float, cases: Sequence[Case]) -> Line:
    scores, wrong = [score for score, _ in weights.examples], [is_wrong for _, is_wrong in weights.examples]
    threshold = control_risk(scores, wrong, rate=rate).threshold
    answered = [case for case in cases if _score(weights, case) >= threshold]
    return Line(
        rate=rate, threshold=threshold, questions=len(cases), unanswerable=sum(case.wrong for case in cases),
        answered=len(answered), wrong=sum(case.wrong for case in answered),
    )  # fmt: skip


def _mean_of_splits(weights: Weights, rate: float, shown: Sequence[Case]) -> float:
    """Return the mean share of wrong answers where thresholds are chosen on one half of the questions, by chance."""
    examples = [*weights.examples, *((_score(weights, case), case.wrong) for case in shown)]
    chance, shares = np.random.default_rng(0), list[float]()
    for _ in range(_SPLITS):
        order: list[int] = chance.permutation(len(examples)).tolist()
        half = len(order) // 2
        chosen, seen = [examples[n] for n in order[:half]], [examples[n] for n in order[half:]]
        threshold = control_risk([score for score, _ in chosen], [wrong for _, wrong in chosen], rate=rate).threshold
        shares.append(sum(wrong for score, wrong in seen if score >= threshold) / len(seen))
    return float(np.mean(shares))


def _cases(folder: Path, cache: Path | None) -> Iterator[Case]:
    tasks = read_lines(folder / "tasks.jsonl")
    groups = conversations(tasks)
    embedder = Embedder(embedding_weights(), embedding_tokenizer(), threads=1)
    analyzer = Analyzer("en")
    by_collection: dict[str, list[int]] = defaultdict(list)
    for number, task in enumerate(tasks):
        by_collection[task["collection"]].append(number)
    for name, numbers in by_collection.items():
        pool = {passage["id"]: passage["text"] for n in numbers for passage in tasks[n]["passages"]}
        texts, ids = list(pool.values()), list(pool)
        asked = [_asked(tasks[n]) for n in numbers]
        vectors = embed(embedder, texts, cache and cache / f"mtrag-{name}-texts.npy")
        directions = _directions(embedder, asked, cache and cache / f"mtrag-{name}-queries.npy")
        rankings = search(texts, asked, vectors, directions, limit=len(texts))
        for n, query, ranked in zip(numbers, asked, rankings, strict=True):
            own = {passage["id"] for passage in tasks[n]["passages"]}
            found = [_as_found(texts[p], score) for p, score in zip(ranked.places, ranked.scores, strict=True)]
            is_own = [ids[place] in own for place in ranked.places]
            part = _part_of(groups[n])
            for has_passages in (True, False) if own and part == "learn" else (True,):
                kept = [each for each, mine in zip(found, is_own, strict=True) if has_passages or not mine][:_LIMIT]
                yield Case(
                    features=describe(analyzer, query[0][0], kept),
                    wrong=not has_passages or not any(is_own[:_LIMIT]),
                    underspecified=tasks[n]["answerability"] == ["UNDERSPECIFIED"],
                    part=part,
                    has_passages=has_passages,
                )


def _asked(task: dict[str, Any]) -> list[tuple[str, float]]:
    turns = [Turn(role=turn["role"], content=turn["content"][:20_000]) for turn in task["history"]]
    return [(task["question"], 1.0), *earlier_questions(turns)]


def _directions(embedder: Embedder, asked: Sequence[Sequence[tuple[str, float]]], cache: Path | None) -> Floats:
    texts = [text for query in asked for text, _ in query]
    vectors, place = embed(embedder, texts, cache), 0
    found = np.zeros((len(asked), vectors.shape[1]), dtype=np.float32)
    for row, query in enumerate(asked):
        for _, weight in query:
            found[row] += np.float32(weight) * vectors[place]
            place += 1
        found[row] /= np.linalg.norm(found[row])
    return found


def _as_found(text: str, score: float) -> Found:
    return Found(external_id="", chunk_id="", text=text, score=score, relevance=None, start=0, end=len(text))


def _part_of(group: str) -> Part:
    place = hashlib.sha256(group.encode()).digest()[1] / 256
    return "learn" if place < 0.34 else "choose" if place < 0.67 else "show"


def _score(weights: Weights, case: Case) -> float:
    odds = weights.start + float(np.dot(weights.weights, case.features))
    return float(1 / (1 + np.exp(-odds)))


def _learn(cases: Sequence[Case]) -> None:
    """Fit the log odds that the passages hold an answer, as a sum of the features, with a penalty on large weights."""
    learnt = [case for case in cases if case.part == "learn" and not case.underspecified]
    rows = np.array([case.features for case in learnt])
    labels = np.array([not case.wrong for case in learnt], dtype=float)
    mean, scale = rows.mean(0), rows.std(0) + 1e-9
    inputs = np.hstack([(rows - mean) / scale, np.ones((len(rows), 1))])
    fitted = np.zeros(len(FEATURES) + 1)
    penalty = _DECAY * np.diag(np.array([1.0] * len(FEATURES) + [0.0]))
    for _ in range(50):
        told = 1 / (1 + np.exp(-inputs @ fitted))
        slope = inputs.T @ (told - labels) + penalty @ fitted
        bend = (inputs * (told * (1 - told))[:, None]).T @ inputs + penalty
        fitted = fitted - np.linalg.solve(bend, slope)
    by_feature: list[float] = (fitted[:-1] / scale).tolist()
    start = float(fitted[-1]) - float(np.dot(by_feature, mean))
    weights = Weights(
        features=FEATURES,
        weights=[float(f"{value:.5g}") for value in by_feature],
        start=float(f"{start:.5g}"),
        examples=[],
    )
    chosen = [case for case in cases if case.part == "choose" and not case.underspecified]
    examples: list[Example] = [(round(_score(weights, case), 5), case.wrong) for case in chosen]
    WEIGHTS.write_bytes(msgspec.json.encode(msgspec.structs.replace(weights, examples=examples)) + b"\n")


def _ranking(scores: Sequence[float], wrong: Sequence[bool]) -> float:
    """Return how often a question whose answer would be right is told more evidence than one that has none."""
    right = [score for score, is_wrong in zip(scores, wrong, strict=True) if not is_wrong]
    none = [score for score, is_wrong in zip(scores, wrong, strict=True) if is_wrong]
    return float(np.mean([(one > other) + 0.5 * (one == other) for one in right for other in none]))


def _print(lines: Sequence[Line], ranking: float, asked_too_little: Sequence[float], threshold: float) -> None:
    first = lines[0]
    print(
        f"{first.questions} questions, {first.unanswerable} of them not to be answered; evidence ranks {ranking:.3f}\n"
    )
    bound = f"at most, {_CONFIDENCE:.0%} sure"
    print(f"{'allowed':>8} {'evidence':>9} {'answered':>9} {'wrong':>6} {'of all':>7} {bound:>20}")
    for line in lines:
        most = upper_bound(line.wrong, line.questions, _CONFIDENCE)
        share = line.wrong / line.questions
        print(f"{line.rate:8.0%} {line.threshold:9.3f} {line.answered:9} {line.wrong:6} {share:7.1%}"
              f" {most:20.1%}")  # fmt: skip
    answered = sum(score >= threshold for score in asked_too_little)
    print(f"\nOf {len(asked_too_little)} that ask for too little, {answered} are answered.\n")
