"""Owns what ranking reads of found chunks in Postgres, as those may who ask."""

import datetime as dt
from collections.abc import Sequence

import msgspec

from backstay.retrieval.ranking_types import Ranking
from backstay.retrieval.store import SEPARATOR
from backstay.retrieval.types import Collection, Found, Query
from backstay.store import Database, load_queries

_QUERIES = load_queries("backstay.retrieval", "ranking.sql")


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a found chunk beside its text."""

    chunk_id: str
    dated: str | None
    """The field that recency goes by, as text; ``None``: the document has none, or none was asked for."""
    numbered: str | None
    """The field that authority goes by, as text."""
    updated_at: dt.datetime
    vector: list[float] | None
    """Of length 1; ``None``: not asked for, or it has none."""


class RankingStore:
    """Reads it. Its verb raises ``StoreUnavailable`` where Postgres does not answer."""

    def __init__(self, database: Database):
        self._database = database

    async def facts(
        self, collection: Collection, query: Query, ranking: Ranking, found: Sequence[Found]
    ) -> dict[str, Facts]:
        """Return what is known of each chunk that is still there and may be read, by its id."""
        values = {
            "tenant_id": collection.tenant_id,
            "chunk_ids": [int(each.chunk_id) for each in found],
            "dated": ranking.recency and ranking.recency.field,
            "numbered": ranking.authority and ranking.authority.field,
            "with_vectors": ranking.mmr is not None,
        }
        async with self._database.tenant(collection.tenant_id, timeout_s=10.0) as connection:
            await connection.execute(_QUERIES["read_for"], {"principals": SEPARATOR.join(query.principals)})
            rows = await (await connection.execute(_QUERIES["facts"], values)).fetchall()
        return {row["chunk_id"]: msgspec.convert(row, Facts) for row in rows}
