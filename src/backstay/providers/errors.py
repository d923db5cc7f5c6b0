"""Owns what the dialects share about errors: when to try again, and which kind of error a status stands for."""

import math
import re
import time
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

from backstay.core.errors import BackstayError

LONGEST_ERROR_TEXT = 2000
"""Characters of a provider's error text that are kept."""

LONGEST_WAIT_S = 3600.0
"""The longest that a provider is left alone because it says so: who asks for more is asked again each hour."""

KIND_OF_STATUS: Mapping[int, str] = {
    400: "invalid_request",
    401: "authentication",
    402: "quota",
    403: "permission",
    404: "not_found",
    405: "invalid_request",
    408: "timeout",
    409: "invalid_request",
    413: "invalid_request",
    415: "invalid_request",
    422: "invalid_request",
    429: "rate_limit",
    498: "overloaded",  # Groq: flex capacity exceeded
    503: "overloaded",
    504: "timeout",
    529: "overloaded",  # Anthropic
}
"""What a status means where the body does not say it better. Others: 4xx invalid_request, 5xx api_error."""

_NEVER_BETTER = frozenset({"quota", "authentication", "permission", "context_length", "content_filter"})
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")


def kind_of(status: int) -> str:
    """Return the kind of error that a status stands for."""
    return KIND_OF_STATUS.get(status, "invalid_request" if 400 <= status < 500 else "api_error")


def is_retryable(status: int, kind: str, headers: Mapping[str, str]) -> bool:
    """Whether another try may succeed: the provider's own word (``x-should-retry``), else the status."""
    said = headers.get("x-should-retry")
    if said in ("true", "false"):
        return said == "true"
    if kind in _NEVER_BETTER:
        return False
    return kind in ("rate_limit", "overloaded", "timeout") or status in (408, 409) or (status >= 500 and status != 501)


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Read for how many seconds the provider wants to be left alone; ``None`` where it does not say.

    ``retry-after-ms``, then ``retry-after`` (seconds or an HTTP date), then the later ``x-ratelimit-reset-*`` of those
    limits that are used up.
    Source: RFC 9110 section 10.2.3; OpenAI's rate limit guide for the reset headers' form, such as ``6m0s`` (2026-08).
    """
    waits = [_number(headers.get("retry-after-ms"), 0.001), _number(headers.get("retry-after"), 1.0)]
    waits.append(_until(headers.get("retry-after")))
    for wait in waits:
        if wait is not None:
            return wait
    resets = [
        read_duration(headers.get(f"x-ratelimit-reset-{what}"))
        for what in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{what}") == "0"
    ]
    return max((reset for reset in resets if reset is not None), default=None)


def _number(text: str | None, unit_s: float) -> float | None:
    try:
        value = float(text or "") * unit_s
    except ValueError:
        return None
    return min(value, LONGEST_WAIT_S) if value >= 0 else None


def _until(date: str | None) -> float | None:
    try:
        moment = parsedate_to_datetime(date or "")
        # RFC 9110, section 5.6.7: always in UTC; -0000 and no zone at all are read as local time without this.
        moment_s = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, moment_s - time.time()), LONGEST_WAIT_S)


def read_duration(text: str | None) -> float | None:
    """Read a time such as ``6m0s``, ``250ms`` or ``1.5`` as seconds; ``None`` where it is none."""
    match = _DURATION.fullmatch(text or "")
    if match is None or not any(match.groups()):
        return _number(text, 1.0)
    hours, minutes, seconds, milliseconds = (float(group or 0) for group in match.groups())
    return min(hours * 3600 + minutes * 60 + seconds + milliseconds / 1000, LONGEST_WAIT_S)


def retry_headers(error: BackstayError) -> dict[str, str]:
    """Write what the official SDKs obey about trying again: ``x-should-retry`` and, where known, ``retry-after``."""
    headers = {"x-should-retry": "true" if error.retryable else "false"}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after_s))
        headers["retry-after-ms"] = str(math.ceil(error.retry_after_s * 1000))
    return headers


def shorten(text: str) -> str:
    """Cut a provider's error text to a length that fits logs and pages."""
    text = text.strip()
    return text if len(text) <= LONGEST_ERROR_TEXT else text[:LONGEST_ERROR_TEXT] + "…"
