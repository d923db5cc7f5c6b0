"""Owns the recall of an answer by what a question means: its embedding, the kept ones near it, and the verifier."""

import asyncio
import logging
from collections.abc import Sequence

import msgspec
import numpy as np

from backstay.cache.calibrations import Calibrations
from backstay.cache.pairs import say_the_same
from backstay.cache.store import CacheStore
from backstay.cache.types import Answer, Ask
from backstay.cache.verifier import CANDIDATES, choose
from backstay.cache.vetoes import read
from backstay.core.errors import BackstayError
from backstay.core.ports import Embedder

_log = logging.getLogger(__name__)

_EMBED_S = 1.0
"""Longest that a call waits for the embedding of its question."""
_ALIKE = 0.2
"""Cosine distance within which kept questions are purged with a text. Wide: what goes for nothing is asked again."""
_MOST_ALIKE = 100


class Alike(msgspec.Struct, frozen=True, kw_only=True):
    """A kept answer to a question of the same meaning."""

    answer: Answer
    question: str
    score: float


class Semantics:
    """What this worker knows of meanings: whose questions are near each other, and how near they must be."""

    def __init__(self, store: CacheStore, embedder: Embedder):
        self.calibrations = Calibrations(store, embedder)
        self._store = store
        self._embedder = embedder

    def is_on(self, ask: Ask) -> bool:
        """Whether a question may be answered by another one's answer."""
        return ask.question is not None and self.calibrations.find(ask.model, ask.tenant_id) is not None

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
        near = await self._store.nearest(ask, vector, CANDIDATES)
        calibration = self.calibrations.find(ask.model, ask.tenant_id)
        if not near or calibration is None or calibration.certificate is None:
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
