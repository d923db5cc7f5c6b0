"""Owns the books that tests of rollups ship: calls of several hours with attempts, tags and unknown costs."""

import os
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import LiteralString

import msgspec

from backstay.core.money import NanoUSD
from backstay.ledger import MERGE_ENTRIES, LedgerEntry
from backstay.store import Database
from backstay.store.backlog import Entry
from backstay.store.shipment import Shipment
from backstay.tracing import MERGE_SPANS, Span

DAY = datetime(2026, 11, 20, tzinfo=UTC)
TENANTS = ("acme", "default")
TARGETS = ("acme/gpt", "other/gpt", "acme/mini")


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """What one call leaves, as in a journal."""

    tenant_id: str
    spans: tuple[Span, ...]
    entries: tuple[LedgerEntry, ...]


def make_documents(rng: random.Random, count: int, *, days: int = 3) -> list[Document]:
    """Make calls of some days, many of them at full hours; one in three has several attempts."""
    return [_make_document(rng, rng.choice(TENANTS), days) for _ in range(count)]


def _make_document(rng: random.Random, tenant_id: str, days: int) -> Document:
    hours = rng.randrange(24 * days)
    at = DAY + timedelta(hours=hours, microseconds=rng.choice((0, 1, rng.randrange(3_600_000_000))))
    call_id, trace_id = f"{rng.getrandbits(64):016x}", f"{rng.getrandbits(128):032x}"
    at_ns = int((at - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)) * 1_000
    key_id, user_id = rng.choice(("key_1", "key_2")), rng.choice(("jo", "mo", "", None))
    feature, model = rng.choice(("search", None)), rng.choice(("fast", "smart"))
    tags = tuple(rng.sample(("a", "b", "c"), rng.randrange(4)))
    status = rng.choice(("ok", "ok", "error", "cancelled", "interrupted"))
    entries = tuple(
        LedgerEntry(
            call_id=call_id,
            attempt=attempt,
            at_ns=at_ns,
            trace_id=trace_id,
            key_id=key_id,
            user_id=user_id,
            feature=feature,
            tags=tags,
            model=model,
            target=rng.choice(TARGETS),
            input_tokens=rng.choice((None, rng.randrange(1_000))),
            output_tokens=rng.choice((None, rng.randrange(100))),
            cost_nanousd=None if rng.random() < 0.2 else NanoUSD(rng.randrange(10**6)),
            estimated=rng.random() < 0.1,
            unconfirmed=rng.random() < 0.1,
        )
        for attempt in range(rng.choice((0, 1, 1, 1, 2, 3)))
        if rng.random() < 0.9
    )
    costs = [entry.cost_nanousd for entry in entries]
    root = Span(
        span_id=call_id,
        trace_id=trace_id,
        kind="call",
        name=f"chat {model}",
        started_at_ns=at_ns,
        duration_ns=rng.choice((0, 1, int(10 ** rng.uniform(6, 11)))),
        status=status,
        model=model,
        target=entries[-1].target if entries else None,
        key_id=key_id,
        user_id=user_id,
        feature=feature,
        tags=tags,
        first_token_ns=rng.choice((None, int(10 ** rng.uniform(6, 10)))),
        input_tokens=rng.choice((None, 7)),
        output_tokens=rng.choice((None, 3)),
        cost_nanousd=NanoUSD(sum(cost for cost in costs if cost is not None)) if None not in costs else None,
    )
    tries = (
        Span(
            span_id=f"{rng.getrandbits(64):016x}",
            trace_id=trace_id,
            parent_id=call_id,
            kind="attempt",
            name="chat",
            started_at_ns=at_ns + 1_000,
            duration_ns=1,
            status="ok",
            target=entry.target,
            cost_nanousd=entry.cost_nanousd,
        )
        for entry in entries
    )
    return Document(tenant_id=tenant_id, spans=(root, *tries), entries=entries)


async def ship(
    database: Database,
    folder: Path,
    documents: Sequence[Document],
    *,
    batch: int = 20,
    merge: LiteralString = MERGE_ENTRIES,
) -> None:
    """Ship calls in batches, as a worker does. Nothing may be rejected."""
    shipment = Shipment(database, [MERGE_SPANS, merge], folder / "rejected")
    entries = [Entry.of(os.urandom(8), (msgspec.json.encode(document),)) for document in documents]
    for start in range(0, len(entries), batch):
        await shipment.ship(entries[start : start + batch])
    assert shipment.rejected == 0
