"""Owns the step from the filters of OpenAI's vector stores to Backstay's own.

Source: OpenAI's OpenAPI document, ComparisonFilter and CompoundFilter (2026-08).
"""

from typing import Any, cast

import msgspec

from backstay.core.errors import InvalidRequest

_MOST = 200
_DEEPEST = 6
_WORDS = frozenset({"and", "or", "not"})


class Comparison(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An attribute beside a value."""

    type: str
    key: str
    value: Any


def to_filter(told: Any, path: str = "filters", depth: int = 0) -> dict[str, Any]:
    """Write a filter in Backstay's own language.

    Raises:
        InvalidRequest: It is none, or names an attribute that is a word of that language.
    """
    if not isinstance(told, dict) or depth > _DEEPEST:
        raise InvalidRequest(f"`{path}` must be a comparison or a compound filter.", param=path)
    fields = {"type": "eq", **cast(dict[str, Any], told)}
    if fields["type"] in ("and", "or"):
        return _compound(fields, path, depth)
    try:
        one = msgspec.convert(fields, Comparison)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"`{path}` is no comparison: {error}.", param=path) from None
    if one.key in _WORDS:
        raise InvalidRequest(f"An attribute {one.key!r} cannot be filtered by. Name it otherwise.", param=f"{path}.key")
    match one.type:
        case "eq" | "ne" | "gt" | "gte" | "lt" | "lte" | "in":
            return {one.key: {one.type: one.value}}
        case "nin":
            return {"not": {one.key: {"in": one.value}}}
        case _:
            known = "eq, ne, gt, gte, lt, lte, in, nin, and, or"
            raise InvalidRequest(f"`{path}.type` must be one of {known}.", param=f"{path}.type")


def _compound(told: dict[str, Any], path: str, depth: int) -> dict[str, Any]:
    parts = told.get("filters")
    if not isinstance(parts, list) or not 1 <= len(cast(list[Any], parts)) <= _MOST:
        raise InvalidRequest(f"`{path}.filters` must be a list of 1 to {_MOST} filters.", param=f"{path}.filters")
    each = enumerate(cast(list[Any], parts))
    return {told["type"]: [to_filter(part, f"{path}.filters[{n}]", depth + 1) for n, part in each]}
