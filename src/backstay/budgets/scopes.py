"""Owns which budgets a call touches: those whose scope it fits, the widest first."""

from collections.abc import Iterable, Iterator
from itertools import product

import msgspec

from backstay.budgets.types import DIMENSIONS, Dimension, Terms
from backstay.core.storable import storable


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What a call is of."""

    tenant_id: str
    key: str | None = None
    user: str | None = None
    feature: str | None = None
    model: str | None = None
    tags: tuple[str, ...] = ()

    def values(self, dimension: Dimension) -> tuple[str, ...]:
        """Give what it has of a dimension: several tags, at most one of the others."""
        if dimension == "tag":
            return tuple(map(storable, dict.fromkeys(self.tags)))
        value: str | None = getattr(self, dimension)
        return () if not value else (storable(value),)


def parse_scope(text: str) -> tuple[Dimension, str]:
    """Read ``feature:chat``.

    Raises:
        ValueError: It is not a dimension and a name.
    """
    dimension, _, value = text.partition(":")
    for known in DIMENSIONS:
        if dimension == known and value:
            return known, storable(value)
    raise ValueError(f"{text!r} is no scope; use one of {', '.join(f'{each}:NAME' for each in DIMENSIONS)}")


class BudgetRules:
    """All budgets that are in force, found by what a call is of."""

    def __init__(self, budgets: Iterable[Terms] = ()):
        self._by_shape: dict[tuple[Dimension, ...], dict[tuple[str | None, tuple[str, ...]], list[Terms]]] = {}
        for terms in budgets:
            shape: tuple[Dimension, ...] = tuple(dimension for dimension, _ in terms.scope)
            values = tuple(value for _, value in terms.scope)
            self._by_shape.setdefault(shape, {}).setdefault((terms.tenant_id, values), []).append(terms)
        self.is_empty = not self._by_shape

    def of(self, subject: Subject) -> list[tuple[Terms, str]]:
        """Find the budgets that a call touches, each with whose part of it is meant (``""``: there are no parts)."""
        found: list[tuple[Terms, str]] = []
        for shape, by_values in self._by_shape.items():
            for values in product(*map(subject.values, shape)):
                for tenant_id in (None, subject.tenant_id):
                    for terms in by_values.get((tenant_id, values), ()):
                        found += [(terms, part) for part in _parts(terms, subject)]
        found.sort(key=lambda each: (len(each[0].scope) + (each[0].per is not None), each[0].id, each[1]))
        return found


def _parts(terms: Terms, subject: Subject) -> Iterator[str]:
    if terms.per is None:
        yield ""
    else:
        yield from subject.values(terms.per)
