"""Owns the verdict: what was expected, what was found, and whether that will do. Pure."""

from collections.abc import Iterator

import msgspec

from backstay.drills.figures import Figures, Outage
from backstay.drills.money import Money
from backstay.drills.scenario import Expect, Scenario


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One expectation and what became of it."""

    stretch: str | None
    """``None``: of the whole drill."""
    what: str
    limit: float
    found: float | None
    """``None``: it could not be measured, which is not good enough."""
    passed: bool


def judge(scenario: Scenario, whole: Figures, stretches: list[Figures], outage: Outage) -> list[Check]:
    """Hold the figures against what the scenario expects. ``stretches`` are in the scenario's order."""
    healthy = stretches[0]
    checks = list(_judge(None, scenario.expect, whole, healthy))
    for stretch, figures in zip(scenario.stretches, stretches, strict=True):
        checks += _judge(stretch.name, stretch.expect, figures, healthy)
    expect = scenario.expect
    if expect.max_recovery_s is not None:
        checks.append(_most(None, "recovery_s", expect.max_recovery_s, outage.recovery_s))
    if expect.max_cost_ratio is not None:
        checks.append(_most(None, "cost_ratio", expect.max_cost_ratio, outage.cost_ratio))
    if expect.max_disturbed_s is not None:
        checks.append(_most(None, "disturbed_s", expect.max_disturbed_s, outage.disturbed_s))
    if outage.booked_calls is not None:
        checks.append(_least(None, "booked_calls", whole.ok - whole.kept, outage.booked_calls))
    return checks


def judge_money(money: Money | None) -> list[Check]:
    """Hold what became of a budget against what must always be."""
    if money is None:
        return []
    return [
        _most(None, "overspent_nanousd", 0, money.overspent),
        _most(None, "beyond_leased_nanousd", 0, money.beyond_leased),
        _most(None, "needless_nanousd", money.worst_case - 1, money.needless),
        _most(None, "misbooked_nanousd", 0, money.misbooked),
        _most(None, "unusable_nanousd", 0, money.unusable),
        _most(None, "differing", 0, money.differing),
    ]


def _judge(stretch: str | None, expect: Expect, figures: Figures, healthy: Figures) -> Iterator[Check]:
    p99, usual = figures.p99_ms, healthy.p99_ms
    if expect.min_success_rate is not None:
        yield _least(stretch, "success_rate", expect.min_success_rate, round(figures.success_rate, 6))
    if expect.min_answered_rate is not None:
        yield _least(stretch, "answered_rate", expect.min_answered_rate, round(figures.answered_rate, 6))
    if expect.min_stale_rate is not None:
        yield _least(stretch, "stale_rate", expect.min_stale_rate, round(figures.stale_rate, 6))
    if expect.max_p99_ms is not None:
        yield _most(stretch, "p99_ms", expect.max_p99_ms, p99)
    if expect.max_p99_ratio is not None:
        found = round(p99 / usual, 2) if p99 is not None and usual else None
        yield _most(stretch, "p99_ratio", expect.max_p99_ratio, found)
    if expect.max_added_p99_ms is not None:
        found = round(p99 - usual, 1) if p99 is not None and usual is not None else None
        yield _most(stretch, "added_p99_ms", expect.max_added_p99_ms, found)
    if expect.max_upstream_ratio is not None:
        found = round(figures.upstream_calls / figures.calls, 3) if figures.calls else None
        yield _most(stretch, "upstream_ratio", expect.max_upstream_ratio, found)
    if expect.max_extra_ratio is not None:
        found = round(figures.extra_calls / figures.struck, 3) if figures.struck else 0.0
        yield _most(stretch, "extra_ratio", expect.max_extra_ratio, found)


def _least(stretch: str | None, what: str, limit: float, found: float | None) -> Check:
    return Check(stretch=stretch, what=what, limit=limit, found=found, passed=found is not None and found >= limit)


def _most(stretch: str | None, what: str, limit: float, found: float | None) -> Check:
    return Check(stretch=stretch, what=what, limit=limit, found=found, passed=found is not None and found <= limit)
