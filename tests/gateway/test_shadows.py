"""Semantic hits that are checked with the model: real gateway, real pgvector, the real embedding model."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway_house import House, MemorySink, open_house

from backstay.cache import Cache, CacheConfig, CachePolicy
from backstay.cache.pairs import Wrong
from backstay.cache.topics import Vectors
from backstay.core.clock import SystemClock
from backstay.gateway import Models, call
from backstay.gateway.shadows import Shadows
from backstay.providers.local_embedder import Embedder
from backstay.providers.local_types import embedding_tokenizer, embedding_weights
from backstay.providers.simulator import Simulator
from backstay.store import Database

FIRST, AGAIN = "How do I return a parcel?", "How can I return a parcel"
SHOP = "Bring it to the shop where you bought it."


class LocalEmbedder:
    """The real model, in this process."""

    def __init__(self) -> None:
        self._model = Embedder(embedding_weights(), embedding_tokenizer(), threads=1)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        return await asyncio.to_thread(lambda: self._model.embed(texts).vectors)


@pytest.fixture(scope="module")
def embedder() -> LocalEmbedder:
    return LocalEmbedder()


def write_labels(folder: Path) -> None:
    things = ("a parcel", "an account", "a card", "my key", "an order", "a bag", "the letter", "a phone", "a ticket")
    verbs = ("open", "send", "return", "replace", "lose", "track", "cancel", "find", "sell", "move", "insure", "name")
    asked = [f"{verb} {thing}" for verb in verbs for thing in things]
    pairs = [(f"How do I {each}?", f"How can I {each}", True) for each in asked]
    pairs += [(f"How do I {each}?", f"Is there snow on {each}", False) for each in asked]
    lines = [json.dumps({"a": a, "b": b, "same": same}) for a, b, same in pairs]
    (folder / "pairs.jsonl").write_text("\n".join(lines))


def offer(house: House, second: str) -> None:
    """Offer a model that answers the first question with the shop, and the second as told."""
    canned = [{"contains": AGAIN, "text": second}, {"contains": FIRST, "text": SHOP}]
    house.offer("m", Simulator("sim", script={"canned": canned}))
    change(house, cache=CachePolicy(exact=True, semantic=True, shadow=1.0, targets=("sim/gpt-4o-mini",)))


def change(house: House, **changes: Any) -> None:
    (model,) = house.gateway.models
    house.gateway.models = Models({"m": msgspec.structs.replace(model, **changes)})


def config(folder: Path) -> CacheConfig:
    return CacheConfig(
        exact=True, semantic=True, calibration=folder / "pairs.jsonl", max_false_hits=0.05, confidence=0.9
    )


@pytest.fixture
async def checked(tmp_path: Path, database: Database, tenant: str, embedder: LocalEmbedder) -> AsyncIterator[House]:
    """A gateway that checks every semantic hit."""
    with open_house(tmp_path) as house:
        cache = house.gateway.cache = Cache(database, SystemClock(), memory_bytes=1 << 20, embedder=embedder)
        house.gateway.shadows = Shadows(partial(call, house.gateway), cache, random.Random(1))
        write_labels(tmp_path)
        await cache.adopt({"m": config(tmp_path)})
        assert cache.problems == {}
        offer(house, SHOP)
        yield house
        await house.gateway.shadows.stop()


async def ask(house: House, text: str, *, stream: bool = False) -> MemorySink:
    assert house.gateway.cache is not None
    sink = await house.call({"messages": [{"role": "user", "content": text}], "stream": stream})
    await house.gateway.cache.keeper.flush()
    return sink


async def settle(house: House) -> Shadows:
    assert house.gateway.shadows is not None
    await house.gateway.shadows.settled()
    return house.gateway.shadows


def cache_of(house: House) -> Cache:
    assert house.gateway.cache is not None
    return house.gateway.cache


@pytest.mark.parametrize(("second", "same"), [(SHOP, True), ("We never take anything back.", False)])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_hit_is_checked_behind_the_callers_back(checked: House, second: str, same: bool, stream: bool) -> None:
    """The caller has the kept answer for nothing; then the model is asked, priced, and the pair is labelled."""
    offer(checked, second)
    first = await ask(checked, FIRST)
    again = await ask(checked, AGAIN, stream=stream)
    assert (first.headers["x-backstay-cache"], again.headers["x-backstay-cache"]) == ("miss", "semantic")
    assert b"shop" in again.body and again.headers["x-backstay-cost-usd"] == "0.000000"
    shadows = await settle(checked)
    hit, check = checked.documents[-2].spans[0], checked.documents[-1].spans[0]
    assert (check.trace_id, check.parent_id) == (hit.trace_id, hit.span_id)
    assert check.attributes["backstay.cache.shadow"] is True and "backstay.cache.shadow" not in hit.attributes
    assert hit.cost_nanousd == 0 and check.cost_nanousd and len(checked.documents[-1].entries) == 1
    (pair,) = await cache_of(checked).pairs("acme")
    assert (pair.kept, pair.asked, pair.source, pair.trace_id) == (FIRST, AGAIN, "shadow", hit.trace_id)
    assert pair.same is same
    assert {name: count for name, count in shadows.counts.items() if count} == {"same" if same else "different": 1}
    assert await cache_of(checked).pairs("rival") == []
    own = await ask(checked, AGAIN)
    assert own.headers["x-backstay-cache"] == "hit" and second in own.body.decode()


async def test_a_check_that_fails_costs_nobody_anything(checked: House) -> None:
    """The model is down when a hit is checked: the caller has the answer, no pair is kept, and it is counted."""
    await ask(checked, FIRST)
    (model,) = checked.gateway.models
    down = Simulator("sim", script={"faults": [{"kind": "status", "status": 400}]})
    change(checked, targets=(msgspec.structs.replace(model.targets[0], provider=down),))
    assert (await ask(checked, AGAIN)).headers["x-backstay-cache"] == "semantic"
    shadows = await settle(checked)
    assert shadows.counts["failed"] == 1 and await cache_of(checked).pairs("acme") == []


async def test_no_share_no_check(checked: House) -> None:
    """Exact hits and misses are never checked, nor semantic ones beyond the share."""
    (model,) = checked.gateway.models
    assert model.cache is not None
    change(checked, cache=msgspec.structs.replace(model.cache, shadow=0.0))
    for text in (FIRST, FIRST, AGAIN):
        await ask(checked, text)
    shadows = await settle(checked)
    assert sum(shadows.counts.values()) == 0 and len(checked.documents) == 3


async def test_a_correction_purges_and_teaches(checked: House, tmp_path: Path) -> None:
    """What somebody says was wrong goes, its questions are a pair that may not share, and calibration takes it in."""
    await ask(checked, FIRST)
    await ask(checked, AGAIN)
    await settle(checked)
    hit = next(d.spans[0] for d in checked.documents if d.spans[0].attributes.get("backstay.cache") == "semantic")
    known = hit.attributes
    assert (known["backstay.cache.question"], known["backstay.cache.asked"]) == (FIRST, AGAIN)
    wrong = Wrong(
        trace_id=hit.trace_id,
        origin_id=known["backstay.cache.trace_id"],
        model="m",
        kept=FIRST,
        asked=AGAIN,
    )
    cache = cache_of(checked)
    assert await cache.correct("rival", msgspec.structs.replace(wrong, asked=None)) == 0
    assert await cache.correct("acme", wrong) >= 1
    pairs = await cache.pairs("acme", model="m")
    assert [(pair.source, pair.same) for pair in pairs] == [("correction", False), ("shadow", True)]
    assert (await ask(checked, FIRST)).headers["x-backstay-cache"] == "miss"
    for number in range(60):
        more = msgspec.structs.replace(
            wrong, kept=f"How do I send item {number} to Oslo?", asked=f"How can I send item {number} to Oslo"
        )
        await cache.correct("acme", more)
    await cache.adopt({"m": config(tmp_path)})
    assert cache.problems == {} and cache.problems_of("rival") == {}
    assert "stays off" in cache.problems_of("acme")["m"]
