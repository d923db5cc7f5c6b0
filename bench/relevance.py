"""Owns ``python -m bench relevance``: how far the relevance that is told is off, without labels and with some.

Of each labelled set the first ten results of some queries are judged. Without labels a collection goes by a curve that
was fitted to other sets; here that is fitted to all sets but the one that is shown. With labels, half of the queries
are labels, and the other half is shown.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from backstay.providers.local_embedder import Embedder
from backstay.providers.local_types import embedding_tokenizer, embedding_weights
from backstay.retrieval.calibrating import Judged, fit
from backstay.retrieval.fusion import ELSEWHERE
from backstay.statistics.logistic import Curve, fit_curve
from backstay.statistics.reliability import Bin, calibration_error, reliability
from bench.retrieval_plots import draw_reliability
from bench.search_sets import SETS, embed, read_set, search
from bench.targets import Check

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "relevance.svg"
_QUERIES = 150
_RESULTS = 10
_FEW = 20
"""Labelled queries, of which there may be no more."""
_SHRINKS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """Calibration errors on the queries of a set that nothing was fitted to."""

    name: str
    results: int
    relevant: float
    without: float
    """By a curve fitted to the other sets."""
    by_few: float
    by_half: float


def main(*, data: Path, is_json: bool, cache: Path | None = None) -> int:
    """Measure, print, and draw; 1 where labels do not lessen the error at the mean."""
    judged = {name: _judged(data / name, name, cache) for name in SETS}
    lines = [_line(name, judged) for name in SETS]
    pooled, shrink = _elsewhere(judged)
    draw_reliability({name: _bins(name, judged) for name in SETS}, PICTURE)
    means = {
        field: sum(getattr(line, field) for line in lines) / len(lines) for field in ("without", "by_few", "by_half")
    }
    checks = [
        Check(name=f"error with {_FEW} labelled queries, of that without", value=means["by_few"] / means["without"],
              limit=1, unit="×"),
        Check(name="error with 75 labelled queries", value=means["by_half"], limit=0.05, unit=""),
    ]  # fmt: skip
    if is_json:
        print(msgspec.json.encode({"lines": lines, "means": means, "elsewhere": pooled, "checks": checks}).decode())
    else:
        _print(lines, means, pooled, shrink)
        for check in checks:
            mark = "ok  " if check.passed else "FAIL"
            print(f"{mark} {check.name}: {check.value:.3f}{check.unit} (limit {check.limit:g})")
    return 0 if all(check.passed for check in checks) else 1


def _judged(folder: Path, name: str, cache: Path | None) -> list[list[Judged]]:
    labelled = read_set(folder, _QUERIES)
    embedder = Embedder(embedding_weights(), embedding_tokenizer(), threads=1)
    kept = name.replace("/", "-")
    vectors = embed(embedder, labelled.texts, cache and cache / f"{kept}-t.npy")
    asked = embed(embedder, list(labelled.queries.values()), cache and cache / f"{kept}-q.npy")
    queries = [[(text, 1.0)] for text in labelled.queries.values()]
    found = search(labelled.texts, queries, vectors, asked, limit=_RESULTS)
    return [
        [(score, labelled.names[place] in relevant) for place, score in zip(each.places, each.scores, strict=True)]
        for each, relevant in zip(found, labelled.judged.values(), strict=True)
    ]


def _line(name: str, judged: Mapping[str, list[list[Judged]]]) -> Line:
    own = judged[name]
    others, _ = _elsewhere({other: rows for other, rows in judged.items() if other != name})
    labels, shown = own[::2], own[1::2]
    results = [each for row in shown for each in row]
    return Line(
        name=name,
        results=len(results),
        relevant=sum(is_relevant for _, is_relevant in results) / len(results),
        without=_error(others, results),
        by_few=_error(fit([each for row in labels[:_FEW] for each in row]), results),
        by_half=_error(fit([each for row in labels for each in row]), results),
    )


def _elsewhere(judged: Mapping[str, list[list[Judged]]]) -> tuple[Curve, float]:
    """Fit one curve to sets that count the same, and draw it to their mean as far as that helps with a set unseen."""
    names = list(judged)
    losses = dict.fromkeys(_SHRINKS, 0.0)
    for left_out in names:
        curve = _pooled({name: judged[name] for name in names if name != left_out})
        results = [each for row in judged[left_out] for each in row]
        for shrink in _SHRINKS:
            losses[shrink] += _loss(_shrunk(curve, shrink), results)
    best = min(_SHRINKS, key=lambda shrink: losses[shrink])
    return _shrunk(_pooled(judged), best), best


def _pooled(judged: Mapping[str, list[list[Judged]]]) -> Curve:
    most = max(len(rows) for rows in judged.values())
    rows = [row for each in judged.values() for row in (each * math.ceil(most / len(each)))[:most]]
    results = [each for row in rows for each in row]
    return fit_curve([score for score, _ in results], [float(label) for _, label in results])


def _shrunk(curve: Curve, by: float) -> Curve:
    """Make a curve flatter around log odds of -1.5, a share of relevant results of about a fifth."""
    return Curve(start=by * curve.start - (1 - by) * 1.5, slope=by * curve.slope)


def _loss(curve: Curve, results: Sequence[Judged]) -> float:
    told = [min(max(curve.at(score), 1e-9), 1 - 1e-9) for score, _ in results]
    return -sum(math.log(t if label else 1 - t) for t, (_, label) in zip(told, results, strict=True)) / len(results)


def _error(curve: Curve, results: Sequence[Judged]) -> float:
    return calibration_error([curve.at(score) for score, _ in results], [label for _, label in results])


def _bins(name: str, judged: Mapping[str, list[list[Judged]]]) -> dict[str, list[Bin]]:
    others, _ = _elsewhere({other: rows for other, rows in judged.items() if other != name})
    own = fit([each for row in judged[name][::2] for each in row])
    results = [each for row in judged[name][1::2] for each in row]
    labels = [label for _, label in results]
    return {
        told: reliability([curve.at(score) for score, _ in results], labels)
        for told, curve in (("with labels", own), ("without", others))
    }


def _print(lines: Sequence[Line], means: Mapping[str, float], pooled: Curve, shrink: float) -> None:
    print(f"calibration error, first {_RESULTS} results of queries that nothing was fitted to\n")
    print(f"{'set':12} {'results':>8} {'relevant':>9} {'without':>8} {f'{_FEW} queries':>11} {'75 queries':>11}")
    for line in lines:
        figures = f"{line.without:8.3f} {line.by_few:11.3f} {line.by_half:11.3f}"
        print(f"{line.name:12} {line.results:8} {line.relevant:9.1%} {figures}")
    print(f"{'mean':31} {means['without']:8.3f} {means['by_few']:11.3f} {means['by_half']:11.3f}\n")
    print(f"All sets: start {pooled.start:.3f}, slope {pooled.slope:.3f} (shrunk to {shrink:.0%}); in the package "
          f"{ELSEWHERE.start:.3f}, {ELSEWHERE.slope:.3f}.\n")  # fmt: skip
