"""Owns whom a search is for: the principals that a request may name, which are never more than its key allows.

They come by header, by which a server or a proxy says for whom it asks, or in the body. Where both are there, the body
can only narrow what the header says; neither can say more than the key was made for. Without any, only what everybody
may read is found. Nothing that end users write for the model (messages, ``user``, metadata) is looked at.
"""

from collections.abc import Mapping, Sequence
from urllib.parse import unquote

import msgspec

from backstay.access.checks import convert
from backstay.core.caller import Caller
from backstay.core.errors import Forbidden, InvalidRequest
from backstay.retrieval.types import Principals

HEADER = b"x-backstay-principals"


class _Named(msgspec.Struct):
    principals: Principals


def read_principals(
    caller: Caller, headers: Mapping[bytes, bytes], told: Sequence[str] | None = None
) -> tuple[str, ...]:  # fmt: skip
    """Return whom to search for. ``told`` are those of the body, if it has any.

    Raises:
        InvalidRequest: The header is not principals between commas, each in percent-encoding where it has a comma.
        Forbidden: The key may not search for one of them, or the header does not name one of the body's.
    """
    named = _of_header(headers.get(HEADER))
    _require(named or (), caller.principals, "This key may not search for {}. It was made for other principals.")
    if not told:
        return named or ()
    _require(told, caller.principals, "This key may not search for {}. It was made for other principals.")
    if named is not None:
        _require(told, frozenset(named), "The header x-backstay-principals does not name {}: the body only narrows it.")
    return tuple(told)


def _of_header(value: bytes | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    try:
        parts = [unquote(part.strip(), errors="strict") for part in value.decode().split(",")]
    except UnicodeDecodeError:
        raise InvalidRequest("x-backstay-principals must be UTF-8.", param="x-backstay-principals") from None
    try:
        return convert({"principals": [part for part in parts if part]}, _Named).principals
    except InvalidRequest as error:
        raise InvalidRequest(
            f"x-backstay-principals must be principals between commas: {error.message}", param="x-backstay-principals"
        ) from None


def _require(named: Sequence[str], allowed: frozenset[str] | None, sentence: str) -> None:
    missing = next((name for name in named if allowed is not None and name not in allowed), None)
    if missing is not None:
        raise Forbidden(sentence.format(repr(missing)), param="principals")
