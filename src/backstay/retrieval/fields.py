"""Owns documents' metadata in a worker's memory, a column a field, and which documents meet a filter.

A filter means here what ``filters.py`` makes of it for Postgres, to the last item of a nested list; the hits are held
against that again. So a fault here could hide a document, but never show one.
"""

import json
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from backstay.retrieval.roll import Bools, Ints

_MOST_CELLS = 10_000_000
"""Documents times fields, of 4 bytes each. Beyond, Postgres alone knows what meets a filter."""
_LONGEST = 2001
"""Characters of a text that are kept: one more than a filter's longest, which leaves every comparison as it is."""
_DEEPEST = 3
"""Lists within lists that a jsonpath of ``filters.py`` looks into: its ``[*]``, its filter, and its comparison each
open one. Source: PostgreSQL 18, 9.16.2.1 "Strict and Lax Modes"."""

_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}

Item = tuple[str, Any]
"""A value with its kind, as 1, true and "1" are three."""
Table = npt.NDArray[np.bool_]
"""For each value of a field, and in the end for its absence, whether it fits."""


class _Column:
    """A field: its different values, and which of them each document has; -1: none."""

    def __init__(self) -> None:
        self.values: list[tuple[Item, ...]] = []
        self.codes = np.zeros(0, dtype=np.int32)
        self._numbers: dict[tuple[Item, ...], int] = {}

    def set(self, document: int, value: Any, room: int) -> None:
        if document >= len(self.codes):
            more = np.full(max(room, 2 * len(self.codes), document + 1) - len(self.codes), -1, dtype=np.int32)
            self.codes = np.concatenate([self.codes, more])
        items = tuple(_items(value, _DEEPEST))
        number = self._numbers.setdefault(items, len(self.values))
        if number == len(self.values):
            self.values.append(items)
        self.codes[document] = number

    def fits(self, table: Table, documents: int) -> Bools:
        codes = self.codes[:documents]
        return np.concatenate([table[codes], np.full(documents - len(codes), table[-1])])


class Fields:
    """The metadata of one collection's documents."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._columns: dict[str, _Column] | None = {}

    def numbers(self, document_ids: Sequence[int]) -> Ints:
        """Return the numbers by which documents are known here, new ones for new documents."""
        number = self._numbers.setdefault
        return np.array([number(each, len(self._numbers)) for each in document_ids], dtype=np.int64)

    def update(self, documents: Iterable[tuple[int, str]]) -> None:
        """Take in the metadata of documents, as JSON, in the place of what was known of them."""
        for document_id, told in documents:
            columns = self._columns
            if columns is None:
                return
            (number,) = self.numbers([document_id]).tolist()
            metadata: Mapping[str, Any] = json.loads(told, parse_float=Decimal)
            for name, column in columns.items():
                if name not in metadata and number < len(column.codes):
                    column.codes[number] = -1
            for name, value in metadata.items():
                if name not in columns:
                    self._columns = columns = {**columns, name: _Column()}
                columns[name].set(number, value, len(self._numbers))
            if len(columns) * len(self._numbers) > _MOST_CELLS:
                self._columns = None

    def fits(self, told: Mapping[str, Any]) -> Bools | None:
        """Say for each number whether its document meets a filter; ``None``: that is not known here."""
        columns, documents = self._columns, len(self._numbers)
        return None if columns is None else _all(columns, told, documents)


def _all(columns: Mapping[str, _Column], told: Mapping[str, Any], documents: int) -> Bools:
    fits = np.ones(documents, dtype=bool)
    for name, wanted in told.items():
        fits &= _part(columns, name, wanted, documents)
    return fits


def _part(columns: Mapping[str, _Column], name: str, wanted: Any, documents: int) -> Bools:
    if name in ("and", "or"):
        parts = [_all(columns, each, documents) for each in wanted]
        return (np.logical_and if name == "and" else np.logical_or).reduce(parts)
    if name == "not":
        return ~_all(columns, wanted, documents)
    column = columns.get(name) or _Column()
    sign = "in" if isinstance(wanted, list) else "eq"
    rules = cast(dict[str, Any], wanted if isinstance(wanted, dict) else {sign: wanted})
    tables = [_table(column.values, sign, value) for sign, value in rules.items()]
    return column.fits(np.logical_and.reduce(tables), documents)


def _table(values: Sequence[tuple[Item, ...]], sign: str, wanted: Any) -> Table:
    if sign == "exists":
        return np.array([wanted] * len(values) + [not wanted])
    if sign in _ORDERS:
        fits, (kind, bound) = _ORDERS[sign], _item(wanted)
        met = [any(each == kind and fits(value, bound) for each, value in items) for items in values]
    else:
        sought = {_item(each) for each in (wanted if sign == "in" else [wanted])}
        met = [sought.isdisjoint(items) == (sign == "ne") for items in values]
    return np.array([*met, False])


def _items(value: Any, depth: int) -> Iterable[Item]:
    if isinstance(value, list):
        for each in cast(list[Any], value):
            yield from _items(each, depth - 1) if depth else ()
    else:
        yield _item(value)


def _item(value: Any) -> Item:
    if value is None or isinstance(value, bool):
        return "truth", value
    if isinstance(value, int | float | Decimal):
        return "number", Decimal(repr(value)) if isinstance(value, float) else value
    return ("text", value[:_LONGEST]) if isinstance(value, str) else ("object", None)
