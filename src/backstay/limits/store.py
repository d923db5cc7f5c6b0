"""Owns the SQL of limits: the book that all workers borrow permits from."""

import msgspec

from backstay.limits.types import Reply, Sync, Terms
from backstay.store import Database, load_queries

_TIMEOUT_S = 1.0
_SWEEP_S = 20.0
_GONE_US = 600_000_000
"""Workers not heard of for so long are forgotten."""

_encoder = msgspec.json.Encoder()
_replies = msgspec.json.Decoder(Reply)


class Book:
    """The book, as one worker sees it. Every method raises ``StoreUnavailable`` if Postgres does not answer in time."""

    def __init__(self, database: Database, worker: str, terms: Terms):
        self._database = database
        self._queries = load_queries("backstay.limits")
        self._worker = worker
        self._terms = terms

    async def sync(self, sync: Sync) -> Reply:
        """Tell and ask, in one atomic statement."""
        terms = self._terms
        async with self._database.system(timeout_s=_TIMEOUT_S) as connection:
            cursor = await connection.execute(
                self._queries["sync"],
                {
                    "worker": self._worker,
                    "seq": sync.seq,
                    "asks": _encoder.encode(sync.asks).decode(),
                    "span_us": terms.span_us,
                    "lease_us": terms.lease_us,
                    "gap_us": terms.gap_us,
                    "dead_us": terms.dead_us,
                },
            )
            row = await cursor.fetchone()
        assert row is not None
        return _replies.decode(row["reply"])

    async def sweep(self) -> None:
        """Throw away what counts no longer."""
        async with self._database.system(timeout_s=_SWEEP_S) as connection:
            await connection.execute(self._queries["sweep"], {"gone_us": _GONE_US})
