"""Owns the SQL of budgets: the book that workers lease money from, and the budgets themselves."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from backstay.budgets.types import Ask, Dimension, Reply, Terms
from backstay.core.money import NanoUSD
from backstay.store import Database, load_queries

_QUERIES = load_queries("backstay.budgets")

MERGE_CHARGES = _QUERIES["merge_charges"]
"""What the shipper runs on a batch to book what its calls cost their budgets; run again, it changes nothing."""

_TIMEOUT_S = 1.0
_READ_S = 30.0
_LIVE_US = 5_000_000
"""A holder not heard of for so long counts no more when what is left is shared out."""

_encoder = msgspec.json.Encoder()
_replies = msgspec.json.Decoder(Reply)


class Book:
    """The book, as one holder sees it. Every method raises ``StoreUnavailable`` if Postgres does not answer in time."""

    def __init__(self, database: Database, holder: str):
        self.holder = holder
        self._database = database

    async def sync(self, asks: Iterable[Ask]) -> Reply:
        """Give back and ask, in one atomic statement."""
        async with self._database.system(timeout_s=_TIMEOUT_S) as connection:
            cursor = await connection.execute(
                _QUERIES["sync"],
                {"holder": self.holder, "asks": _encoder.encode(list(asks)).decode(), "live_us": _LIVE_US},
            )
            row = await cursor.fetchone()
        assert row is not None
        return _replies.decode(row["reply"])

    async def read_all(self) -> list[Terms]:
        """Read every tenant's budgets."""
        async with self._database.system(timeout_s=_READ_S) as connection:
            cursor = await connection.execute(_QUERIES["read_all"])
            return [read_terms(row) for row in await cursor.fetchall()]

    async def read(self, ids: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Terms]:
        """Read some budgets by tenant and id; those that are deleted are left out."""
        async with self._database.system(timeout_s=_READ_S) as connection:
            cursor = await connection.execute(
                _QUERIES["read_some"], {"tenants": [tenant for tenant, _ in ids], "ids": [id for _, id in ids]}
            )
            rows = await cursor.fetchall()
        return {(row["tenant_id"], row["budget_id"]): read_terms(row) for row in rows if row["deleted_at"] is None}


async def end_holder(database: Database, holder: str, *, is_spent: bool = False) -> NanoUSD:
    """Take back what a holder had whose journal is shipped to its end, and return how much that was.

    Args:
        is_spent: Its journal is lost: book all that it had as spent.

    Raises:
        StoreUnavailable: Postgres does not answer.
    """
    async with database.system(timeout_s=_READ_S) as connection:
        cursor = await connection.execute(_QUERIES["end_holder"], {"holder": holder, "is_spent": is_spent})
        row = await cursor.fetchone()
    return NanoUSD(row["amount"] if row else 0)


def read_terms(row: dict[str, Any]) -> Terms:
    """Read a row of the table ``budgets``."""
    return Terms(
        tenant_id=row["tenant_id"],
        id=row["budget_id"],
        name=row["name"],
        scope=tuple(_scope(text) for text in row["scope"]),
        per=row["per"],
        limit=NanoUSD(row["limit_nanousd"]),
        limit_given=row["limit_given"],
        span=row["span"],
        time_zone=row["time_zone"],
        hard=row["hard"],
        on_low=row["on_low"],
        on_unknown_price=row["on_unknown_price"],
        min_output_tokens=row["min_output_tokens"],
        wait_s=row["wait_ms"] / 1000,
        rollover=row["rollover"],
        stopped=row["stopped"],
    )


def _scope(text: str) -> tuple[Dimension, str]:
    dimension, _, value = text.partition(":")
    return msgspec.convert((dimension, value), tuple[Dimension, str])
