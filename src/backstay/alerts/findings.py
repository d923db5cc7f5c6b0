"""Owns what is found in budgets, ledger and health, and the words for it. Pure."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any
from urllib.parse import quote

import msgspec

from backstay.alerts.crossing import Gauge, percent, write_share
from backstay.alerts.rules import AlertRules, Bound
from backstay.alerts.types import Finding, Key, Severity
from backstay.budgets import Terms
from backstay.core.money import NanoUSD, usd
from backstay.health.summary import TargetSummary

_FULL = Fraction(10)
"""The level of a budget of nothing, of which something is spent: above every bound."""
_ILL_S = 30.0
"""A target is down after so long: breakers open for less when a provider hiccups."""


class SpentRow(msgspec.Struct, frozen=True, kw_only=True):
    """A budget's current window. Amounts are nano-USD."""

    tenant_id: str
    budget_id: str
    subject: str
    """Whose part of it; empty: it has no parts."""
    starts_us: int
    name: str
    scope: tuple[str, ...]
    span: str
    hard: bool
    spent: int
    amount: int

    @property
    def known_as(self) -> str:
        """As alerts name it."""
        return f"budget:{self.budget_id}" + (f"/{self.subject}" if self.subject else "")

    @property
    def window(self) -> str:
        """When it began; a lifetime has but one."""
        if self.starts_us == 0:
            return ""
        return dt.datetime.fromtimestamp(self.starts_us / 1e6, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    @property
    def title(self) -> str:
        """As people name it."""
        named = self.name or ", ".join(self.scope) or f"tenant {self.tenant_id}"
        return f"budget {named}" + (f" of {self.subject}" if self.subject else "")

    @property
    def labels(self) -> tuple[str, ...]:
        """What a rule's pattern may fit."""
        return (self.budget_id, *([self.name] if self.name else []), *self.scope)


def read_budget(row: Mapping[str, Any], policy: Mapping[str, Terms]) -> SpentRow | None:
    """Read a row with what the policy knows of its own budgets; ``None``: it is of one that the policy has no more."""
    told = dict(row)
    if row["span"] is None:
        terms = policy.get(row["budget_id"])
        if terms is None:
            return None
        told |= {
            "name": terms.name,
            "scope": [f"{dimension}:{value}" for dimension, value in terms.scope],
            "span": terms.span,
            "hard": terms.hard,
        }
    told.setdefault("spent", 0)
    told["amount"] = int(told["amount"])
    return msgspec.convert(told, SpentRow)


def gauge_of(budget: SpentRow, rules: AlertRules) -> Gauge:
    """Say how full a budget is, and at which shares somebody wants to know."""
    return Gauge(
        tenant_id=budget.tenant_id,
        subject=budget.known_as,
        window=budget.window,
        level=Fraction(budget.spent, budget.amount) if budget.amount > 0 else _FULL,
        bounds=tuple(rules.bounds_of(budget.tenant_id, budget.labels)),
    )


def spent_finding(budget: SpentRow, gauge: Gauge, bound: Bound) -> Finding:
    """Write down that a budget has reached a share."""
    spent, amount = usd(NanoUSD(budget.spent)), usd(NanoUSD(budget.amount))
    left = max(0, budget.amount - budget.spent)
    then = "Calls beyond it are refused." if budget.hard else "It is soft: calls beyond it are marked, none is refused."
    return Finding(
        key=gauge.key(bound),
        severity=_severity(bound),
        title=f"{budget.title}: {percent(bound.share)} spent",
        details=(f"{_of(budget)} are spent, {_level(budget)}.", then),
        numbers={
            "share": float(write_share(bound.share)),
            "spent_usd": spent,
            "limit_usd": amount,
            "left_usd": usd(NanoUSD(left)),
        },
        link="/costs",
    )


def find_unpriced(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, Finding]]:
    """Write down, by tenant, which targets answered calls that nobody can price."""
    return [
        (
            row["tenant_id"],
            Finding(
                key=Key(kind="unknown_price", subject=f"target:{row['target']}"),
                severity="warning",
                title=f"{row['target']} has no price",
                details=(
                    f"{_count(row['calls'], 'attempt')} of unknown cost in six hours, the last {_at(row['last_at'])}.",
                    f'Add [prices."{row["target"]}"] to backstay.toml, or run `backstay prices update`.',
                ),
                numbers={"calls": row["calls"]},
                link="/costs",
            ),
        )
        for row in rows
    ]


def find_uncovered(rows: Sequence[Mapping[str, Any]], policy: Mapping[str, Terms]) -> list[tuple[str, Finding]]:
    """Write down which hard budgets were charged more than was reserved of them."""
    found: list[tuple[str, Finding]] = []
    for row in rows:
        budget = read_budget(row, policy)
        if budget is None or not budget.hard:
            continue
        amount, most = usd(NanoUSD(budget.amount)), usd(NanoUSD(row["most"]))
        finding = Finding(
            key=Key(kind="usage_over_reservation", subject=budget.known_as, window=budget.window),
            severity="critical",
            title=f"{budget.title}: a provider told of more than the worst case",
            details=(
                f"{_count(row['calls'], 'call')} in six hours cost {_dollars(budget.amount)} more than was reserved, "
                f"one of them {_dollars(row['most'])}.",
                "The whole is booked. A bound is wrong: the model's longest answer, or a price that changed.",
            ),
            numbers={"calls": row["calls"], "uncovered_usd": amount, "most_usd": most},
            link="/costs",
        )
        found.append((budget.tenant_id, finding))
    return found


def find_ill(targets: Iterable[TargetSummary], now: dt.datetime) -> list[Finding]:
    """Write down which targets are left alone for longer than a hiccup."""
    return [
        Finding(
            key=Key(kind="target_down", subject=f"target:{target.target}"),
            severity="critical",
            title=f"{target.target} is down",
            details=(
                f"{target.ill_workers} of {target.workers} workers leave it alone, since {_at(target.ill_since)}.",
                *([f"The last error: {_error(target)}."] if target.last_error else []),
            ),
            numbers={"ill_workers": target.ill_workers, "workers": target.workers},
            link=f"/routes#{quote(target.target)}",
        )
        for target in targets
        # One that is only slow stays in use, though its breaker is not closed.
        if target.standing in ("open", "checking") and target.cause != "slow" and target.ill_since is not None
        if (now - target.ill_since).total_seconds() >= _ILL_S
    ]


def _of(budget: SpentRow) -> str:
    span = "in its lifetime" if budget.span == "lifetime" else f"this {budget.span}"
    return f"{_dollars(budget.spent)} of {_dollars(budget.amount)} {span}"


def _dollars(nanousd: int) -> str:
    """Write an amount for people: exact, with cents at least."""
    whole, _, parts = usd(NanoUSD(nanousd)).partition(".")
    return f"${whole}.{parts.rstrip('0').ljust(2, '0')}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _error(target: TargetSummary) -> str:
    assert target.last_error is not None
    status = f"{target.last_error.http_status}, " if target.last_error.http_status else ""
    return status + target.last_error.fault.replace("_", " ")


def _severity(bound: Bound) -> Severity:
    return "critical" if bound.share >= 1 else "warning" if bound.share * 10 >= 8 else "info"


def _level(budget: SpentRow) -> str:
    return percent(Fraction(budget.spent, budget.amount)) if budget.amount > 0 else "of a budget of nothing"


def _at(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
