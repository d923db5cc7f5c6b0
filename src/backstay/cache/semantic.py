"""Owns the recall of an answer by what a question means: its embedding, the kept ones near it, and the verifier."""

import asyncio
import logging
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from backstay.cache.calibration import Calibration, Labels, calibrate, read_labels, tighten
from backstay.cache.config import CacheConfig
from backstay.cache.pairs import say_the_same
from backstay.cache.store import CacheStore
from backstay.cache.topics import Vectors
from backstay.cache.types import Answer, Ask
from backstay.cache.verifier import CANDIDATES, choose
from backstay.cache.vetoes import read
from backstay.core.errors import BackstayError
from backstay.core.ports import Embedder

_log = logging.getLogger(__name__)

_EMBED_S = 1.0
"""Longest that a call waits for the embedding of its question."""
_PIECE = 64
"""Texts embedded at once when a model is calibrated: between pieces, calls have their turn."""
_ALIKE = 0.2
"""Cosine distance within which kept questions are purged with a text. Wide: what goes for nothing is asked again."""
_MOST_ALIKE = 100


class Alike(msgspec.Struct, frozen=True, kw_only=True):
    """A kept answer to a question of the same meaning."""

    answer: Answer
    question: str
    score: float


class Semantics:
    """What this worker knows of meanings: per model, a verifier and the threshold that was certified for it."""

    def __init__(self, store: CacheStore, embedder: Embedder):
        self.problems: dict[str, str] = {}
        """Why the semantic cache of a model is off, by model."""
        self._store = store
        self._embedder = embedder
        self._calibrated: dict[str, Calibration] = {}
        self._done: dict[tuple[Labels, float, float], Calibration] = {}
        self._preparing = asyncio.Lock()

    def is_on(self, ask: Ask) -> bool:
        """Whether a question may be answered by another one's answer."""
        return ask.question is not None and ask.model in self._calibrated

    async def prepare(self, configs: Mapping[str, CacheConfig], *, again: bool = False) -> None:
        """Calibrate models; those that are not named, or cannot be certified, are off, and ``problems`` says why.

        Args:
            again: The configuration is as it was: what cannot be calibrated just now stays as it is.
        """
        async with self._preparing:
            self._calibrated = {model: known for model, known in self._calibrated.items() if model in configs}
            self.problems = {}
            base: list[Calibration] = []
            for model, config in configs.items():
                try:
                    calibration = await self._calibrate(config)
                    base.append(calibration)
                    calibration = await self._tighten(calibration, model, config)
                except BackstayError as error:
                    if not again or model not in self._calibrated:
                        self._off(model, str(error))
                    continue
                if calibration.certificate is None:
                    self._off(model, calibration.problem or "")
                else:
                    self._calibrated[model] = calibration
            in_use = {id(known) for known in base}
            self._done = {labels: known for labels, known in self._done.items() if id(known) in in_use}

    async def embed(self, ask: Ask) -> tuple[float, ...]:
        """Embed a question; empty where the embedding model does not answer in a moment."""
        try:
            async with asyncio.timeout(_EMBED_S):
                return tuple((await self._embedder.embed([ask.question or ""]))[0].tolist())
        except (BackstayError, TimeoutError) as error:
            _log.warning("A question could not be embedded: %r", error)
            return ()

    async def find(self, ask: Ask, vector: Sequence[float]) -> Alike | None:
        """Find a kept answer to a question of the same meaning. Raises ``StoreUnavailable``."""
        calibration = self._calibrated[ask.model]
        near = await self._store.nearest(ask, vector, CANDIDATES)
        if not near or calibration.certificate is None:
            return None
        kept = np.array([each.vector for each in near], dtype=np.float32)
        scores = calibration.verifier.scores(np.array(vector, dtype=np.float32), kept)
        readings = [read(each.question) for each in near]
        match = choose(scores, read(ask.question or ""), readings, threshold=calibration.certificate.threshold)
        if match is None:
            return None
        found = near[match.place]
        answer = await self._store.find(msgspec.structs.replace(ask, key=found.key))
        return None if answer is None else Alike(answer=answer, question=found.question, score=match.score)

    async def alike(self, tenant_id: str, text: str) -> tuple[bytes, ...]:
        """Find the keys of kept questions that are near a text. Raises what embedder and store raise."""
        if not await self._store.ensure_semantic():
            return ()
        vector: list[float] = (await self._embedder.embed([text]))[0].tolist()
        return tuple(await self._store.alike(tenant_id, vector, distance=_ALIKE, limit=_MOST_ALIKE))

    async def compare(self, answers: tuple[str, str]) -> tuple[bool | None, float]:
        """Say whether two answers agree, and their cosine. Raises ``ProviderError``."""
        one, other = await self._embedder.embed(answers)
        cosine = float(one @ other)
        return say_the_same(*answers, cosine), cosine

    async def _calibrate(self, config: CacheConfig) -> Calibration:
        """Calibrate on a file, once for as long as it and the bound stay the same."""
        if not await self._store.ensure_semantic():
            raise BackstayError("This Postgres has no pgvector 0.8 or newer. Install it, or switch semantic off.")
        assert config.calibration is not None, "CacheConfig demands it"
        labels = await asyncio.to_thread(read_labels, config.calibration)
        done = (labels, config.max_false_hits, config.confidence)
        if done in self._done:
            return self._done[done]
        vectors = await self._embed_all(labels.texts)
        self._done[done] = await asyncio.to_thread(
            calibrate, labels, vectors, bound=config.max_false_hits, confidence=config.confidence
        )
        return self._done[done]

    async def _tighten(self, calibration: Calibration, model: str, config: CacheConfig) -> Calibration:
        """Take in what checks and corrections showed."""
        pairs = await self._store.labelled_pairs(model)
        vectors = await self._embed_all([text for pair in pairs for text in (pair.a, pair.b)])
        return await asyncio.to_thread(
            tighten, calibration, pairs, vectors, bound=config.max_false_hits, confidence=config.confidence
        )

    async def _embed_all(self, texts: Sequence[str]) -> Vectors:
        pieces = [await self._embedder.embed(texts[start : start + _PIECE]) for start in range(0, len(texts), _PIECE)]
        return np.concatenate(pieces) if pieces else np.zeros((0, 1), dtype=np.float32)

    def _off(self, model: str, problem: str) -> None:
        self._calibrated.pop(model, None)
        self.problems[model] = problem
        _log.warning("The semantic cache of %s is off. %s", model, problem)
