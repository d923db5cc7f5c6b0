"""Owns errors on OpenAI's wire: reading those of every server that speaks it, and writing such as its SDK maps.

Source: https://platform.openai.com/docs/guides/error-codes and openai Python SDK 3.54.0, ``_make_status_error``
(2026-08).
"""

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from backstay.core.errors import BackstayError, ProviderError
from backstay.providers.errors import is_retryable, kind_of, read_retry_after, retry_headers, shorten
from backstay.providers.secrets import redact
from backstay.providers.sse import write_frame

_KIND_OF_CODE: Mapping[str, str] = {
    "context_length_exceeded": "context_length",
    "string_above_max_length": "context_length",
    "content_filter": "content_filter",
    "content_policy_violation": "content_filter",
    "insufficient_quota": "quota",
    "billing_hard_limit_reached": "quota",
    "billing_not_active": "quota",
    "credit_balance_exhausted": "quota",
    "invalid_api_key": "authentication",
    "model_not_found": "not_found",
    "rate_limit_exceeded": "rate_limit",
}
_TOO_LONG = ("maximum context length", "context length exceeded", "context window", "exceeds the available context")

_TYPE_OF_STATUS: Mapping[int, str] = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """Read an answer whose status says that it failed."""
    found = _find_error(body)
    message, code = read_error_object(found)
    kind = _KIND_OF_CODE.get(code or "", kind_of(status))
    if status in (400, 413, 422, 500) and any(words in message.lower() for words in _TOO_LONG):
        kind = "context_length"
    param: Any = cast(dict[str, Any], found).get("param") if isinstance(found, dict) else None
    return ProviderError(
        message,
        status=status if status >= 400 else 502,
        kind=kind,
        provider_code=code,
        param=param if isinstance(param, str) else None,
        retryable=is_retryable(status, kind, headers),
        retry_after_s=read_retry_after(headers),
    )


def _find_error(body: bytes) -> Any:
    """Return the part of a body that describes the error: each server nests it in its own way."""
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return body.decode("utf-8", "replace")
    if isinstance(value, list) and value:
        value = cast(list[Any], value)[0]
    if not isinstance(value, dict):
        return cast(object, value)
    found = cast(dict[str, Any], value)
    return found.get("error") or found.get("detail") or found


def read_error_object(error: Any) -> tuple[str, str | None]:
    """Return an error's message, without anything that looks like a key, and its code or type."""
    message: Any = error
    code: Any = None
    if isinstance(error, dict):
        found = cast(dict[str, Any], error)
        message = found.get("message") or found.get("detail") or found
        code = found.get("code") or found.get("type")
    text = message if isinstance(message, str) else msgspec.json.encode(message).decode()
    text = text or "The provider answered with an error and no message."
    return shorten(redact(text)), None if code is None else str(code)


def write_error(error: BackstayError, *, request_id: str | None = None) -> tuple[int, dict[str, str], bytes]:
    """Write an error with its status and headers."""
    headers = retry_headers(error)
    if request_id is not None:
        headers["x-request-id"] = request_id
    status = 503 if error.status == 529 else error.status
    return status, headers, msgspec.json.encode({"error": error_object(error)})


def write_stream_error(error: BackstayError) -> bytes:
    """Write an error inside a stream that has begun."""
    return write_frame(msgspec.json.encode({"error": error_object(error)}))


def error_object(error: BackstayError) -> dict[str, Any]:
    """Write what an error says."""
    fallback = "server_error" if error.status >= 500 else "invalid_request_error"
    kind = _TYPE_OF_STATUS.get(error.status, fallback)
    code = error.code
    if isinstance(error, ProviderError):
        code = error.provider_code or error.code
        if error.kind == "quota":
            kind = "insufficient_quota"
    return {"message": error.message, "type": kind, "param": error.param, "code": code}
