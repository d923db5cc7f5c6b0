"""Owns the headers that tell callers where they stand.

Source: draft-ietf-httpapi-ratelimit-headers-11 (2026), ``RateLimit`` and ``RateLimit-Policy``; ``tokens`` is a quota
unit of our own. OpenAI's rate limit guide, "Rate limits in headers"; Anthropic's "Rate limits", "Response headers"
(2026-11).
"""

import datetime as dt
from collections.abc import Sequence

from backstay.limits.types import LimitState, Meter

_UNITS: dict[Meter, str] = {"requests": "", "tokens": ';qu="tokens"', "concurrency": ';qu="concurrent-requests"'}


def write_headers(
    states: Sequence[LimitState], wire: str, now_ns: int, retry_us: int | None
) -> list[tuple[bytes, bytes]]:
    """Write all limits in the standard's form, and the tightest of each kind in the vendor's.

    Args:
        wire: ``anthropic``, or any other for OpenAI's form.
        now_ns: The wall clock: Anthropic's form has moments, not durations.
        retry_us: Of a refusal: in how long the limit that refused has room.
    """
    policies, limits = zip(*(_standard(state, retry_us) for state in states), strict=True)
    headers = [(b"ratelimit-policy", ", ".join(policies).encode()), (b"ratelimit", ", ".join(limits).encode())]
    for meter in ("requests", "tokens"):
        of_meter = [state for state in states if state.id.meter == meter]
        if of_meter:
            tightest = min(of_meter, key=lambda state: state.remaining)
            headers += _anthropic(tightest, now_ns) if wire == "anthropic" else _openai(tightest)
    return headers


def _standard(state: LimitState, retry_us: int | None) -> tuple[str, str]:
    name = f'"{state.id.kind}-{state.id.meter}"'
    if state.id.meter == "concurrency":
        return f"{name};q={state.limit}{_UNITS[state.id.meter]}", f"{name};r={state.remaining}"
    # More may come sooner to who was refused than to who was not: what others hold may be given back.
    next_us = state.next_us if state.remaining or retry_us is None else retry_us
    return (
        f"{name};q={state.limit}{_UNITS[state.id.meter]};w=60",
        f"{name};r={state.remaining};t={-(-next_us // 1_000_000)}",
    )


def _openai(state: LimitState) -> list[tuple[bytes, bytes]]:
    what = state.id.meter.encode()
    return [
        (b"x-ratelimit-limit-" + what, b"%d" % state.limit),
        (b"x-ratelimit-remaining-" + what, b"%d" % state.remaining),
        (b"x-ratelimit-reset-" + what, _duration(state.reset_us)),
    ]


def _anthropic(state: LimitState, now_ns: int) -> list[tuple[bytes, bytes]]:
    start = b"anthropic-ratelimit-" + state.id.meter.encode()
    full_at = dt.datetime.fromtimestamp(-(-(now_ns // 1000 + state.reset_us) // 1_000_000), dt.UTC)
    return [
        (start + b"-limit", b"%d" % state.limit),
        (start + b"-remaining", b"%d" % state.remaining),
        (start + b"-reset", full_at.strftime("%Y-%m-%dT%H:%M:%SZ").encode()),
    ]


def _duration(us: int) -> bytes:
    """Write a duration as OpenAI does: ``120ms``, ``1.5s``, ``1m0s``."""
    if us < 1_000_000:
        return b"%dms" % -(-us // 1000)
    minutes, rest_us = divmod(us, 60_000_000)
    seconds = f"{rest_us / 1e6:.3f}".rstrip("0").rstrip(".")
    return (f"{minutes}m" if minutes else "").encode() + f"{seconds}s".encode()
