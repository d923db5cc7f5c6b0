"""Owns which calibration is in force for whom: a model's own from its file, and stricter ones of single tenants."""

import asyncio
import logging
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from backstay.cache.calibration import Calibration, Labels, calibrate, read_labels, tighten
from backstay.cache.config import CacheConfig
from backstay.cache.store import CacheStore
from backstay.cache.topics import Vectors
from backstay.cache.types import LabelledPair
from backstay.core.errors import BackstayError
from backstay.core.ports import Embedder

_PIECE = 64
"""Texts embedded at once when a model is calibrated: between pieces, calls have their turn."""

_log = logging.getLogger(__name__)

_Pairs = tuple[LabelledPair, ...]


class _Own(msgspec.Struct, frozen=True):
    """What a tenant's pairs made of a model's calibration."""

    base: Calibration
    pairs: _Pairs
    calibration: Calibration


class Calibrations:
    """What this worker knows: for each model, what its file shows; for each tenant, what its own use showed beside it.

    A tenant without labelled pairs has the model's calibration. One whose pairs are not taken in yet has none, so that
    nobody is answered at a threshold that their own corrections speak against.
    """

    def __init__(self, store: CacheStore, embedder: Embedder):
        self.problems: dict[str, str] = {}
        """Why the semantic cache of a model is off for everybody, by model."""
        self._store = store
        self._embedder = embedder
        self._configs: Mapping[str, CacheConfig] = {}
        self._models: dict[str, Calibration] = {}
        self._own: dict[str, dict[str, _Own | None]] = {}
        """By model and tenant; ``None``: its pairs are still to be taken in."""
        self._done: dict[tuple[Labels, float, float], Calibration] = {}
        self._preparing = asyncio.Lock()

    def find(self, model: str, tenant_id: str) -> Calibration | None:
        """Return what a tenant's questions are held against; ``None``: the semantic cache is off for it."""
        own = self._own.get(model, {})
        if tenant_id not in own:
            return self._models.get(model)
        found = own[tenant_id]
        return None if found is None or found.calibration.certificate is None else found.calibration

    def problem_of(self, model: str, tenant_id: str) -> str | None:
        """Say why the semantic cache of a model that wants one is off for a tenant; ``None``: it is on."""
        if model in self.problems:
            return self.problems[model]
        own = self._own.get(model, {})
        if tenant_id not in own:
            return None if model in self._models else "It is being calibrated."
        found = own[tenant_id]
        return "What its use showed is still being taken in." if found is None else found.calibration.problem

    async def prepare(self, configs: Mapping[str, CacheConfig], *, again: bool = False) -> None:
        """Calibrate models; those that are not named, or cannot be certified, are off, and ``problems`` says why. One
        whose configuration is another one now is off until it is calibrated anew: its old bound is not the one wanted.

        Args:
            again: The configuration is as it was: what cannot be calibrated just now stays as it is.
        """
        async with self._preparing:
            same = {model for model, config in configs.items() if self._configs.get(model) == config}
            self._configs = dict(configs)
            self._models = {model: known for model, known in self._models.items() if model in same}
            self._own = {model: known for model, known in self._own.items() if model in same}
            self.problems = {}
            base: list[Calibration] = []
            for model, config in configs.items():
                try:
                    calibration = await self._calibrate(config)
                    base.append(calibration)
                    await self._adopt(model, config, calibration)
                except BackstayError as error:
                    if not again or model not in self._models:
                        self._off(model, str(error))
            in_use = {id(known) for known in base}
            self._done = {labels: known for labels, known in self._done.items() if id(known) in in_use}

    async def _adopt(self, model: str, config: CacheConfig, calibration: Calibration) -> None:
        """Put a model's calibration in force, then each tenant's."""
        if calibration.certificate is None:
            self._off(model, calibration.problem or "")
            return
        pairs = await self._store.labelled_pairs(model)
        known = {tenant: own for tenant, own in self._own.get(model, {}).items() if own and own.base is calibration}
        self._own[model] = {tenant: known.get(tenant) for tenant in pairs}
        self._models[model] = calibration
        for tenant, labelled in pairs.items():
            own = known.get(tenant)
            if own is None or own.pairs != labelled:
                self._own[model][tenant] = await self._tighten(calibration, labelled, config)
                self._tell(model, tenant)

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

    async def _tighten(self, base: Calibration, pairs: _Pairs, config: CacheConfig) -> _Own:
        """Take in what a tenant's checks and corrections showed."""
        vectors = await self._embed_all([text for pair in pairs for text in (pair.a, pair.b)])
        tightened = await asyncio.to_thread(
            tighten, base, pairs, vectors, bound=config.max_false_hits, confidence=config.confidence
        )
        return _Own(base, pairs, tightened)

    async def _embed_all(self, texts: Sequence[str]) -> Vectors:
        pieces = [await self._embedder.embed(texts[start : start + _PIECE]) for start in range(0, len(texts), _PIECE)]
        return np.concatenate(pieces) if pieces else np.zeros((0, 1), dtype=np.float32)

    def _off(self, model: str, problem: str) -> None:
        self._models.pop(model, None)
        self._own.pop(model, None)
        self.problems[model] = problem
        _log.warning("The semantic cache of %s is off. %s", model, problem)

    def _tell(self, model: str, tenant_id: str) -> None:
        problem = self.problem_of(model, tenant_id)
        if problem is not None:
            _log.warning("The semantic cache of %s is off for tenant %s. %s", model, tenant_id, problem)
