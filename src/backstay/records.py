"""Owns what a call writes into the journal: its documents, where they are shipped to, and the one of a call cut short.

It stands apart from the gateway so that the shipping process need not load what answers calls.
"""

import msgspec

from backstay.budgets import MERGE_CHARGES, Charge
from backstay.conversations import MERGE_RESPONSES
from backstay.core.money import NanoUSD
from backstay.idempotency import MERGE_CLAIMS, ClaimEnd
from backstay.jobs import MERGE_JOBS, JobEnd
from backstay.ledger import MERGE_ENTRIES, LedgerEntry
from backstay.tracing import MERGE_SPANS, Span
from backstay.tracing.types import BATCH_ID

MERGES = (MERGE_SPANS, MERGE_ENTRIES, MERGE_RESPONSES, MERGE_CLAIMS, MERGE_JOBS, MERGE_CHARGES)
"""What a shipper runs on each batch of entries."""

_encoder = msgspec.json.Encoder()


class CallDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The first part of a call's journal frame. The other two are the request and the answer, as they were."""

    tenant_id: str
    spans: tuple[Span, ...]
    entries: tuple[LedgerEntry, ...]
    claim: ClaimEnd | None = None
    """Of a call with an idempotency key, where Postgres was not told how it ended."""
    holder: str | None = None
    """Who had leased what ``charges`` take."""
    charges: tuple[Charge, ...] = ()
    """What it cost the budgets that it touches."""
    job: JobEnd | None = None
    """Of a call that was made for a job: the answer, so that it is there once it is paid for."""


class IntentDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The only part of an intent's journal frame: what is known before a provider is called."""

    tenant_id: str
    call_id: str
    trace_id: str
    parent_id: str | None = None
    at_ns: int
    operation: str
    model: str
    target: str
    key_id: str
    user_id: str | None = None
    feature: str | None = None
    tags: tuple[str, ...] = ()
    dialect: str
    idempotency_key: str | None = None
    holder: str | None = None
    pledges: tuple[Charge, ...] = ()
    """What is reserved for it: the worst case."""
    batch_id: str | None = None
    worst_nanousd: NanoUSD | None = None
    """The most that its attempts can cost; ``None`` where no budget counts it, and nobody has worked it out."""


def interrupted(document: bytes) -> list[bytes]:
    """Write the frame of a call whose worker died before it could: what it came to, nobody knows.

    Its cost is the worst that was reserved for it, or unknown, and unconfirmed: it can only have cost less. Its
    idempotency key is free again.
    """
    intent = msgspec.json.decode(document, type=IntentDocument)
    claim = None
    if intent.idempotency_key is not None:
        claim = ClaimEnd(key_id=intent.key_id, key=intent.idempotency_key, claim_id=intent.call_id)
    call = CallDocument(
        tenant_id=intent.tenant_id,
        spans=(_span(intent),),
        entries=(_entry(intent),),
        claim=claim,
        holder=intent.holder,
        charges=intent.pledges,
    )
    return [_encoder.encode(call), b"", b""]


def _span(intent: IntentDocument) -> Span:
    return Span(
        span_id=intent.call_id,
        trace_id=intent.trace_id,
        parent_id=intent.parent_id,
        kind="call",
        name=f"{intent.operation} {intent.model}",
        started_at_ns=intent.at_ns,
        duration_ns=0,
        status="interrupted",
        error_code="worker_lost",
        error_message="The worker ended before the call did. What the provider did with it is not known.",
        operation=intent.operation,
        model=intent.model,
        target=intent.target,
        key_id=intent.key_id,
        user_id=intent.user_id,
        feature=intent.feature,
        tags=intent.tags,
        input_dialect=intent.dialect,
        cost_nanousd=intent.worst_nanousd,
        attributes={} if intent.batch_id is None else {BATCH_ID: intent.batch_id},
    )


def _entry(intent: IntentDocument) -> LedgerEntry:
    return LedgerEntry(
        call_id=intent.call_id,
        attempt=0,
        at_ns=intent.at_ns,
        trace_id=intent.trace_id,
        key_id=intent.key_id,
        user_id=intent.user_id,
        feature=intent.feature,
        tags=intent.tags,
        model=intent.model,
        target=intent.target,
        cost_nanousd=intent.worst_nanousd,
        unconfirmed=True,
    )
