"""Owns which budgets can be forecast: those with a window of a day or longer, each with whose calls it counts."""

import datetime as dt
from collections.abc import Iterator, Sequence

import msgspec

from backstay.budgets.scopes import parse_scope
from backstay.budgets.types import Dimension
from backstay.budgets.views import BudgetView

_TOO_SHORT = frozenset({"minute", "hour"})
_MOST = 200


class BudgetPart(msgspec.Struct, frozen=True, kw_only=True):
    """A budget, or what one of those has who have it for themselves."""

    budget_id: str
    name: str
    scope: tuple[tuple[Dimension, str], ...]
    """Whose calls count: all of it must fit."""
    described: str
    limit_usd: str
    spent_usd: str
    ends_at: dt.datetime | None
    """``None``: never."""


def budget_parts(views: Sequence[BudgetView]) -> list[BudgetPart]:
    """Give the parts of budgets that can be forecast, at most 200."""
    return [part for view in views if view.window not in _TOO_SHORT for part in _parts(view)][:_MOST]


def _parts(view: BudgetView) -> Iterator[BudgetPart]:
    scope = tuple(parse_scope(each) for each in view.scope.split(",") if not each.startswith("tenant:"))
    if view.per is None:
        yield _part(view, scope, None, "", view.limit_usd, view.spent_usd, view.resets_at)
    for use in view.subjects:
        yield _part(view, scope, view.per, use.subject, use.limit_usd, use.spent_usd, use.resets_at)


def _part(
    view: BudgetView,
    scope: tuple[tuple[Dimension, str], ...],
    per: Dimension | None,
    subject: str,
    limit_usd: str,
    spent_usd: str,
    ends_at: dt.datetime | None,
) -> BudgetPart:
    whole: tuple[tuple[Dimension, str], ...] = scope
    if per is not None:
        whole = (*scope, (per, subject))
    return BudgetPart(
        budget_id=view.id,
        name=view.name,
        scope=whole,
        described=",".join(f"{dimension}:{value}" for dimension, value in whole) or "tenant",
        limit_usd=limit_usd,
        spent_usd=spent_usd,
        ends_at=ends_at,
    )
