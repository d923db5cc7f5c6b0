"""Owns errors on Gemini's wire: reading them, and writing such as Google's SDK maps to its own classes.

Source: https://ai.google.dev/gemini-api/docs/troubleshooting; google.rpc ``Status``, ``RetryInfo``, ``QuotaFailure``
and ``ErrorInfo`` (https://cloud.google.com/apis/design/errors); google-genai 3.6.1, ``errors.py`` (2026-11).
"""

import re
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from backstay.core.errors import BackstayError, ProviderError
from backstay.providers.errors import LONGEST_WAIT_S, is_retryable, kind_of, read_retry_after, retry_headers, shorten
from backstay.providers.secrets import redact
from backstay.providers.sse import write_frame

_KIND_OF_STATUS: Mapping[str, str] = {
    "INVALID_ARGUMENT": "invalid_request",
    "FAILED_PRECONDITION": "permission",  # a country without the free tier, or a project without billing
    "OUT_OF_RANGE": "invalid_request",
    "UNAUTHENTICATED": "authentication",
    "PERMISSION_DENIED": "permission",
    "NOT_FOUND": "not_found",
    "RESOURCE_EXHAUSTED": "rate_limit",
    "UNAVAILABLE": "overloaded",
    "DEADLINE_EXCEEDED": "timeout",
    "INTERNAL": "api_error",
    "UNKNOWN": "api_error",
}
_RPC_OF_STATUS: Mapping[int, str] = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    529: "UNAVAILABLE",
}
_TOO_LONG = ("exceeds the maximum number of tokens", "input token count exceeds", "input context is too long")
_BAD_KEY = ("API_KEY_INVALID", "ACCESS_TOKEN_EXPIRED")
_SPENT = ("spending cap", "credits are depleted", "prepayment")
_NO_QUOTA = re.compile(r"limit: 0\b")
_DELAY = re.compile(r"(\d+(?:\.\d+)?)s")


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """Read an answer whose status says that it failed."""
    found = _find_error(body)
    message, code = read_error_object(found)
    details = _details(found)
    kind = _kind(status, message, code, details)
    retry_after_s = _retry_delay(details)
    return ProviderError(
        message,
        status=status if status >= 400 else 502,
        kind=kind,
        provider_code=code,
        retryable=is_retryable(status, kind, headers),
        retry_after_s=read_retry_after(headers) if retry_after_s is None else retry_after_s,
    )


def _find_error(body: bytes) -> Any:
    """Return the part of a body that describes the error. A stream's error may come in a list."""
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return body.decode("utf-8", "replace")
    if isinstance(value, list) and value:
        value = cast(list[Any], value)[0]
    return cast(dict[str, Any], value).get("error", value) if isinstance(value, dict) else cast(object, value)


def read_error_object(error: Any) -> tuple[str, str | None]:
    """Return an error's message, without anything that looks like a key, and its RPC status."""
    message: Any = error
    code: Any = None
    if isinstance(error, dict):
        found = cast(dict[str, Any], error)
        message, code = found.get("message") or found, found.get("status")
    text = message if isinstance(message, str) else msgspec.json.encode(message).decode()
    text = text or "The provider answered with an error and no message."
    return shorten(redact(text)), code if isinstance(code, str) else None


def _details(error: Any) -> list[dict[str, Any]]:
    details: Any = cast(dict[str, Any], error).get("details") if isinstance(error, dict) else None
    if not isinstance(details, list):
        return []
    return [cast(dict[str, Any], detail) for detail in cast(list[Any], details) if isinstance(detail, dict)]


def _kind(status: int, message: str, code: str | None, details: list[dict[str, Any]]) -> str:
    text = message.lower()
    if status == 400 and any(words in text for words in _TOO_LONG):
        return "context_length"
    if any(detail.get("reason") in _BAD_KEY for detail in details):
        return "authentication"
    if status == 429 and (_is_used_up(details) or _NO_QUOTA.search(text) or any(words in text for words in _SPENT)):
        return "quota"
    return _KIND_OF_STATUS.get(code or "", kind_of(status))


def _is_used_up(details: list[dict[str, Any]]) -> bool:
    """Whether a day's quota is used up, rather than a minute's.

    Source: ids such as ``GenerateRequestsPerDayPerProjectPerModel-FreeTier`` in google-gemini/gemini-cli issue 8437
    (2025-09) and in https://ai.google.dev/gemini-api/docs/rate-limits (2026-11).
    """
    for detail in details:
        violations: Any = detail.get("violations")
        if isinstance(violations, list) and any("PerDay" in str(item) for item in cast(list[Any], violations)):
            return True
    return False


def _retry_delay(details: list[dict[str, Any]]) -> float | None:
    """Read for how many seconds the provider wants to be left alone (``RetryInfo``)."""
    for detail in details:
        match = _DELAY.fullmatch(str(detail.get("retryDelay")))
        if match is not None:
            return min(float(match[1]), LONGEST_WAIT_S)
    return None


def write_error(error: BackstayError, *, request_id: str | None = None) -> tuple[int, dict[str, str], bytes]:
    """Write an error with its status and headers."""
    headers = retry_headers(error)
    if request_id is not None:
        headers["x-request-id"] = request_id
    return _status(error), headers, msgspec.json.encode({"error": _error_object(error)})


def write_stream_error(error: BackstayError) -> bytes:
    """Write an error inside a stream that has begun."""
    return write_frame(msgspec.json.encode({"error": _error_object(error)}))


def _status(error: BackstayError) -> int:
    return 503 if error.status == 529 else error.status


def _error_object(error: BackstayError) -> dict[str, Any]:
    status = _status(error)
    code = error.provider_code if isinstance(error, ProviderError) else None
    details: list[dict[str, Any]] = [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": (code or error.code).upper(),
            "domain": "backstay",
            "metadata": {} if error.param is None else {"param": error.param},
        }
    ]
    if error.retry_after_s is not None:
        delay = f"{error.retry_after_s:g}s"
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay})
    return {
        "code": status,
        "message": error.message,
        "status": _RPC_OF_STATUS.get(status, "INVALID_ARGUMENT" if status < 500 else "INTERNAL"),
        "details": details,
    }
