"""Owns when an alert begins and ends: at its share, and below its share less a margin. Pure.

Between the two nothing happens, so that a budget whose share goes to and fro there is told of once.
"""

from collections.abc import Collection, Sequence
from decimal import Decimal
from fractions import Fraction

import msgspec

from backstay.alerts.rules import Bound
from backstay.alerts.types import Key


class Gauge(msgspec.Struct, frozen=True, kw_only=True):
    """How much of something is used, and where somebody wants to know."""

    tenant_id: str
    subject: str
    window: str
    level: Fraction
    bounds: tuple[Bound, ...]
    """From the lowest on."""

    def key(self, bound: Bound) -> Key:
        return Key(kind="budget_share", subject=self.subject, threshold=write_share(bound.share), window=self.window)


class Raise(msgspec.Struct, frozen=True, kw_only=True):
    """An alert that begins."""

    gauge: Gauge
    bound: Bound
    is_told: bool
    """Whether channels hear of it: of several bounds that were crossed at once, of the highest alone."""


class Resolve(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """An alert that is over."""

    tenant_id: str
    key: Key
    reason: str


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done."""

    raised: Sequence[Raise]
    resolved: Sequence[Resolve]


def decide(gauges: Sequence[Gauge], open_alerts: Collection[tuple[str, Key]]) -> Step:
    """Compare what is with what is known.

    Args:
        gauges: All that are near a bound or have an open alert: one without a gauge here is gone, or its window over.
        open_alerts: With their tenants.
    """
    raised: list[Raise] = []
    resolved: list[Resolve] = []
    kept: set[tuple[str, Key]] = set()
    for gauge in gauges:
        crossed = [bound for bound in gauge.bounds if gauge.level >= bound.share]
        for bound in gauge.bounds:
            alert = (gauge.tenant_id, gauge.key(bound))
            if alert not in open_alerts:
                if bound in crossed:
                    raised.append(Raise(gauge=gauge, bound=bound, is_told=bound is crossed[-1]))
            else:
                kept.add(alert)
                if gauge.level < bound.share - bound.margin:
                    resolved.append(Resolve(tenant_id=alert[0], key=alert[1], reason=_fell(gauge, bound)))
    windows = {(gauge.tenant_id, gauge.subject, gauge.window) for gauge in gauges}
    for tenant_id, key in set(open_alerts) - kept:
        is_here = (tenant_id, key.subject, key.window) in windows
        reason = "No rule asks for it any more." if is_here else "Its window is over, or the budget is gone."
        resolved.append(Resolve(tenant_id=tenant_id, key=key, reason=reason))
    return Step(raised=raised, resolved=sorted(resolved))


def write_share(share: Decimal) -> str:
    """Write a share the same however it was written: ``0.8``."""
    return f"{share.normalize():f}"


def percent(share: Fraction | Decimal) -> str:
    """Write a share for people: never rounded up to what was not reached."""
    return f"{int(share * 100)} %"


def _fell(gauge: Gauge, bound: Bound) -> str:
    return f"It fell to {percent(gauge.level)}, below {percent(bound.share - bound.margin)}."
