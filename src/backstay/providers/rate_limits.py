"""Owns the reading of rate limits from the headers of providers' answers."""

import time
from collections.abc import Mapping
from datetime import datetime

from backstay.core.rate_limit import RateLimit
from backstay.providers.errors import LONGEST_WAIT_S, read_duration


def read_rate_limits(headers: Mapping[str, str]) -> tuple[RateLimit | None, RateLimit | None]:
    """Read the limits of requests and of tokens; ``None`` for what the headers do not tell.

    Source: OpenAI, "Rate limits in headers", with resets such as ``6m0s``; Anthropic, "Response headers", with resets
    in RFC 3339 (2026-08). Many compatible servers follow OpenAI.
    """
    if "x-ratelimit-limit-requests" in headers or "x-ratelimit-limit-tokens" in headers:
        return _openai(headers, "requests"), _openai(headers, "tokens")
    if "anthropic-ratelimit-requests-limit" in headers:
        return _anthropic(headers, "requests"), _anthropic(headers, "tokens")
    return None, None


def _openai(headers: Mapping[str, str], what: str) -> RateLimit | None:
    reset_s = read_duration(headers.get(f"x-ratelimit-reset-{what}"))
    return _limit(headers.get(f"x-ratelimit-limit-{what}"), headers.get(f"x-ratelimit-remaining-{what}"), reset_s)


def _anthropic(headers: Mapping[str, str], what: str) -> RateLimit | None:
    prefix = f"anthropic-ratelimit-{what}-"
    reset_s = _until(headers.get(f"{prefix}reset"))
    return _limit(headers.get(f"{prefix}limit"), headers.get(f"{prefix}remaining"), reset_s)


def _limit(limit: str | None, remaining: str | None, reset_s: float | None) -> RateLimit | None:
    try:
        known = RateLimit(limit=float(limit or ""), remaining=float(remaining or ""), reset_s=reset_s)
    except ValueError:
        return None
    return known if known.limit > 0 else None


def _until(moment: str | None) -> float | None:
    try:
        wait_s = datetime.fromisoformat(moment or "").timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, wait_s), LONGEST_WAIT_S)
