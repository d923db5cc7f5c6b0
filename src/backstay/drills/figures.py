"""Owns the figures of a run: how callers were served, what it cost upstream, and when all was well again. Pure."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from backstay.core.money import NanoUSD
from backstay.drills.installation import Booked
from backstay.drills.load import Call, Run, ended
from backstay.drills.scenario import Scenario
from backstay.drills.simulators import Counts, struck, total

WINDOW_S = 0.5
"""Stretches of time in which it is judged whether callers are served as before."""
_WELL = 0.99
"""Least share of good answers of such a stretch."""
_SLOW_RATIO = 2.0
_SLOW_S = 0.1
"""A stretch is slow when its median is so many times the healthy one's, and so much longer."""
_USED = 0.5
"""A target is used as before when it gets half of its healthy share of the calls."""
_LEAST_SHARE = 0.05
"""A target that gets less than this of the calls is not used, only asked now and then."""

_NUMBER = re.compile(r"(?<=\s)[\d.]+|\d{3,}")
_MOST_REASONS = 5


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """How the calls of some stretch of time fared."""

    calls: int
    ok: int
    kept: int
    """Of those, the calls that were answered from the cache: no target was asked, and nothing is in the ledger."""
    endings: dict[str, int]
    reasons: dict[str, int]
    """What callers whose calls did not succeed were told, the most frequent first; numbers in it left out."""
    p50_ms: float | None
    """Of good answers, to their end; ``None`` where there is none."""
    p95_ms: float | None
    p99_ms: float | None
    upstream_calls: int
    struck: int
    """Upstream calls that a fault has struck: the least number of extra calls that could mend all."""
    counts: Counts

    @property
    def success_rate(self) -> float:
        return self.ok / self.calls if self.calls else 1.0

    @property
    def stale(self) -> int:
        """Calls that were answered from an expired answer, and marked so."""
        return self.endings.get("stale", 0)

    @property
    def answered_rate(self) -> float:
        return (self.ok + self.stale) / self.calls if self.calls else 1.0

    @property
    def stale_rate(self) -> float:
        return self.stale / self.calls if self.calls else 0.0

    @property
    def extra_calls(self) -> int:
        """Upstream calls beyond one for each call."""
        return self.upstream_calls - self.calls


class Outage(msgspec.Struct, frozen=True, kw_only=True):
    """What the whole outage came to. ``None``: not known, or not over when the drill ended."""

    recovery_s: float | None
    """From the end of the last fault until callers and targets were as before."""
    disturbed_s: float
    """Time in which callers were not served as before, in steps of half a second."""
    breaker_openings: int | None
    cost_nanousd: NanoUSD | None
    """Of all calls, from the ledger."""
    extra_cost_nanousd: NanoUSD | None
    """What of it was more than the answers would have cost without faults."""
    cost_ratio: float | None
    """The cost, over what the answers that targets gave cost: 1 where what is answered again is free."""
    booked_calls: int | None
    """Calls in the ledger."""


def measure(run: Run, from_s: float, until_s: float) -> Figures:
    """Add up the calls that began in a stretch of time, and the upstream calls in it."""
    calls = [call for call in run.calls if from_s <= call.at_s < until_s]
    good = sorted(call.took_s for call in calls if call.answered.ending == "ok")
    counts = _between(_counts_at(run, from_s), _counts_at(run, until_s))
    return Figures(
        calls=len(calls),
        ok=len(good),
        kept=sum(call.answered.ending == "ok" and call.answered.is_kept for call in calls),
        endings=ended(calls),
        reasons=_reasons(calls),
        p50_ms=percentile_ms(good, 0.5),
        p95_ms=percentile_ms(good, 0.95),
        p99_ms=percentile_ms(good, 0.99),
        upstream_calls=total(counts),
        struck=struck(counts),
        counts=counts,
    )


def measure_all(run: Run) -> Figures:
    """Add up everything, what came after the last call began too."""
    return measure(run, 0.0, math.inf)


def measure_outage(
    scenario: Scenario, run: Run, *, booked: Booked | None = None, answer_nanousd: NanoUSD | None = None
) -> Outage:
    """Say what the outage came to.

    Args:
        booked: What the ledger says of the calls; ``None`` where there is no ledger.
        answer_nanousd: What one answer costs without faults.
    """
    extra, given = None, _answers(run) * (answer_nanousd or 0)
    if booked is not None and answer_nanousd is not None:
        good = sum(call.answered.ending == "ok" for call in run.calls)
        extra = NanoUSD(booked.cost_nanousd - good * answer_nanousd)
    bad = bad_windows(scenario, run.calls)
    return Outage(
        recovery_s=recovery_s(scenario, run, bad),
        disturbed_s=len(bad) * WINDOW_S,
        breaker_openings=openings(run),
        cost_nanousd=booked.cost_nanousd if booked is not None else None,
        extra_cost_nanousd=extra,
        cost_ratio=round(booked.cost_nanousd / given, 4) if booked is not None and given else None,
        booked_calls=booked.calls if booked is not None else None,
    )


def bad_windows(scenario: Scenario, calls: Sequence[Call]) -> list[float]:
    """List the beginnings of the half seconds in which callers were not served as in the healthy stretch."""
    healthy = [call.took_s for call in calls if call.answered.ending == "ok" and call.at_s < scenario.healthy.until_s]
    usual_s = sorted(healthy)[len(healthy) // 2] if healthy else 0.0
    windows: dict[int, list[Call]] = {}
    for call in calls:
        windows.setdefault(int(call.at_s / WINDOW_S), []).append(call)
    return [
        number * WINDOW_S
        for number, each in sorted(windows.items())
        if number * WINDOW_S >= scenario.healthy.until_s and _is_bad(each, usual_s)
    ]


def recovery_s(scenario: Scenario, run: Run, bad: Sequence[float]) -> float | None:
    """Tell how long after the last fault callers were served, and targets used, as in the healthy stretch."""
    ends = [until_s for _, until_s in scenario.troubles()]
    over_s = max(ends, default=0.0)
    if not ends or over_s >= scenario.seconds:
        return None
    served_s = max((start + WINDOW_S for start in bad if start + WINDOW_S > over_s), default=over_s)
    used_s = _used_again_s(scenario, run, over_s)
    if used_s is None or served_s >= scenario.seconds:
        return None
    return max(served_s, used_s) - over_s


def openings(run: Run) -> int | None:
    """Count how often breakers opened, at all workers; ``None`` where nobody could be asked."""
    most: dict[tuple[str, str], int] = {}
    least: dict[tuple[str, str], int] = {}
    for seen in run.upstream:
        for report in seen.health or ():
            key = report.worker, report.state.target
            most[key] = max(most.get(key, 0), report.state.opened)
            least.setdefault(key, 0)
    return sum(most.values()) if most else None


def percentile_ms(ordered: Sequence[float], share: float) -> float | None:
    """Return the figure below which a share of them lies, in milliseconds."""
    if not ordered:
        return None
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)] * 1000, 1)


def _is_bad(calls: Sequence[Call], usual_s: float) -> bool:
    good = sorted(call.took_s for call in calls if call.answered.ending == "ok")
    if len(good) < _WELL * len(calls):
        return True
    middle_s = good[len(good) // 2]
    return middle_s > _SLOW_RATIO * usual_s and middle_s > usual_s + _SLOW_S


def _used_again_s(scenario: Scenario, run: Run, over_s: float) -> float | None:
    """Find when each target got its healthy share of the calls again."""
    before = measure(run, scenario.healthy.from_s, scenario.healthy.until_s).counts
    used = {name: share for name in before if (share := _share(before, name)) >= _LEAST_SHARE}
    later = [(a, b) for a, b in pairwise(run.upstream) if a.at_s >= over_s - WINDOW_S]
    for place, (first, _) in enumerate(later):
        rest = later[place : place + 4]
        counts = _between(first.counts, rest[-1][1].counts)
        if total(counts) and all(_share(counts, name) >= _USED * share for name, share in used.items()):
            return max(over_s, first.at_s)
    return None


def _reasons(calls: Sequence[Call]) -> dict[str, int]:
    told = (call.answered for call in calls if call.answered.ending != "ok")
    found = Counter(f"{each.ending}: {_NUMBER.sub('…', each.detail)}".rstrip(": ") for each in told)
    return dict(found.most_common(_MOST_REASONS))


def _share(counts: Counts, name: str) -> float:
    return sum(counts.get(name, {}).values()) / (total(counts) or 1)


def _answers(run: Run) -> int:
    """Count the whole answers that targets gave."""
    return sum(outcomes.get("answer", 0) for outcomes in run.upstream[-1].counts.values())


def _counts_at(run: Run, at_s: float) -> Counts:
    return min(run.upstream, key=lambda seen: abs(seen.at_s - at_s) if at_s < math.inf else -seen.at_s).counts


def _between(before: Counts, after: Counts) -> Counts:
    found: Counts = {}
    for name, outcomes in after.items():
        rest = {outcome: number - before.get(name, {}).get(outcome, 0) for outcome, number in outcomes.items()}
        found[name] = {outcome: number for outcome, number in rest.items() if number > 0}
    return found
