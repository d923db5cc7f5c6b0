"""Owns the map from litellm's exceptions to errors of providers. No I/O.

Source: litellm 1.110.2, ``exceptions.py`` and ``litellm_core_utils/exception_mapping_utils.py`` (2026-11).
"""

import re
from collections.abc import Mapping
from typing import Any

from backstay.core.errors import BackstayError, ProviderError, ProviderTimeout, ProviderUnreachable, Untranslatable
from backstay.providers.errors import is_retryable, kind_of, read_retry_after, shorten
from backstay.providers.secrets import Secret, redact

_CODES: Mapping[str, str] = {
    "ContextWindowExceededError": "context_length_exceeded",
    "ContentPolicyViolationError": "content_filter",
    "PaymentRequiredError": "insufficient_quota",
}
"""Exceptions that say more than their status does, as OpenAI's codes."""

_KINDS: Mapping[str, str] = {
    "context_length_exceeded": "context_length",
    "content_filter": "content_filter",
    "insufficient_quota": "quota",
}

_OF_ITS_OWN = (AttributeError, LookupError, TypeError)
"""What litellm's own code raises where it cannot write a request, or read an answer that has come, and calls a broken
connection. The same again would fail again, and may be billed again."""

_NAMES = re.compile(r"^(?:litellm\.)?(?:\w+(?:Error|Exception|Timeout)(?::| -) *)+")
"""What litellm puts before a vendor's own words."""


def explain(library: Any, error: Exception, secrets: tuple[Secret, ...]) -> BackstayError:
    """Return what an exception of litellm stands for. Whatever it is, the call failed.

    Returns:
        ``Untranslatable`` where the vendor cannot do what was asked, else a ``ProviderError``.
    """
    error = getattr(error, "original_exception", None) or error
    words = _words(error, secrets)
    if isinstance(error, library.UnsupportedParamsError):
        return Untranslatable(words.partition(" To drop these")[0])  # its advice is for its own settings
    if isinstance(error, library.Timeout):
        return ProviderTimeout(f"The vendor did not answer in time: {words}")
    headers: Mapping[str, str] | None = getattr(error, "litellm_response_headers", None)
    status = _status(error)
    if isinstance(error, library.APIConnectionError) and isinstance(error.__context__, _OF_ITS_OWN):
        return ProviderError(f"litellm failed at this call by itself: {words}", status=502, kind="api_error")
    if isinstance(error, library.APIConnectionError) or (headers is None and status >= 500):
        return ProviderUnreachable(f"The connection to the vendor broke: {words}")
    code = _code(error)
    kind = _KINDS.get(code or "", kind_of(status))
    return ProviderError(
        words,
        status=status,
        kind=kind,
        provider_code=code,
        retryable=is_retryable(status, kind, headers or {}),
        retry_after_s=read_retry_after(headers or {}),
    )


def _status(error: Exception) -> int:
    """Return the vendor's own status where litellm tells it, else the one that litellm chose."""
    for name in ("provider_status_code", "status_code"):
        status = getattr(error, name, None)
        if isinstance(status, int) and 400 <= status < 600:
            return status
    return 502


def _code(error: Exception) -> str | None:
    found = next((_CODES[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in _CODES), None)
    code = found or getattr(error, "code", None)
    return None if code is None or str(code).isdecimal() else str(code)


def _words(error: Exception, secrets: tuple[Secret, ...]) -> str:
    """Return what the vendor said, without anything secret."""
    text = str(getattr(error, "message", None) or error)
    return shorten(redact(_NAMES.sub("", text), secrets)) or type(error).__name__
