"""Owns what a drill is told as: one JSON document, the lines of its timeline, and the words for its figures. Pure."""

from collections.abc import Iterator
from typing import Any

import msgspec

from backstay.core.money import usd
from backstay.drills.drill import Drilled, Side
from backstay.drills.figures import Figures
from backstay.drills.load import Upstream
from backstay.drills.money import Money
from backstay.health import Report

DEEDS = {
    "kill_worker": "a worker is killed",
    "stop_postgres": "Postgres goes away",
    "start_postgres": "Postgres comes back",
    "freeze_postgres": "Postgres hangs",
    "thaw_postgres": "Postgres goes on",
}
_WORST = ("open", "half_open", "closed")


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened, at a time; ``figures`` of a stretch, for the columns."""

    at_s: float
    what: str
    note: str = ""
    figures: Figures | None = None
    seconds: float = 0.0


def document(drilled: Drilled, report: str | None = None) -> dict[str, Any]:
    """Write a drill as the JSON document of ``--json``."""
    scenario, side = drilled.scenario, drilled.backstay
    return {
        "scenario": scenario.name,
        "title": scenario.title,
        "verdict": "pass" if drilled.passed else "fail",
        "seconds": scenario.seconds,
        **_figures(side),
        "money": None if drilled.money is None else _money(drilled.money),
        "expectations": msgspec.to_builtins(drilled.checks),
        "stretches": [
            {"name": stretch.name, "from_s": stretch.from_s, "until_s": stretch.until_s, **figures_of(figures)}
            for stretch, figures in zip(scenario.stretches, drilled.stretches, strict=True)
        ],
        "timeline": [{"at_s": round(line.at_s, 2), "what": line.what, "note": line.note} for line in timeline(drilled)],
        "compare": [{"name": each.name, **_figures(each)} for each in (side, *drilled.peers)] if drilled.peers else [],
        "report": report,
    }


def _money(money: Money) -> dict[str, Any]:
    amounts = ("limit", "charged", "booked", "spent", "held", "granted_away", "charged_away", "unused", "worst_case")
    return {f"{name}_usd": usd(getattr(money, name)) for name in amounts} | {
        "refused_away": money.refused_away,
        "running": money.running,
        "untold": money.untold,
    }


def figures_of(figures: Figures) -> dict[str, Any]:
    """Write figures as JSON."""
    return {
        "calls": figures.calls,
        "succeeded": figures.ok,
        "success_rate": round(figures.success_rate, 6),
        "endings": figures.endings,
        "reasons": figures.reasons,
        "p50_ms": figures.p50_ms,
        "p95_ms": figures.p95_ms,
        "p99_ms": figures.p99_ms,
        "upstream_calls": figures.upstream_calls,
        "extra_calls": figures.extra_calls,
        "struck_calls": figures.struck,
        "targets": figures.counts,
    }


def _figures(side: Side) -> dict[str, Any]:
    outage = side.outage
    return {
        **figures_of(side.whole),
        "recovery_s": None if outage.recovery_s is None else round(outage.recovery_s, 2),
        "disturbed_s": outage.disturbed_s,
        "breaker_openings": outage.breaker_openings,
        "cost_usd": None if outage.cost_nanousd is None else usd(outage.cost_nanousd),
        "outage_cost_usd": None if outage.extra_cost_nanousd is None else usd(outage.extra_cost_nanousd),
        "booked_calls": outage.booked_calls,
    }


def timeline(drilled: Drilled) -> list[Line]:
    """Tell what happened, in order."""
    scenario = drilled.scenario
    lines = [
        Line(at_s=stretch.from_s, what=stretch.name, figures=figures, seconds=stretch.until_s - stretch.from_s)
        for stretch, figures in zip(scenario.stretches, drilled.stretches, strict=True)
    ]
    lines += [Line(at_s=event.at_s, what=DEEDS[event.do]) for event in scenario.events]
    lines += _breaker_lines(drilled.backstay.run.upstream)
    return sorted(lines, key=lambda line: line.at_s)


def _breaker_lines(upstream: list[Upstream]) -> Iterator[Line]:
    """Tell each change of a breaker, the worst of all workers counting."""
    last: dict[str, str] = {}
    began: dict[str, float] = {}
    for seen in upstream:
        for target, state in breakers(seen.health or []).items():
            before, last[target] = last.get(target, "closed"), state
            if state == before:
                continue
            struck = sum(n for name, n in seen.counts.get(target, {}).items() if name != "answer")
            if before == "closed":
                began[target] = seen.at_s
                note = f"{_cause(seen.health or [], target)}, after {struck} struck calls"
                yield Line(at_s=seen.at_s, what=f"  {target}: breaker open", note=note)
            elif state == "closed":
                yield Line(
                    at_s=seen.at_s, what=f"  {target}: breaker closed", note=f"after {seen.at_s - began[target]:.1f} s"
                )


def _cause(health: list[Report], target: str) -> str:
    causes = [each.state.cause for each in health if each.state.target.partition("/")[0] == target]
    return next((cause for cause in causes if cause not in (None, "peer")), "errors")


def breakers(health: list[Report]) -> dict[str, str]:
    """Tell the state of each target's breaker, the worst of all workers."""
    found: dict[str, str] = {}
    for report in health:
        name = report.state.target.partition("/")[0]
        found[name] = min(found.get(name, "closed"), report.state.breaker, key=_WORST.index)
    return found
