"""Owns the cache's SQL: answers shared by all workers, claims on questions, and counts of how often they helped."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from backstay.cache.memory import Kept
from backstay.cache.pairs import Pair
from backstay.cache.tally import Tally
from backstay.cache.types import Answer, Ask, LabelledPair, Purge
from backstay.core.money import NanoUSD
from backstay.core.usage import Usage
from backstay.store import Connection, Database, load_queries

LOOKUP_S = 0.5
"""Longest that a call waits for Postgres before it asks the model instead."""

_WRITE_S = 10.0
_SWEEP_S = 30.0

_MOST_PAIRS = 10_000
"""Of each tenant and model."""
_MOST_LABELLED = 2000
"""Pairs that a calibration takes in."""

_QUERIES = load_queries("backstay.cache")


class CacheGroup(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept for one model and feature, and how often it helped."""

    model: str
    feature: str | None
    entries: int
    size_bytes: int
    oldest_at: dt.datetime | None
    hits: int
    semantic_hits: int
    misses: int
    saved_nanousd: NanoUSD
    """What the hits would have cost; those whose cost is unknown are left out."""


class Near(msgspec.Struct, frozen=True, kw_only=True):
    """A kept question near a new one."""

    key: bytes
    question: str
    vector: list[float]


class CacheStore:
    """The cache in Postgres. Every verb raises ``StoreUnavailable`` where it does not answer."""

    def __init__(self, database: Database, holder: str):
        """Args: ``holder``: the name that this worker's claims carry; no other process may have it."""
        self._database = database
        self._holder = holder

    async def find(self, ask: Ask) -> Answer | None:
        """Read the answer that is kept for a question."""
        async with self._database.tenant(ask.tenant_id, timeout_s=LOOKUP_S) as connection:
            return await self._find(connection, ask)

    async def find_stale(self, ask: Ask) -> Answer | None:
        """Read the answer that is kept for a question, though it may have expired."""
        async with self._database.tenant(ask.tenant_id, timeout_s=LOOKUP_S) as connection:
            row = await (await connection.execute(_QUERIES["find_stale"], _place(ask))).fetchone()
        return None if row is None else read_answer(row)

    async def find_or_claim(self, ask: Ask) -> Answer | bool:
        """Read the answer that is kept; where there is none, return whether the question is now ours to ask."""
        async with self._database.tenant(ask.tenant_id, timeout_s=LOOKUP_S) as connection:
            found = await self._find(connection, ask)
            if found is not None:
                return found
            # For its own claim a worker need not wait until the disk has it.
            await connection.execute("set local synchronous_commit = off")
            values = {**_place(ask), "holder": self._holder, "for_s": max(ask.policy.wait_s, 1.0)}
            cursor = await connection.execute(_QUERIES["claim"], values)
            if await cursor.fetchone() is None:
                return False
            # Who had the claim keeps the answer as it gives the claim up, which may be after our first look.
            found = await self._find(connection, ask)
            if found is None:
                return True
            await connection.rollback()  # so that the claim is nobody's
            return found

    async def _find(self, connection: Connection, ask: Ask) -> Answer | None:
        row = await (await connection.execute(_QUERIES["find"], _place(ask))).fetchone()
        return None if row is None else read_answer(row)

    async def write(
        self, kept: Sequence[Kept], released: Sequence[tuple[str, bytes]], tallies: Sequence[Tally]
    ) -> None:
        """Keep answers, give up claims and add to the counts, all in one transaction."""
        async with self._database.system(timeout_s=_WRITE_S) as connection:
            if kept:
                await self._keep(connection, kept)
            vectors = [_vector_row(each) for each in kept if each.vector]
            if vectors:
                await connection.execute(_QUERIES["keep_vectors"], _columns(vectors))
            if tallies:
                await connection.execute(_QUERIES["count_days"], _columns([msgspec.structs.asdict(t) for t in tallies]))
            if released:
                places = _columns([{"tenant_id": tenant_id, "key": key} for tenant_id, key in released])
                await connection.execute(_QUERIES["release"], {**places, "holder": self._holder})

    async def _keep(self, connection: Connection, kept: Sequence[Kept]) -> None:
        """Keep answers; where one takes the place of another that has not expired, every worker forgets the old one."""
        rows = _columns([_row(each) for each in kept])
        places = {"tenant_id": rows["tenant_id"], "key": rows["key"]}
        replaced = await (await connection.execute(_QUERIES["replaced"], places)).fetchall()
        await connection.execute(_QUERIES["keep"], rows)
        made_ns = {(each.tenant_id, each.key): each.answer.created_ns for each in kept}
        for row in replaced:
            tenant_id, key = row["tenant_id"], bytes(row["key"])
            await self._tell(connection, Purge(tenant_id=tenant_id, keys=(key,), before_ns=made_ns[tenant_id, key]))

    async def _tell(self, connection: Connection, purge: Purge) -> None:
        await connection.execute(_QUERIES["tell"], {"payload": msgspec.json.encode(purge).decode()})

    async def add_pair(self, tenant_id: str, pair: Pair) -> None:
        """Keep what is known of two questions; its time is Postgres' own."""
        async with self._database.tenant(tenant_id) as connection:
            await connection.execute(_QUERIES["add_pair"], {**msgspec.structs.asdict(pair), "tenant_id": tenant_id})

    async def pairs(self, tenant_id: str, *, model: str | None, limit: int) -> list[Pair]:
        """Read a tenant's pairs, the newest first."""
        async with self._database.tenant(tenant_id) as connection:
            values = {"tenant_id": tenant_id, "model": model, "limit": limit}
            return msgspec.convert(await (await connection.execute(_QUERIES["pairs"], values)).fetchall(), list[Pair])

    async def labelled_pairs(self, model: str) -> dict[str, tuple[LabelledPair, ...]]:
        """Read the newest labelled pairs of a model, by the tenant whose use showed them."""
        async with self._database.system(timeout_s=_SWEEP_S) as connection:
            cursor = await connection.execute(_QUERIES["labelled_pairs"], {"model": model, "limit": _MOST_LABELLED})
            found: dict[str, list[LabelledPair]] = {}
            for row in await cursor.fetchall():
                pair = LabelledPair(a=row["a"], b=row["b"], same=row["same"])
                found.setdefault(row["tenant_id"], []).append(pair)
        return {tenant_id: tuple(pairs) for tenant_id, pairs in found.items()}

    async def ensure_semantic(self) -> bool:
        """Make the table of questions where it is missing; false without pgvector of 0.8 or newer."""
        async with self._database.system() as connection:
            row = await (await connection.execute(_QUERIES["ensure_semantic"])).fetchone()
            return row is not None and row["is_there"]

    async def nearest(self, ask: Ask, vector: Sequence[float], limit: int) -> list[Near]:
        """Read the kept questions that are nearest to one, within its conversation's state."""
        values = {"tenant_id": ask.tenant_id, "context": ask.context, "vector": _literal(vector), "limit": limit}
        async with self._database.tenant(ask.tenant_id, timeout_s=LOOKUP_S) as connection:
            await connection.execute(_QUERIES["look_far"])
            rows = await (await connection.execute(_QUERIES["nearest"], values)).fetchall()
        return [Near(key=bytes(row["key"]), question=row["question"], vector=row["embedding"]) for row in rows]

    async def alike(self, tenant_id: str, vector: Sequence[float], *, distance: float, limit: int) -> list[bytes]:
        """Read the keys of kept questions within a cosine distance of a text, the nearest first."""
        values = {"tenant_id": tenant_id, "vector": _literal(vector), "distance": distance, "limit": limit}
        async with self._database.tenant(tenant_id) as connection:
            await connection.execute(_QUERIES["look_far"])
            rows = await (await connection.execute(_QUERIES["alike"], values)).fetchall()
        return [bytes(row["key"]) for row in rows]

    async def sweep(self, bounds: Mapping[str, int]) -> None:
        """Delete what has expired, and the oldest beyond each model's bound in bytes. One worker at a time does it."""
        async with self._database.system(timeout_s=_SWEEP_S) as connection:
            row = await (await connection.execute(_QUERIES["sweep_lock"])).fetchone()
            if row is None or not row["ours"]:
                return
            await connection.execute(_QUERIES["sweep_expired"])
            await connection.execute(_QUERIES["sweep_claims"])
            values = {"model": list(bounds), "max_bytes": list(bounds.values())}
            await connection.execute(_QUERIES["sweep_excess"], values)
            await connection.execute(_QUERIES["sweep_pairs"], {"most": _MOST_PAIRS})

    async def purge(self, purge: Purge) -> int:
        """Delete what meets a purge, tell every worker, and return how many answers that were."""
        before = None if purge.before_ns is None else _time(purge.before_ns)
        keys = None if purge.keys is None else list(purge.keys)
        values = {**msgspec.structs.asdict(purge), "before": before, "keys": keys}
        async with self._database.tenant(purge.tenant_id, timeout_s=_SWEEP_S) as connection:
            gone = (await connection.execute(_QUERIES["purge"], values)).rowcount
            await self._tell(connection, purge)
        return gone

    async def stats(self, tenant_id: str, *, since: dt.date, model: str | None = None) -> list[CacheGroup]:
        """Add up what is kept now and how often it helped since a day, by model and feature."""
        async with self._database.tenant(tenant_id) as connection:
            values = {"tenant_id": tenant_id, "since": since, "model": model}
            cursor = await connection.execute(_QUERIES["stats"], values)
            return msgspec.convert(await cursor.fetchall(), list[CacheGroup])


def read_answer(row: Mapping[str, Any]) -> Answer:
    """Read a row of ``cache_entries``."""
    return Answer(
        dialect=row["dialect"],
        body=bytes(row["body"]),
        usage=msgspec.convert(row["usage"], Usage),
        target=row["target"],
        trace_id=row["trace_id"],
        cost_nanousd=row["cost_nanousd"],
        created_ns=_nanoseconds(row["created_at"]),
        expires_ns=_nanoseconds(row["expires_at"]),
        keep_until_ns=0 if row["keep_until"] is None else _nanoseconds(row["keep_until"]),
    )


def _place(ask: Ask) -> dict[str, Any]:
    return {"tenant_id": ask.tenant_id, "key": ask.key}


def _row(kept: Kept) -> dict[str, Any]:
    answer = kept.answer
    return {
        "tenant_id": kept.tenant_id,
        "key": kept.key,
        "model": kept.model,
        "feature": kept.feature,
        "dialect": answer.dialect,
        "body": answer.body,
        "usage": msgspec.json.encode(answer.usage).decode(),
        "target": answer.target,
        "trace_id": answer.trace_id,
        "cost_nanousd": answer.cost_nanousd,
        "created_at": _time(answer.created_ns),
        "expires_at": _time(answer.expires_ns),
        "keep_until": _time(answer.keep_until_ns) if answer.keep_until_ns else None,
    }


def _vector_row(kept: Kept) -> dict[str, Any]:
    return {
        "tenant_id": kept.tenant_id,
        "key": kept.key,
        "context": kept.context,
        "question": kept.question,
        "embedding": _literal(kept.vector),
    }


def _literal(vector: Sequence[float]) -> str:
    """Write a vector as pgvector reads it."""
    return "[" + ",".join(map(repr, map(float, vector))) + "]"


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def _time(moment_ns: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(moment_ns / 1e9, dt.UTC)


def _nanoseconds(moment: dt.datetime) -> int:
    return int(moment.timestamp() * 1e9)
