"""Owns errors on Bedrock's wire, as answers and inside streams: reading them, and writing such as AWS's SDKs know.

Source: botocore 1.44.8, ``data/bedrock-runtime/2023-09-30/service-2.json`` (the errors of ``Converse`` and the
exceptions of ``ConverseStreamOutput``); https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html
and https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html (2026-11).
"""

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from backstay.core.errors import BackstayError, ProviderError
from backstay.providers.errors import is_retryable, kind_of, read_retry_after, retry_headers, shorten
from backstay.providers.event_stream import write_event
from backstay.providers.secrets import redact

_KINDS: Mapping[str, str] = {
    "ValidationException": "invalid_request",
    "AccessDeniedException": "permission",
    "NotAuthorized": "permission",
    "OptInRequired": "permission",
    "UnrecognizedClientException": "authentication",
    "InvalidSignatureException": "authentication",
    "InvalidClientTokenId": "authentication",
    "IncompleteSignature": "authentication",
    "IncompleteSignatureException": "authentication",
    "MissingAuthenticationToken": "authentication",
    "MissingAuthenticationTokenException": "authentication",
    "ExpiredTokenException": "authentication",
    "ExpiredToken": "authentication",
    "RequestExpired": "authentication",
    "ResourceNotFoundException": "not_found",
    "ServiceQuotaExceededException": "quota",
    "ThrottlingException": "rate_limit",
    "ModelNotReadyException": "overloaded",
    "ServiceUnavailableException": "overloaded",
    "ModelTimeoutException": "timeout",
    "ModelErrorException": "api_error",
    "ModelStreamErrorException": "api_error",
    "InternalServerException": "api_error",
}
"""What each error is. Guarded by test_every_error_of_the_service_has_a_kind."""

_OF_THE_MODEL = ("ModelErrorException", "ModelStreamErrorException")
"""AWS reached the model, which failed: 424 by status, and worth another try."""

_TOO_LONG = (
    "input is too long",
    "prompt is too long",
    "context window",
    "context length",
    "exceeds the maximum number of input tokens",
    "exceed context limit",
)
_SPENT = ("too many tokens per day",)

_CANONICAL = "The Canonical String for this request"
"""From here on, the error of a wrong signature repeats the signed headers, the session token among them."""

_NAME_OF_STATUS: Mapping[int, str] = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    """Read an answer whose status says that it failed."""
    name = headers.get("x-amzn-errortype", "").partition(":")[0] or None
    message, named = _read_body(body)
    name = name or named
    kind = _kind(status, name, message)
    return ProviderError(
        message,
        status=status if status >= 400 else 502,
        kind=kind,
        provider_code=name,
        retryable=name in _OF_THE_MODEL or is_retryable(status, kind, headers),
        retry_after_s=read_retry_after(headers),
    )


def _kind(status: int, name: str | None, message: str) -> str:
    text = message.lower()
    if status == 400 and any(words in text for words in _TOO_LONG):
        return "context_length"
    if status == 429 and any(words in text for words in _SPENT):
        return "quota"
    return _KINDS.get(name or "", kind_of(status))


def _read_body(body: bytes) -> tuple[str, str | None]:
    """Return the message, without anything secret, and the error's name where the body has it."""
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        value = body.decode("utf-8", "replace")
    message, name = value, None
    if isinstance(value, dict):
        found = cast(dict[str, Any], value)
        message = found.get("message") or found.get("Message") or found.get("originalMessage") or found
        name = found.get("__type")
    text = message if isinstance(message, str) else msgspec.json.encode(message).decode()
    text = text.partition(_CANONICAL)[0].strip() or "The provider answered with an error and no message."
    return shorten(redact(text)), name.rpartition("#")[2] if isinstance(name, str) else None


def read_exception(headers: Mapping[str, str], payload: bytes) -> tuple[str, str | None]:
    """Return the message and the name of an error inside a stream."""
    if headers.get(":message-type") == "error":
        return shorten(redact(headers.get(":error-message") or "The provider's stream failed.")), headers.get(
            ":error-code"
        )
    name = headers.get(":exception-type")
    return _read_body(payload)[0], None if name is None else name[:1].upper() + name[1:]


def write_error(error: BackstayError, *, request_id: str | None = None) -> tuple[int, dict[str, str], bytes]:
    """Write an error with its status and headers."""
    headers = retry_headers(error) | {"x-amzn-errortype": _name(error)}
    if request_id is not None:
        headers["x-amzn-requestid"] = request_id
    return error.status, headers, msgspec.json.encode({"message": error.message})


def write_stream_error(error: BackstayError) -> bytes:
    """Write an error inside a stream that has begun."""
    return write_exception(error.message, _name(error))


def write_exception(message: str, name: str | None) -> bytes:
    """Write an exception of a stream; one that a stream cannot have is the server's own."""
    known = name if name in _IN_STREAMS else "InternalServerException"
    kind = f"{known[:1].lower()}{known[1:]}"
    headers = {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    return write_event(msgspec.json.encode({"message": message}), headers)


_IN_STREAMS = (
    "InternalServerException",
    "ModelStreamErrorException",
    "ValidationException",
    "ThrottlingException",
    "ServiceUnavailableException",
)


def _name(error: BackstayError) -> str:
    own = error.provider_code if isinstance(error, ProviderError) else None
    if own in _KINDS:
        return str(own)
    fallback = "ServiceUnavailableException" if error.status >= 500 else "ValidationException"
    return _NAME_OF_STATUS.get(error.status, fallback)
