"""Owns the SQL of quality: asks, and evaluations on labelled sets."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from backstay.core.ids import new_id
from backstay.retrieval.ranking_types import Ranking
from backstay.retrieval.types import Collection, Mode
from backstay.store import Database, load_queries

_QUERIES = load_queries("backstay.retrieval", "quality.sql")
_LONG_S = 30.0


class AskRow(msgspec.Struct, kw_only=True):
    """A search or an answer as it is kept."""

    tenant_id: str
    collection: str
    generation: int
    results: int
    relevance: float | None
    abstained: bool | None
    direction: bytes | None
    query: str | None


class PastAsk(msgspec.Struct, frozen=True, kw_only=True):
    """A search or an answer as it was kept."""

    asked_at: dt.datetime
    relevance: float | None
    abstained: bool | None
    """``None``: a search."""
    direction: bytes | None
    """The query's vector, float16."""
    query: str | None


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """A mean over queries, with its interval of 95 % confidence."""

    mean: float
    low: float
    high: float


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """What a labelled set measured."""

    id: str
    made_at: dt.datetime
    label: str
    mode: Mode
    ranking: Ranking
    generation: int
    queries: int
    measures: dict[str, Measure]


class QualityStore:
    """Quality in Postgres. Every verb raises ``StoreUnavailable`` where it does not answer."""

    def __init__(self, database: Database):
        self._database = database

    async def note_asks(self, rows: Sequence[AskRow]) -> None:
        """Keep asks; those of collections that are gone are left out."""
        columns = {name: [getattr(row, name) for row in rows] for name in AskRow.__struct_fields__}
        async with self._database.system(timeout_s=_LONG_S) as connection:
            await connection.execute(_QUERIES["note_asks"], columns)

    async def forget_asks(self) -> None:
        """Forget what is old."""
        async with self._database.system(timeout_s=_LONG_S) as connection:
            await connection.execute(_QUERIES["forget_asks"])

    async def asks(
        self, collection: Collection, since: dt.datetime, until: dt.datetime, *, limit: int
    ) -> list[PastAsk]:
        """Read the asks of a window to the live generation, the newest first."""
        values = {**_place(collection), "generation": collection.generation, "since": since, "until": until}
        async with self._database.tenant(collection.tenant_id, timeout_s=_LONG_S) as connection:
            rows = await (await connection.execute(_QUERIES["asks"], {**values, "limit": limit})).fetchall()
        return msgspec.convert(rows, list[PastAsk])

    async def asked_collections(self, since: dt.datetime) -> list[tuple[str, str]]:
        """List the collections that were asked since, each with its tenant."""
        async with self._database.system(timeout_s=_LONG_S) as connection:
            rows = await (await connection.execute(_QUERIES["asked_collections"], {"since": since})).fetchall()
        return sorted((row["tenant_id"], row["collection"]) for row in rows)

    async def keep_evaluation(
        self,
        collection: Collection,
        *,
        label: str,
        mode: Mode,
        ranking: Ranking,
        queries: int,
        measures: Mapping[str, Measure],
    ) -> str:
        """Keep what a labelled set measured, and return its id."""
        values: dict[str, Any] = {
            **_place(collection),
            "evaluation_id": new_id("eval"),
            "label": label,
            "mode": mode,
            "ranking": msgspec.json.encode(ranking).decode(),
            "generation": collection.generation,
            "queries": queries,
            "measures": msgspec.json.encode(measures).decode(),
        }
        async with self._database.tenant(collection.tenant_id) as connection:
            await connection.execute(_QUERIES["keep_evaluation"], values)
        return values["evaluation_id"]

    async def evaluations(self, collection: Collection, *, limit: int) -> list[Evaluation]:
        """List what was measured, the newest first."""
        async with self._database.tenant(collection.tenant_id) as connection:
            values = {**_place(collection), "limit": limit}
            rows = await (await connection.execute(_QUERIES["evaluations"], values)).fetchall()
        return msgspec.convert(rows, list[Evaluation])


def _place(collection: Collection) -> dict[str, Any]:
    return {"tenant_id": collection.tenant_id, "collection": collection.name}
