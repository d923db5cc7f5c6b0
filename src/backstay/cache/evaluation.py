"""Owns the trial of a semantic cache on labelled questions: how often it would answer, and how often wrongly."""

import msgspec

from backstay.cache.calibration import Calibration, LabelledQuestion, match_all
from backstay.cache.topics import Vectors
from backstay.cache.vetoes import read
from backstay.statistics import interval


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of one trial. Rates are shares; ``None`` where there was no hit."""

    queries: int
    entries: int
    hits: int
    hit_rate: float
    false_hits: int
    false_hit_rate: float | None
    false_hit_interval: tuple[float, float] | None
    """Clopper-Pearson, two-sided, with the configured confidence."""
    threshold: float | None
    """``None``: the semantic cache is off."""
    problem: str | None
    """Why it is off."""


def evaluate(
    calibration: Calibration,
    queries: tuple[list[LabelledQuestion], Vectors],
    entries: tuple[list[LabelledQuestion], Vectors] | None,
    *,
    confidence: float,
) -> Evaluation:
    """Ask a cache that holds some questions others. Their intents judge the hits, and nothing else.

    Args:
        entries: What the cache holds; ``None``: all of the queries but the one that asks.
    """
    asked, vectors = queries
    kept, kept_vectors = entries or queries
    certificate = calibration.certificate
    hits = wrong = 0
    if certificate is not None:
        kept_readings = [read(question.text) for question in kept]
        readings = kept_readings if entries is None else [read(question.text) for question in asked]
        matches = match_all(
            calibration.verifier, vectors, readings, kept_vectors, kept_readings, among_themselves=entries is None
        )
        for question, match in zip(asked, matches, strict=True):
            if match is not None and match.score >= certificate.threshold:
                hits += 1
                wrong += kept[match.place].intent != question.intent
    return Evaluation(
        queries=len(asked),
        entries=len(kept) - (entries is None),
        hits=hits,
        hit_rate=hits / len(asked) if asked else 0.0,
        false_hits=wrong,
        false_hit_rate=wrong / hits if hits else None,
        false_hit_interval=interval(wrong, hits, confidence) if hits else None,
        threshold=certificate.threshold if certificate else None,
        problem=calibration.problem,
    )
