"""Owns the SQL of limits: the book that all workers borrow permits from."""

from collections.abc import Sequence

import msgspec

from backstay.limits.types import Note, Reply, Sync, Terms
from backstay.store import Database, load_queries

_TIMEOUT_S = 1.0
_SWEEP_S = 20.0
_END_S = 5.0
_GONE_US = 600_000_000
"""Workers not heard of for so long are forgotten."""

_QUERIES = load_queries("backstay.limits")

_encoder = msgspec.json.Encoder()
_replies = msgspec.json.Decoder(Reply)


class Book:
    """The book, as one worker sees it. Every method raises ``StoreUnavailable`` if Postgres does not answer in time."""

    def __init__(self, database: Database, worker: str, terms: Terms):
        self._database = database
        self._worker = worker
        self._terms = terms

    async def sync(self, sync: Sync) -> Reply:
        """Tell and ask, in one atomic statement."""
        terms = self._terms
        async with self._database.system(timeout_s=_TIMEOUT_S) as connection:
            cursor = await connection.execute(
                _QUERIES["sync"],
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
            await connection.execute(_QUERIES["sweep"], {"gone_us": _GONE_US})


async def end_worker(database: Database, worker: str, notes: Sequence[Note] | None) -> int:
    """Close a dead worker's account, and return how much it held. The first time counts.

    Args:
        notes: All that it used and the book may not know of; ``None``: nobody knows. Then only its calls at once are
            free, and the permits of a minute come back when that is over.

    Raises:
        StoreUnavailable: Postgres does not answer in time.
    """
    async with database.system(timeout_s=_END_S) as connection:
        cursor = await connection.execute(
            _QUERIES["end_worker"],
            {"worker": worker, "notes": None if notes is None else _encoder.encode(notes).decode()},
        )
        row = await cursor.fetchone()
    assert row is not None
    return row["given_back"]
