"""Owns the trial of a semantic cache in this process: files in, embeddings by the local model, figures out."""

import os
from pathlib import Path
from typing import Any

import msgspec

from backstay.cache.calibration import Calibration, Labels, calibrate, read_labels
from backstay.cache.evaluation import evaluate
from backstay.core.errors import ConfigError
from backstay.providers.local_embedder import Embedder, Vectors
from backstay.providers.local_types import embedding_tokenizer, embedding_weights


def try_cache(data: Path, kept: Path | None, source: Path, *, bound: float, confidence: float) -> dict[str, Any]:
    """Calibrate, then ask a cache that holds some questions others.

    Args:
        kept: ``None``: the cache holds all questions of ``data`` but the one that is asked.

    Raises:
        ConfigError: A file is not as it must be, or the local embedding model is missing.
    """
    labels = {path: _read(path) for path in dict.fromkeys(p for p in (data, kept, source) if p is not None)}
    for path in (data, kept):
        if path is not None and not labels[path].questions:
            raise ConfigError('it has no line of {"text", "intent"}.', file=str(path))
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


def _questions(labels: dict[Path, Labels], vectors: dict[Path, Vectors], path: Path) -> Any:
    questions = labels[path].questions
    return list(questions), vectors[path][: len(questions)]


def _describe(calibration: Calibration, source: Path) -> dict[str, Any]:
    certificate = calibration.certificate
    return {
        "file": str(source),
        "learned_from": calibration.learned_from,
        "shown_on": calibration.shown_on,
        "accepted": certificate.accepted if certificate else None,
        "errors": certificate.errors if certificate else None,
        "upper_bound": certificate.upper_bound if certificate else None,
    }
