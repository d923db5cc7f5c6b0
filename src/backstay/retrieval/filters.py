"""Owns filters: a small language over documents' metadata, written as a jsonpath that Postgres evaluates.

``{"year": {"gte": 2020}, "lang": ["en", "de"], "not": {"draft": true}}``: all parts hold. A field is compared with a
value, with a list of which one fits, or with ``eq``, ``ne``, ``gt``, ``gte``, ``lt``, ``lte``, ``in`` or ``exists``;
``and`` and ``or`` take lists of filters, ``not`` takes one. Where a field is a list, one of its items is enough. A
field that is not there fits no comparison.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, cast

import msgspec

from backstay.core.errors import InvalidRequest

_MOST_PARTS = 200
_DEEPEST = 8
_FIELD = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_OPERATORS = {"eq": "==", "ne": "!=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """A filter that was read."""

    told: dict[str, Any]
    jsonpath: str


def read_filter(told: Mapping[str, Any] | None) -> Filter | None:
    """Read a filter; ``None`` for one without parts, which everything meets. Raises as ``to_jsonpath``."""
    jsonpath = to_jsonpath(told) if told else None
    return None if told is None or jsonpath is None else Filter(told=dict(told), jsonpath=jsonpath)


def to_jsonpath(told: Mapping[str, Any]) -> str | None:
    """Write a filter as a jsonpath predicate; ``None`` for one without parts, which everything meets.

    Raises:
        InvalidRequest: It is not a filter; the message says where and what would be.
    """
    budget = [_MOST_PARTS]
    return _all(told, "filter", 0, budget) if told else None


def _all(told: Any, path: str, depth: int, budget: list[int]) -> str:
    if not isinstance(told, dict) or not told:
        raise _wrong(path, 'must be an object with at least one field, such as {"year": {"gte": 2020}}')
    if depth > _DEEPEST:
        raise _wrong(path, f"is nested deeper than {_DEEPEST}")
    parts: list[str] = []
    for name, wanted in cast(dict[str, Any], told).items():
        budget[0] -= 1
        if budget[0] < 0:
            raise _wrong("filter", f"has more than {_MOST_PARTS} parts")
        parts.append(_part(name, wanted, f"{path}.{name}", depth, budget))
    return _joined(parts, " && ")


def _part(name: str, wanted: Any, path: str, depth: int, budget: list[int]) -> str:
    if name in ("and", "or"):
        if not isinstance(wanted, list) or not wanted:
            raise _wrong(path, "must be a list of filters")
        given = cast(list[Any], wanted)
        parts = [_all(each, f"{path}[{place}]", depth + 1, budget) for place, each in enumerate(given)]
        return _joined(parts, " && " if name == "and" else " || ")
    if name == "not":
        return f"!({_all(wanted, path, depth + 1, budget)})"
    if _FIELD.fullmatch(name) is None:
        raise _wrong(path, "must have a field's name: visible text of up to 200 characters")
    field = f"$.{_quoted(name)}"
    if isinstance(wanted, dict):
        rules = cast(dict[str, Any], wanted)
        if not rules:
            raise _wrong(path, f"must have one of {_known()}")
        return _joined(
            [_rule(field, operator, value, f"{path}.{operator}") for operator, value in rules.items()], " && "
        )
    if isinstance(wanted, list):
        return _one_of(field, cast(list[Any], wanted), path)
    return _some(field, "==", _value(wanted, path))


def _rule(field: str, operator: str, value: Any, path: str) -> str:
    if operator == "in":
        return _one_of(field, value, path)
    if operator == "exists":
        if not isinstance(value, bool):
            raise _wrong(path, "must be true or false")
        return f"{'' if value else '!'}exists({field})"
    if operator not in _OPERATORS:
        raise _wrong(path, f"is no operator; those are {_known()}")
    if operator not in ("eq", "ne") and (isinstance(value, bool) or not isinstance(value, str | int | float)):
        raise _wrong(path, "must be a number or a text, which have an order")
    if operator == "ne":
        return f"(exists({field}) && !{_some(field, '==', _value(value, path))})"
    return _some(field, _OPERATORS[operator], _value(value, path))


def _one_of(field: str, values: Any, path: str) -> str:
    if not isinstance(values, list) or not values or len(cast(list[Any], values)) > _MOST_PARTS:
        raise _wrong(path, f"must be a list of 1 to {_MOST_PARTS} values")
    return _joined([_some(field, "==", _value(each, path)) for each in cast(list[Any], values)], " || ")


def _some(field: str, sign: str, value: str) -> str:
    """Write that an item of a field compares so; where values have no order between them, ``exists`` says no."""
    return f"exists({field}[*] ? (@ {sign} {value}))"


def _value(value: Any, path: str) -> str:
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and abs(value) < float("inf")):
        return json.dumps(value)
    if isinstance(value, str) and len(value) <= 2000 and "\x00" not in value:
        return _quoted(value)
    raise _wrong(path, "must be a text of up to 2,000 characters, a number, true, false or null")


def _quoted(text: str) -> str:
    """Write a text as a jsonpath string: JSON's escapes are a part of jsonpath's."""
    return json.dumps(text)


def _joined(parts: list[str], by: str) -> str:
    return parts[0] if len(parts) == 1 else "(" + by.join(parts) + ")"


def _known() -> str:
    return ", ".join([*_OPERATORS, "in", "exists"])


def _wrong(path: str, what: str) -> InvalidRequest:
    return InvalidRequest(f"`{path}` {what}.", param=path)
