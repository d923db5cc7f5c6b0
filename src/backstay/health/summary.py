"""Owns what is known of each target over all workers that live, put together from what each of them reports. Pure."""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from backstay.health.breaker import BreakerState, Cause
from backstay.health.latency import quantile_of
from backstay.health.quota import QuotaState
from backstay.health.store import Drain, Report
from backstay.health.target import LastError, TargetState

Standing = Literal["drained", "open", "checking", "slow", "limited", "busy", "ready", "unknown"]
"""How a target stands, the worst of what workers say. ``open``: its breaker is, and it is left alone. ``checking``: one
call at a time finds out whether it is well again. ``unknown``: no worker that lives has asked it."""

_FROM_WORST: tuple[Standing, ...] = ("open", "checking", "slow", "limited", "busy", "ready")
_CAUSES: tuple[Cause, ...] = ("errors", "slow", "peer")
_BREAKERS: tuple[BreakerState, ...] = ("open", "half_open", "closed")
"""From the worst on."""


class TargetSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A target over all workers. Figures are of the last five minutes or of now."""

    target: str
    standing: Standing
    breaker: BreakerState | None
    """The worst of all workers'; ``None``: nobody knows."""
    cause: Cause | None
    ill_since: dt.datetime | None
    """When the first breaker opened that is not closed again."""
    free_in_s: float | None
    """When it may be asked again, by the first worker that may."""
    workers: int
    """That have asked it."""
    ill_workers: int
    """Whose breaker is not closed."""
    in_flight: int
    concurrency_limit: int | None
    """The sum over the workers; ``None`` where one of them sets no limit."""
    retries_left: float
    tries: int
    failures: int
    error_share: float | None
    """Of its own tries; ``None`` where there were none."""
    share: float | None
    """Of all tries at all targets; ``None`` where there were none."""
    p50_s: float | None
    """To the first token, or, where nothing was streamed, to the whole answer."""
    p95_s: float | None
    requests: QuotaState | None
    """Of the worker that has the least left."""
    tokens: QuotaState | None
    openings: int
    last_error: LastError | None
    last_error_at: dt.datetime | None
    drain: Drain | None


def summarise(reports: Sequence[Report], drains: Sequence[Drain], now: dt.datetime) -> dict[str, TargetSummary]:
    """Put reports together, by target; those that are drained are there even if nobody has asked them."""
    drained = {drain.target: drain for drain in drains}
    told: dict[str, list[Report]] = {name: [] for name in drained}
    for report in reports:
        told.setdefault(report.state.target, []).append(report)
    all_tries = sum(report.state.recent_tries for report in reports)
    return {name: _summary(name, told[name], drained.get(name), all_tries, now) for name in sorted(told)}


def unknown(target: str) -> TargetSummary:
    """Describe a target that nobody has asked."""
    return _summary(target, [], None, 0, dt.datetime.now(dt.UTC))


def _summary(
    target: str, reports: Sequence[Report], drain: Drain | None, all_tries: int, now: dt.datetime
) -> TargetSummary:
    states = [report.state for report in reports]
    ill = [(report, report.state.ill_for_s) for report in reports if report.state.ill_for_s is not None]
    wrong = [(report, report.state.last_error_ago_s) for report in reports if report.state.last_error_ago_s is not None]
    last = min(wrong, key=lambda each: each[0].age_s + each[1], default=None)
    tries = sum(state.recent_tries for state in states)
    failures = sum(state.recent_failures for state in states)
    limits = [state.concurrency_limit for state in states if state.concurrency_limit is not None]
    return TargetSummary(
        target=target,
        standing="drained" if drain is not None else _standing(states),
        breaker=next((one for one in _BREAKERS if any(state.breaker == one for state in states)), None),
        cause=_cause(states),
        ill_since=min((_before(now, report, ago_s) for report, ago_s in ill), default=None),
        free_in_s=_free_in_s(reports),
        workers=len(states),
        ill_workers=len(ill),
        in_flight=sum(state.in_flight for state in states),
        concurrency_limit=sum(limits) if limits and len(limits) == len(states) else None,
        retries_left=sum(state.retries_left for state in states),
        tries=tries,
        failures=failures,
        error_share=failures / tries if tries else None,
        share=tries / all_tries if all_tries else None,
        p50_s=_quantile(states, 0.5),
        p95_s=_quantile(states, 0.95),
        requests=_least(states, lambda state: state.requests),
        tokens=_least(states, lambda state: state.tokens),
        openings=sum(state.opened for state in states),
        last_error=None if last is None else last[0].state.last_error,
        last_error_at=None if last is None else _before(now, *last),
        drain=drain,
    )


def _standing(states: Sequence[TargetState]) -> Standing:
    """Find the worst. A breaker that opened for slowness leaves its target in use, as the last choice."""
    found = {_of_worker(state) for state in states}
    for standing in _FROM_WORST:
        if standing in found:
            return standing
    return "unknown"


def _of_worker(state: TargetState) -> Standing:
    if state.breaker == "half_open":
        return "checking"
    if state.breaker == "open":
        return "slow" if state.cause == "slow" else "open"
    return state.readiness if state.readiness in ("slow", "limited", "busy") else "ready"


def _cause(states: Sequence[TargetState]) -> Cause | None:
    """Name the cause that some worker has found out itself, before what others took over from it."""
    causes = {state.cause for state in states if state.breaker != "closed"}
    for cause in _CAUSES:
        if cause in causes:
            return cause
    return None


def _free_in_s(reports: Iterable[Report]) -> float | None:
    waits = [report.state.free_in_s - report.age_s for report in reports if report.state.free_in_s is not None]
    return max(0.0, min(waits)) if waits else None


def _quantile(states: Sequence[TargetState], share: float) -> float | None:
    streamed: list[Mapping[int, float]] = [state.first_token for state in states if state.first_token]
    return quantile_of(streamed or [state.whole for state in states if state.whole], share)


def _least(states: Sequence[TargetState], of: Callable[[TargetState], QuotaState | None]) -> QuotaState | None:
    known = [quota for state in states if (quota := of(state)) is not None]
    return min(known, key=lambda quota: quota.left / quota.limit if quota.limit else 0.0, default=None)


def _before(now: dt.datetime, report: Report, ago_s: float) -> dt.datetime:
    return now - dt.timedelta(seconds=report.age_s + ago_s)
