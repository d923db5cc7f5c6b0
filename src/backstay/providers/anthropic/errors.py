"""Owns errors on Anthropic's wire: reading them, and writing such as its SDK maps to its own classes.

Source: https://docs.claude.com/en/api/errors and anthropic Python SDK 2.12.0, ``types/shared/error_type.py`` (2026-08).
"""

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from backstay.core.errors import BackstayError, Overloaded, ProviderError
from backstay.providers.errors import is_retryable, kind_of, read_retry_after, retry_headers, shorten
from backstay.providers.secrets import redact
from backstay.providers.sse import write_frame

_KIND_OF_TYPE: Mapping[str, str] = {
    "invalid_request_error": "invalid_request",
    "request_too_large": "invalid_request",
    "authentication_error": "authentication",
    "billing_error": "quota",
    "permission_error": "permission",
    "not_found_error": "not_found",
    "rate_limit_error": "rate_limit",
    "timeout_error": "timeout",
    "api_error": "api_error",
    "overloaded_error": "overloaded",
}
_TYPE_OF_STATUS: Mapping[int, str] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_TOO_LONG = ("prompt is too long", "exceed context limit", "context window")
_SPENT = ("credit balance is too low", "usage limits")


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """Read an answer whose status says that it failed."""
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        value = body.decode("utf-8", "replace")
    found: Any = cast(dict[str, Any], value).get("error", value) if isinstance(value, dict) else value
    message, code = read_error_object(found)
    kind = _kind(status, message, code)
    return ProviderError(
        message,
        status=status if status >= 400 else 502,
        kind=kind,
        provider_code=code,
        retryable=is_retryable(status, kind, headers),
        retry_after_s=read_retry_after(headers),
    )


def _kind(status: int, message: str, code: str | None) -> str:
    text = message.lower()
    if status == 400 and any(words in text for words in _TOO_LONG):
        return "context_length"
    if status in (400, 429) and (code == "enforced_spend_limit_reached" or any(words in text for words in _SPENT)):
        return "quota"
    return _KIND_OF_TYPE.get(code or "", kind_of(status))


def read_error_object(error: Any) -> tuple[str, str | None]:
    """Return an error's message, without anything that looks like a key, and its code or type."""
    message: Any = error
    code: Any = None
    if isinstance(error, dict):
        found = cast(dict[str, Any], error)
        message, code = found.get("message") or found, found.get("type")
        details: Any = found.get("details")
        if isinstance(details, dict):
            code = cast(dict[str, Any], details).get("error_code") or code
    text = message if isinstance(message, str) else msgspec.json.encode(message).decode()
    text = text or "The provider answered with an error and no message."
    return shorten(redact(text)), code if isinstance(code, str) else None


def write_error(error: BackstayError, *, request_id: str | None = None) -> tuple[int, dict[str, str], bytes]:
    """Write an error with its status and headers."""
    headers = retry_headers(error)
    body = _error_body(error)
    if request_id is not None:
        headers["request-id"] = body["request_id"] = request_id
    return _status(error), headers, msgspec.json.encode(body)


def write_stream_error(error: BackstayError) -> bytes:
    """Write an error inside a stream that has begun."""
    return write_frame(msgspec.json.encode(_error_body(error)), "error")


def _status(error: BackstayError) -> int:
    """Return the status: this wire has one of its own for being overloaded."""
    overloaded = isinstance(error, Overloaded) or (isinstance(error, ProviderError) and error.kind == "overloaded")
    return 529 if overloaded else error.status


def _error_body(error: BackstayError) -> dict[str, Any]:
    status = _status(error)
    kind = _TYPE_OF_STATUS.get(status, "invalid_request_error" if status < 500 else "api_error")
    code = error.code
    if isinstance(error, ProviderError):
        code = error.provider_code or error.code
        if error.kind == "quota":
            kind = "billing_error"
    details = {"error_code": code, "param": error.param}
    return {"type": "error", "error": {"type": kind, "message": error.message, "details": details}}
