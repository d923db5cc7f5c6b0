"""Owns the trial of a semantic cache in this process: files in, embeddings by the local model, figures out."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from backstay.cache.calibration import Calibration, Labels, calibrate, read_labels
from backstay.cache.evaluation import evaluate
from backstay.core.errors import ConfigError
from backstay.providers.local_embedder import Embedder, Vectors
from backstay.providers.local_types import embedding_tokenizer, embedding_weights

_File = Path | str
"""A file, or a part of one, by what it is called in the answer."""


def try_cache(data: Path, kept: Path | None, source: Path | None, *, bound: float, confidence: float) -> dict[str, Any]:
    """Calibrate, then ask a cache that holds some questions others.

    Args:
        kept: ``None``: the cache holds all questions of ``data`` but the one that is asked.
        source: What to calibrate on. ``None``, of ``kept`` as well: every other question of ``data``. The cache holds
            these then, and the others are asked, so that none is tried on what it was calibrated on.

    Raises:
        ConfigError: A file is not as it must be, or the local embedding model is missing.
    """
    if source is None:
        return _try(*_halves(data), bound=bound, confidence=confidence)
    labels: dict[_File, Labels] = {
        path: _read(path) for path in dict.fromkeys(p for p in (data, kept, source) if p is not None)
    }
    return _try(labels, data, kept, source, bound=bound, confidence=confidence)


def _halves(data: Path) -> tuple[dict[_File, Labels], _File, _File, _File]:
    """Part a file's questions, each intent's by itself: those to ask, and those that are kept and calibrated on."""
    questions = sorted(_read(data).questions, key=lambda question: question.intent)
    first = f"{data} (every other question of each intent)"
    return (
        {data: Labels(questions=tuple(questions[1::2])), first: Labels(questions=tuple(questions[::2]))},
        data,
        first,
        first,
    )


def _try(
    labels: Mapping[_File, Labels], data: _File, kept: _File | None, source: _File, *, bound: float, confidence: float
) -> dict[str, Any]:
    for path in (data, kept):
        if path is not None and not labels[path].questions:
            raise ConfigError('it has no line of {"text", "intent"}, or too few.', file=str(path))
    embedder = Embedder(embedding_weights(), embedding_tokenizer(), threads=os.cpu_count() or 1)
    vectors = {path: embedder.embed(found.texts).vectors for path, found in labels.items()}
    calibration = calibrate(labels[source], vectors[source], bound=bound, confidence=confidence)
    found = evaluate(
        calibration,
        _questions(labels, vectors, data),
        None if kept is None else _questions(labels, vectors, kept),
        confidence=confidence,
    )
    return {
        **msgspec.structs.asdict(found),
        "max_false_hits": bound,
        "confidence": confidence,
        "calibration": _describe(calibration, source),
    }


def _read(path: Path) -> Labels:
    labels = read_labels(path)
    if not labels.texts:
        raise ConfigError("it is empty.", file=str(path))
    return labels


def _questions(labels: Mapping[_File, Labels], vectors: Mapping[_File, Vectors], path: _File) -> Any:
    questions = labels[path].questions
    return list(questions), vectors[path][: len(questions)]


def _describe(calibration: Calibration, source: _File) -> dict[str, Any]:
    certificate = calibration.certificate
    return {
        "file": str(source),
        "learned_from": calibration.learned_from,
        "shown_on": calibration.shown_on,
        "accepted": certificate.accepted if certificate else None,
        "errors": certificate.errors if certificate else None,
        "upper_bound": certificate.upper_bound if certificate else None,
    }
