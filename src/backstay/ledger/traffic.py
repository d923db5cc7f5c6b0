"""Owns past traffic, read so that other prices and other habits can be tried on it: sums of usage, and call by call."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from backstay.core.errors import Overloaded
from backstay.core.money import NanoUSD
from backstay.core.usage import Usage
from backstay.ledger.prefix import Prefix, find_prefix
from backstay.ledger.rates import ANY_INPUT
from backstay.store import Database, load_queries

Digest = Callable[[str, str, str, bytes], bytes | None]
"""Tells which requests are equal, from operation, dialect, model and body; ``None``: it cannot be told."""

MAX_CALLS = 20_000
"""Calls that are read one by one: the newest. 50,000 of 5 kB took 19 s on two busy cores, a third of it Postgres."""

_QUERIES = load_queries("backstay.ledger", "traffic.sql")
_BATCH = 200
_TIMEOUT_S = 120.0


class UsageSum(msgspec.Struct, frozen=True, kw_only=True):
    """What attempts used whose input is in one tier of length."""

    above: int | None
    """Where the tier begins; ``None``: the usage is unknown."""
    attempts: int
    usage: Usage
    cost_nanousd: NanoUSD
    """The sum of what is known."""
    unknown_cost_attempts: int


class PastCall(msgspec.Struct, frozen=True, kw_only=True):
    """An answered call, as far as savings depend on it."""

    trace_id: str
    at_us: int
    model: str
    target: str
    feature: str | None
    key_id: str | None
    usage: Usage
    cost_nanousd: NanoUSD
    is_later: bool = False
    """Whether its answer could be had later: it was of priority ``batch``."""
    has_batch_price: bool = False
    is_cut: bool = False
    """Whether the answer ended at the output limit."""
    digest: bytes | None = None
    """The same for equal requests."""
    prefix: Prefix | None = None


class SomeCalls(msgspec.Struct, frozen=True, kw_only=True):
    calls: list[PastCall]
    is_partial: bool
    """Whether there are older calls in that time which are not read."""


class Traffic:
    """Reads one tenant's traffic. Times are aware; ``since`` is included, ``until`` is not."""

    def __init__(self, database: Database, digest: Digest):
        self._database = database
        self._digest = digest
        self._place = asyncio.Semaphore(1)

    async def usage(
        self,
        tenant_id: str,
        model: str,
        *,
        tiers: frozenset[int],
        since: datetime,
        until: datetime,
        key_id: str | None = None,
    ) -> list[UsageSum]:
        """Add up what a model's, or a target's, billed attempts used, apart for tiers that begin past these inputs.

        Raises ``StoreUnavailable`` if Postgres does not answer.
        """
        starts = sorted({ANY_INPUT, *tiers})
        async with self._database.tenant(tenant_id, timeout_s=_TIMEOUT_S) as connection:
            cursor = await connection.execute(
                _QUERIES["usage"],
                {"tenant_id": tenant_id, "model": model, "starts": starts, "since": since, "until": until,
                 "key_id": key_id},
                prepare=False,
            )  # fmt: skip
            return [_usage_sum(row) for row in await cursor.fetchall()]

    async def calls(
        self,
        tenant_id: str,
        *,
        since: datetime,
        until: datetime,
        model: str | None = None,
        key_id: str | None = None,
        most: int = MAX_CALLS,
    ) -> AsyncGenerator[SomeCalls]:
        """Give the newest calls, the oldest of them first, some at a time.

        Raises:
            Overloaded: Somebody reads here already.
            StoreUnavailable: Postgres does not answer.
        """
        if self._place.locked():
            raise Overloaded("This worker looks through its traffic already. Try again once that has ended.")
        asked = {"tenant_id": tenant_id, "since": since, "until": until, "model": model, "key_id": key_id}
        async with self._place, self._database.tenant(tenant_id, timeout_s=_TIMEOUT_S) as connection:
            found = await connection.execute(_QUERIES["traffic_since"], {**asked, "calls": most}, prepare=False)
            (first,) = await found.fetchall()
            async with connection.cursor("traffic") as cursor:
                await cursor.execute(_QUERIES["traffic"], {**asked, "since": first["since"]})
                while rows := await cursor.fetchmany(_BATCH):
                    calls = await asyncio.to_thread(self._read, rows)
                    yield SomeCalls(calls=calls, is_partial=first["has_more"])

    def _read(self, rows: list[dict[str, Any]]) -> list[PastCall]:
        return [self._past_call(row) for row in rows]

    def _past_call(self, row: Mapping[str, Any]) -> PastCall:
        body = (row["input"] or "").encode()
        operation, dialect = row["operation"] or "", row["dialect"] or ""
        return PastCall(
            trace_id=row["trace_id"],
            at_us=row["at_us"],
            model=row["model"],
            target=row["target"],
            feature=row["feature"],
            key_id=row["key_id"],
            usage=_usage(row),
            cost_nanousd=NanoUSD(row["cost_nanousd"]),
            is_later=row["priority"] == "batch",
            has_batch_price=(row["price_source"] or "").endswith(" batch"),
            is_cut="length" in row["finish_reasons"],
            digest=self._digest(operation, dialect, row["model"], body) if body else None,
            prefix=find_prefix(body, row["input_tokens"] or 0) if operation == "chat" else None,
        )


def _usage_sum(row: Mapping[str, Any]) -> UsageSum:
    return UsageSum(
        above=row["above"],
        attempts=row["attempts"],
        usage=_usage(row),
        cost_nanousd=NanoUSD(row["cost_nanousd"]),
        unknown_cost_attempts=row["unknown_cost_attempts"],
    )


def _usage(row: Mapping[str, Any]) -> Usage:
    """Put together what was used. Lines count what has a price of its own: what has none is in its whole alone."""
    billed: Mapping[str, int] = row["quantities"]
    audio_read, written_1h = billed.get("cache_audio_read_mtok", 0), billed.get("cache_write_1h_mtok", 0)
    image_read = billed.get("cache_image_read_mtok", 0)
    return Usage(
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        cache_read_tokens=billed.get("cache_read_mtok", 0) + audio_read + image_read,
        cache_write_tokens=billed.get("cache_write_mtok", 0) + written_1h,
        cache_write_1h_tokens=written_1h,
        reasoning_tokens=billed.get("output_reasoning_mtok", 0),
        input_audio_tokens=billed.get("input_audio_mtok", 0) + audio_read,
        output_audio_tokens=billed.get("output_audio_mtok", 0),
        cache_audio_read_tokens=audio_read,
        input_image_tokens=billed.get("input_image_mtok", 0) + image_read,
        output_image_tokens=billed.get("output_image_mtok", 0),
        cache_image_read_tokens=image_read,
        citation_tokens=billed.get("output_citation_mtok", 0),
        web_searches=billed.get("web_searches_kcount", 0),
        storage_searches=billed.get("storage_searches_kcount", 0),
    )
