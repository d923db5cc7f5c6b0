"""Owns the nouns of the ledger: a price quote, a cost line, and the entry that one attempt leaves."""

from typing import Literal

import msgspec

from backstay.core.money import NanoUSD

Unused = Literal["retry", "fallback", "hedge", "failed", "cancelled", "shadow"]
"""Why nobody has an attempt's answer. ``retry``, ``fallback``: another attempt answered after it failed; ``hedge``:
another was faster; ``failed``: no attempt answered; ``cancelled``: the caller went away; ``shadow``: it only checked
the cache."""


class CostLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of a bill: so many units of one kind at one unit price."""

    unit: str
    """What was counted, by genai-prices' name: input_mtok, cache_read_mtok, output_mtok, …"""
    quantity: int
    usd_per_million: str
    """Exact decimal."""
    amount_nanousd: NanoUSD


class Cost(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an attempt costs. ``amount_nanousd`` is ``None`` where the price or the usage is unknown: never 0."""

    amount_nanousd: NanoUSD | None
    lines: tuple[CostLine, ...] = ()
    source: str | None = None
    """Where the price is from: ``genai-prices 0.2.3 openai/gpt-4o-mini``, ``backstay.toml since 2026-01-01`` or
    ``free (local)``."""


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one attempt of a call cost, to whom it is attributed, and at which price. Never changed once written."""

    call_id: str
    """The call's span id."""
    attempt: int
    at_ns: int
    trace_id: str
    key_id: str | None = None
    user_id: str | None = None
    feature: str | None = None
    tags: tuple[str, ...] = ()
    model: str
    target: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_nanousd: NanoUSD | None
    estimated: bool = False
    unconfirmed: bool = False
    price_source: str | None = None
    lines: tuple[CostLine, ...] = ()
    unused: Unused | None = None
    """``None``: its answer was used, or nobody noted it."""
