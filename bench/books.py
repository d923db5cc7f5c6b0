"""Owns large books for the console to read: millions of calls that Postgres makes, and what it costs to ship one."""

import json
import os
import random
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from backstay.ledger import MERGE_ENTRIES
from backstay.store import Database, EmbeddedPostgres, load_queries, migrate
from backstay.store.backlog import Entry
from backstay.store.shipment import Shipment
from backstay.tracing import MERGE_SPANS

DAYS = 30
_QUERIES = load_queries("bench", "console.sql")
_BATCHES = ((1000, 4), (50, 30))
"""Calls of one shipment, and how many shipments are timed."""
_ROUNDS = 3


async def fill(data_dir: Path, calls: int) -> None:
    """Fill a data folder's database, the last day with more calls than the others; not if it is full already."""
    server = EmbeddedPostgres(data_dir)
    url = await server.start()
    try:
        await migrate(url)
        database = Database(url)
        if not await _is_full(database, calls):
            await _make(url, database, calls)
        await database.close()
    finally:
        await server.stop()


async def time_shipping(data_dir: Path) -> dict[str, float]:
    """Ship calls of now into the books, with the triggers on and off, in turn: a busy neighbour harms both alike.

    Returns:
        Microseconds for each call, the best of some rounds, by the shipment's size, with and without rollups.
    """
    server = EmbeddedPostgres(data_dir)
    url = await server.start()
    database = Database(url)
    try:
        return await _time_shipping(url, database, data_dir / "rejected")
    finally:
        await database.close()
        await server.stop()


async def _is_full(database: Database, calls: int) -> bool:
    async with database.system(timeout_s=60) as connection:
        found = await (await connection.execute(_QUERIES["count"])).fetchall()
    return found[0]["calls"] >= calls


async def _make(url: str, database: Database, calls: int) -> None:
    now, first = datetime.now(UTC), 1
    last_day = calls * 7 // 100
    for day in range(DAYS, 0, -1):
        count = last_day if day == 1 else (calls - last_day) // (DAYS - 1)
        window = {"since": now - timedelta(days=day), "until": now - timedelta(days=day - 1)}
        async with database.system(timeout_s=3600) as connection:
            await connection.execute(_QUERIES["partitions"], window)
            await connection.execute(_QUERIES["calls"], {**window, "first": first, "calls": count})
            await connection.execute(_QUERIES["spans"])
            await connection.execute(_QUERIES["entries"])
        first += count
        print(f"  {first - 1:,} of {calls:,} calls", file=sys.stderr, flush=True)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(_QUERIES["settle"])


async def _time_shipping(url: str, database: Database, rejected: Path) -> dict[str, float]:
    shipment = Shipment(database, [MERGE_SPANS, MERGE_ENTRIES], rejected)
    rng, spent = random.Random(), dict[str, float]()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as owner:
        for size, count in _BATCHES:
            for _ in range(_ROUNDS):
                for name, query in (("with rollups", "triggers_on"), ("without", "triggers_off")):
                    await owner.execute(_QUERIES[query])
                    batches = [_batch(rng, size) for _ in range(count)]
                    began = time.perf_counter()
                    for batch in batches:
                        await shipment.ship(batch)
                    each_us = (time.perf_counter() - began) / size / count * 1e6
                    key = f"{size} at once, {name}"
                    spent[key] = min(spent.get(key, each_us), each_us)
        await owner.execute(_QUERIES["triggers_on"])
    return spent


def _batch(rng: random.Random, size: int) -> list[Entry]:
    return [Entry.of(os.urandom(8), (_document(rng), b'{"messages": []}', b"{}")) for _ in range(size)]


def _document(rng: random.Random) -> bytes:
    """Write a call of now as the gateway does: its span, one attempt's, and its entry."""
    call, trace, place = os.urandom(8).hex(), os.urandom(16).hex(), rng.randrange(5)
    attributed = {
        "key_id": f"key_{place}", "user_id": f"u-{int(2000 * rng.random() ** 3)}", "feature": f"feature-{place}",
        "tags": ["team:care"] if place == 0 else [], "model": f"model-{place}", "target": f"acme/model-{place}",
        "input_tokens": rng.randrange(300, 2600), "output_tokens": rng.randrange(20, 400),
        "cost_nanousd": rng.randrange(10**7),
    }  # fmt: skip
    span = {
        "trace_id": trace, "started_at_ns": time.time_ns(), "duration_ns": int(rng.lognormvariate(21, 0.6)),
        "status": "ok", "first_token_ns": int(rng.lognormvariate(20, 0.4)), "name": "chat", "operation": "chat",
    }  # fmt: skip
    entry = {"call_id": call, "attempt": 0, "at_ns": span["started_at_ns"], "trace_id": trace}
    root, tried = {"span_id": call, "kind": "call"}, {"span_id": os.urandom(8).hex(), "kind": "attempt"}
    return json.dumps(
        {
            "tenant_id": "default",
            "spans": [{**attributed, **span, **root}, {**span, **tried, "parent_id": call}],
            "entries": [{**attributed, **entry}],
        }
    ).encode()
