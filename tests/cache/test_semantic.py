"""Answers to questions that mean the same, over a real pgvector and the real embedding model."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from asking import POLICY, ask, keep
from cache_clock import HandClock

from backstay.cache import Cache, CacheConfig, Hit
from backstay.cache.cache import Lead
from backstay.cache.calibrations import Calibrations
from backstay.cache.pairs import Wrong
from backstay.cache.store import CacheStore
from backstay.cache.topics import Vectors
from backstay.providers.local_embedder import Embedder
from backstay.providers.local_types import embedding_tokenizer, embedding_weights
from backstay.store import Database

SEMANTIC = msgspec.structs.replace(POLICY, semantic=True)


class LocalEmbedder:
    """The real model, in this process. It embeds a text once: each test's cache asks for the same labels."""

    def __init__(self) -> None:
        self._model = Embedder(embedding_weights(), embedding_tokenizer(), threads=1)
        self._known: dict[str, Any] = {}

    async def embed(self, texts: Sequence[str]) -> Vectors:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            made = await asyncio.to_thread(self._model.embed, new)
            self._known.update(zip(new, made.vectors, strict=True))
        return np.stack([self._known[text] for text in texts])


@pytest.fixture(scope="module")
def embedder() -> LocalEmbedder:
    return LocalEmbedder()


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Pairs that are plainly the same, or plainly not: they show a bound for the cosine."""
    verbs = ("open", "send", "return", "replace", "lose", "track", "cancel", "find", "sell", "move", "insure", "name")
    things = ("a parcel", "an account", "a card", "my key", "an order", "a bag", "the letter", "a phone", "a ticket")
    asked = [f"{verb} {thing}" for verb in verbs for thing in things]
    pairs = [(f"How do I {each}?", f"How can I {each}", True) for each in asked]
    pairs += [(f"How do I {each}?", f"Is there snow on {each}", False) for each in asked]
    lines = [json.dumps({"a": a, "b": b, "same": same}) for a, b, same in pairs]
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n".join(lines))
    return file


def config(labels: Path, bound: float) -> CacheConfig:
    return CacheConfig(exact=True, semantic=True, calibration=labels, max_false_hits=bound, confidence=0.9)


@pytest.fixture
async def cache(database: Database, embedder: LocalEmbedder, labels: Path) -> AsyncIterator[Cache]:
    cache = Cache(database, HandClock(), memory_bytes=1 << 20, embedder=embedder)
    assert cache.semantics is not None
    await cache.semantics.calibrations.prepare({"m": config(labels, 0.05)})
    assert cache.semantics.calibrations.problems == {}
    yield cache


def question(text: str, *before: dict[str, str], **more: Any) -> Any:
    body = {"messages": [*before, {"role": "user", "content": text}]}
    return ask({**body, **more.pop("body", {})}, policy=SEMANTIC, **more)


async def answer(cache: Cache, asked: Any, text: str = "In the box.") -> None:
    lead = await cache.recall(asked)
    assert isinstance(lead, Lead)
    keep(lead, text)
    await cache.keeper.flush()


async def hit(cache: Cache, asked: Any) -> Hit | None:
    found = await cache.recall(asked)
    if isinstance(found, Hit):
        return found
    found.fail()
    await cache.keeper.flush()
    return None


async def test_the_same_in_other_words_is_a_semantic_hit(cache: Cache) -> None:
    """A question in other words has the answer, and the hit names the question that it was given to."""
    await answer(cache, question("How do I return a parcel?"))
    found = await hit(cache, question("How can I return a parcel"))
    assert found is not None and found.kind == "semantic" and found.question == "How do I return a parcel?"
    assert found.answer.body == b'{"text": "In the box."}'
    assert dict(found.headers())[b"x-backstay-cache"] == b"semantic"


@pytest.mark.parametrize(
    "asked",
    [
        question("How do I not return a parcel?"),
        question("How do I return two parcels?"),
        question("How can I return a parcel?", {"role": "system", "content": "You are a pirate."}),
        question("How can I return a parcel?", {"role": "assistant", "content": "Which parcel?"}),
        question("How can I return a parcel?", tenant_id="rival"),
        question("How can I return a parcel?", feature="chat"),
        question("How can I return a parcel?", body={"temperature": 0.5}),
    ],
    ids=["negated", "number", "system", "conversation", "tenant", "feature", "parameter"],
)
async def test_another_meaning_or_another_context_is_no_hit(cache: Cache, asked: Any) -> None:
    """What says something else, was said after something else, or by somebody else, is asked."""
    await answer(cache, question("How do I return a parcel?"))
    assert await hit(cache, asked) is None


async def test_what_is_not_calibrated_is_off(cache: Cache, labels: Path, database: Database) -> None:
    """Without a certificate there is no semantic hit, and the reason is told."""
    assert cache.semantics is not None
    await answer(cache, question("How do I return a parcel?"))
    await cache.semantics.calibrations.prepare({"m": config(labels, 0.001)})
    assert "stays off" in cache.semantics.calibrations.problems["m"]
    assert await hit(cache, question("How can I return a parcel?")) is None
    await cache.semantics.calibrations.prepare({"m": config(labels.with_name("absent"), 0.05)})
    assert "cannot be read" in cache.semantics.calibrations.problems["m"]


def wrong(number: int) -> Wrong:
    """Return two questions that share an answer by every measure there is, and that somebody says may not."""
    kept, asked = f"How do I send item {number} to Oslo?", f"How can I send item {number} to Oslo"
    return Wrong(trace_id="ab" * 16, origin_id="ab" * 16, model="m", kept=kept, asked=asked)


async def test_a_tenants_corrections_are_its_own(cache: Cache, labels: Path) -> None:
    """What one tenant says was wrong makes its own cache stricter, and nobody else's; all others have the file's."""
    assert cache.semantics is not None
    known = cache.semantics.calibrations
    shared = known.find("m", "acme")
    assert shared is not None and shared is known.find("m", "rival")
    for number in range(60):
        await cache.correct("acme", wrong(number))
    await known.prepare({"m": config(labels, 0.05)}, again=True)
    assert known.find("m", "acme") is None and "stays off" in (known.problem_of("m", "acme") or "")
    assert known.find("m", "rival") is shared and known.problem_of("m", "rival") is None
    assert known.problems == {}
    for tenant_id, kind in (("acme", None), ("rival", "semantic")):
        await answer(cache, question("How do I return a parcel?", tenant_id=tenant_id))
        found = await hit(cache, question("How can I return a parcel", tenant_id=tenant_id))
        assert (None if found is None else found.kind) == kind


async def test_pairs_that_are_not_taken_in_yet_hold_their_tenant_back(
    cache: Cache, database: Database, embedder: LocalEmbedder, labels: Path
) -> None:
    """A worker that starts gives no semantic hit to a tenant with pairs before it has read them, and any to others."""
    await cache.correct("acme", wrong(1))
    seen: list[tuple[object, object, str | None]] = []

    class Watching:
        async def embed(self, texts: Sequence[str]) -> Vectors:
            if len(texts) == 2:  # of the one pair
                told = fresh.problem_of("m", "acme")
                seen.append((fresh.find("m", "acme"), fresh.find("m", "rival"), told))
            return await embedder.embed(texts)

    fresh = Calibrations(CacheStore(database, "wrk_fresh"), Watching())
    await fresh.prepare({"m": config(labels, 0.05)})
    shared = fresh.find("m", "rival")
    assert seen == [(None, shared, "What its use showed is still being taken in.")] and shared is not None
    own = fresh.find("m", "acme")
    assert own is not None and own.shown_on == shared.shown_on + 1
    await fresh.prepare({"m": config(labels, 0.05)}, again=True)
    assert len(seen) == 1 and fresh.find("m", "acme") is own, "nothing is embedded again that is known"


async def test_a_correction_purges_what_it_contradicts(cache: Cache) -> None:
    """Answers to questions near a text go, and others stay."""
    await answer(cache, question("How do I return a parcel?"))
    await answer(cache, question("What is the weather in Oslo?"), "Rain.")
    assert await cache.purge_like("rival", "How can I return a parcel?") == 0
    assert await cache.purge_like("acme", "How can I return a parcel?") == 1
    assert await hit(cache, question("How can I return a parcel?")) is None
    assert await hit(cache, question("What is the weather in Oslo?")) is not None


async def test_a_silent_embedder_costs_the_hit_and_not_the_call(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the embedding model fails, the model is asked."""

    class Broken:
        async def embed(self, texts: Sequence[str]) -> Vectors:
            raise TimeoutError

    monkeypatch.setattr(cache.semantics, "_embedder", Broken())
    await answer(cache, question("How do I return a parcel?"))
    assert await hit(cache, question("How can I return a parcel?")) is None
