"""Owns the way that tests of traces make spans and bring them into Postgres: the product's own."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from backstay.core.ids import new_span_id, new_trace_id
from backstay.store import Database
from backstay.store.backlog import Entry
from backstay.store.shipment import Shipment
from backstay.tracing import MERGE_SPANS, Span


class Ship:
    """Ships calls as a worker does: ``await ship(tenant_id, call, call, input=..., output=...)``."""

    def __init__(self, database: Database, folder: Path):
        self._shipment = Shipment(database, [MERGE_SPANS], folder / "rejected")

    async def __call__(self, tenant_id: str, *calls: Span | Sequence[Span], input: str = "", output: str = "") -> None:
        """Ship each call, a root span or all of its spans, in one batch, all with the same texts."""
        entries: list[Entry] = []
        for call in calls:
            document = {"tenant_id": tenant_id, "spans": [call] if isinstance(call, Span) else call, "entries": ()}
            parts = (msgspec.json.encode(document), input.encode(), output.encode())
            entries.append(Entry.of(os.urandom(8), parts))
        await self._shipment.ship(entries)
        assert self._shipment.rejected == 0


def nanoseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1_000


def call(at: datetime, **fields: Any) -> Span:
    """Make a call's root span; every field but the time has a default."""
    defaults: dict[str, Any] = {
        "span_id": new_span_id(),
        "trace_id": new_trace_id(),
        "kind": "call",
        "name": "chat fast",
        "duration_ns": 1_000_000,
        "status": "ok",
        "operation": "chat",
        "model": "fast",
        "target": "acme/gpt",
    }
    return Span(started_at_ns=nanoseconds(at), **{**defaults, **fields})


def attempt(of: Span, **fields: Any) -> Span:
    """Make a span of an attempt of a call, one microsecond later."""
    defaults: dict[str, Any] = {
        "span_id": new_span_id(),
        "trace_id": of.trace_id,
        "parent_id": of.span_id,
        "kind": "attempt",
        "name": "chat gpt",
        "started_at_ns": of.started_at_ns + 1_000,
        "duration_ns": 900_000,
        "status": "ok",
        "target": "acme/gpt",
    }
    return Span(**{**defaults, **fields})
