"""Owns the step from what a call's attempts used to what they cost."""

from collections.abc import Sequence

import msgspec

from backstay.core.chat import ChatEvent, ReasoningDelta, RefusalDelta, TextDelta, ToolUseDelta
from backstay.core.errors import ProviderTimeout, ProviderUnreachable, ProviderUnreadable
from backstay.core.money import NanoUSD
from backstay.core.usage import Usage
from backstay.gateway.recording import Attempt, Recording
from backstay.ledger import Cost, PriceBook
from backstay.providers import ReplySummary, accumulate, summarize

_BYTES_PER_TOKEN = 4
"""Rule of thumb for English in byte-level BPE vocabularies. Source: OpenAI's tokenizer page, "one token generally
corresponds to ~4 characters of text for common English text" (2026-11)."""

_FREE = Cost(amount_nanousd=NanoUSD(0), source="free (token counting)")


def settle(prices: PriceBook, recording: Recording) -> None:
    """Price every attempt for which the provider will send a bill. The recording must be closed.

    A whole answer is priced by the provider's own usage. One that broke off, was cancelled or timed out is priced from
    what was received of it, and marked as estimated. What the provider refused costs nothing.
    """
    for attempt in recording.attempts:
        if attempt.summary is None and attempt.events:
            attempt.summary = _streamed(recording, attempt)
        elif attempt.summary is None and _may_have_worked(attempt):
            attempt.summary = ReplySummary(usage=estimate_usage(recording, attempt.events, Usage()))
        if attempt.summary is not None:
            attempt.cost = _price(prices, recording, attempt, attempt.summary)


def may_be_billed(attempt: Attempt) -> bool:
    """Whether the provider may send a bill for an attempt that has ended."""
    return attempt.summary is not None or bool(attempt.events) or _may_have_worked(attempt)


def _may_have_worked(attempt: Attempt) -> bool:
    """Whether a provider of which nothing is known may have done work all the same.

    Who said that all is well, and whose answer then broke off or could not be read, has worked on it.
    """
    if attempt.status == "cancelled" or isinstance(attempt.error, ProviderTimeout):
        return True
    said_well = attempt.http_status is not None and attempt.http_status < 400
    return said_well and isinstance(attempt.error, ProviderUnreachable | ProviderUnreadable)


def _price(prices: PriceBook, recording: Recording, attempt: Attempt, summary: ReplySummary) -> Cost:
    if recording.incoming.operation == "count_tokens":
        return _FREE
    target = attempt.target
    return prices.cost(
        provider=target.price_provider,
        model_id=target.price_model,
        usage=summary.usage,
        at_ns=recording.at_ns,
        service_tier=summary.service_tier,
        target=target.name,
        is_free=target.is_free,
        duration_ms=-(-(attempt.ended_ns - attempt.started_ns) // 1_000_000),
    )


def _streamed(recording: Recording, attempt: Attempt) -> ReplySummary:
    summary = summarize(accumulate(attempt.events))
    if attempt.status == "ok" and summary.usage.is_known:
        return summary
    return msgspec.structs.replace(summary, usage=estimate_usage(recording, attempt.events, summary.usage))


def estimate_usage(recording: Recording, events: Sequence[ChatEvent], known: Usage) -> Usage:
    """Count what was received: the provider's own figures where it gave some, else an estimate."""
    output_bytes = sum(_size_bytes(event) for event in events)
    sent = estimate_tokens(len(recording.incoming.body))
    return msgspec.structs.replace(
        known,
        input_tokens=known.input_tokens if known.input_tokens is not None else sent,
        output_tokens=max(known.output_tokens or 0, estimate_tokens(output_bytes)),
        estimated=True,
    )


def _size_bytes(event: ChatEvent) -> int:
    match event:
        case TextDelta(text=text) | ReasoningDelta(text=text) | RefusalDelta(text=text) | ToolUseDelta(arguments=text):
            return len(text.encode())
        case _:
            return 0


def estimate_tokens(size_bytes: int) -> int:
    """Estimate how many tokens a text of this size has, rounded up."""
    return -(-size_bytes // _BYTES_PER_TOKEN)
