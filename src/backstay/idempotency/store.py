"""Owns the SQL of idempotency: the claims on keys, and the answers that are kept."""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

import msgspec

from backstay.idempotency.types import (
    IdempotencyAnswerTooLarge,
    IdempotencyKeyReused,
    KeptAnswer,
    Slot,
    Terms,
    Wanted,
)
from backstay.store import Database, load_queries

_QUERIES = load_queries("backstay.idempotency")

MERGE_CLAIMS = _QUERIES["merge_claims"]
"""What the shipper runs on a batch to end claims. Run again on the same batch, it changes nothing."""

_TIMEOUT_S = 2.0
_SWEEP_S = 60.0
_MOST_SWEPT = 1000
_PAUSE_S = 0.2

_log = logging.getLogger(__name__)

_headers = msgspec.json.Decoder(tuple[tuple[str, str], ...])

Hold = tuple[Slot, str]
"""A slot and the id of the claim on it."""


class ClaimStore:
    """The table ``idempotency_keys``. Each verb raises ``StoreUnavailable`` if Postgres does not answer in time."""

    def __init__(self, database: Database, terms: Terms):
        self._database = database
        self._terms = terms

    async def claim(self, wanted: Wanted) -> bool | KeptAnswer:
        """Claim a key, or return the answer that is kept under it; ``False``: another call with it runs.

        Raises:
            IdempotencyKeyReused: It belongs to another request.
            IdempotencyAnswerTooLarge: There is an answer that was not kept.
        """
        values = _values(wanted.slot)
        async with self._database.tenant(wanted.slot.tenant_id, timeout_s=_TIMEOUT_S) as connection:
            cursor = await connection.execute(
                _QUERIES["claim"],
                {
                    **values,
                    "fingerprint": wanted.fingerprint,
                    "claim_id": wanted.claim_id,
                    "trace_id": wanted.trace_id,
                    "lease_s": self._terms.lease_s,
                },
            )
            if await cursor.fetchone():
                return True
            row = await (await connection.execute(_QUERIES["look"], values)).fetchone()
            assert row is not None, "the conflict has locked it"
            if row["fingerprint"] == wanted.fingerprint and row["state"] == "running":
                await connection.execute(_QUERIES["contest"], values)
        return _read(row, wanted)

    async def keep(self, slot: Slot, claim_id: str, answer: KeptAnswer) -> bool:
        """End a claim with its answer; ``False`` if it had ended before."""
        async with self._database.tenant(slot.tenant_id, timeout_s=_TIMEOUT_S) as connection:
            cursor = await connection.execute(
                _QUERIES["keep"],
                {
                    **_values(slot),
                    "claim_id": claim_id,
                    "is_stream": answer.is_stream,
                    "headers": msgspec.json.encode(answer.headers).decode(),
                    "body": answer.body,
                    "keep_s": self._terms.keep_s,
                },
            )
        return cursor.rowcount == 1

    async def confirm(self, holds: Iterable[Hold]) -> set[str]:
        """Say that these claims are held; return the ids of those that are still running."""
        async with self._database.system(timeout_s=_TIMEOUT_S) as connection:
            cursor = await connection.execute(_QUERIES["confirm"], _lists(holds))
            return {row["claim_id"] for row in await cursor.fetchall()}

    async def release(self, holds: Iterable[Hold]) -> None:
        """Free the keys of claims that have no answer."""
        async with self._database.system(timeout_s=_TIMEOUT_S) as connection:
            await connection.execute(_QUERIES["release"], _lists(holds))


async def keep_swept(database: Database) -> None:
    """Throw expired keys away until cancelled: a bounded number at a time, and on while there are more."""
    while True:
        swept = 0
        try:
            async with database.system() as connection:
                swept = (await connection.execute(_QUERIES["sweep"], {"most": _MOST_SWEPT})).rowcount
        except Exception as error:  # noqa: BLE001 - the edge of the task: what is not swept now is swept later
            _log.warning("Expired idempotency keys were not swept: %s", error)
        await asyncio.sleep(_SWEEP_S if swept < _MOST_SWEPT else _PAUSE_S)


def _read(row: dict[str, Any], wanted: Wanted) -> bool | KeptAnswer:
    if row["fingerprint"] != wanted.fingerprint:
        raise IdempotencyKeyReused
    if row["state"] == "running":
        return False
    if row["state"] == "too_large":
        raise IdempotencyAnswerTooLarge
    return KeptAnswer(
        trace_id=row["trace_id"],
        is_stream=row["is_stream"],
        headers=_headers.decode(row["headers"]),
        body=row["body"],
    )


def _values(slot: Slot) -> dict[str, Any]:
    return {"tenant_id": slot.tenant_id, "key_id": slot.key_id, "key": slot.key}


def _lists(holds: Iterable[Hold]) -> dict[str, list[str]]:
    holds = list(holds)
    return {
        "tenant_ids": [slot.tenant_id for slot, _ in holds],
        "key_ids": [slot.key_id for slot, _ in holds],
        "keys": [slot.key for slot, _ in holds],
        "claim_ids": [claim_id for _, claim_id in holds],
    }
