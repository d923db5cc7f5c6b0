"""When an alert on a budget begins and ends, without any I/O."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from backstay.alerts.crossing import Gauge, Step, decide, percent, write_share
from backstay.alerts.rules import Bound
from backstay.alerts.types import Key

_SHARES = (Decimal("0.5"), Decimal("0.8"), Decimal("1.0"))
_MARGIN = Decimal("0.05")
_BOUNDS = tuple(Bound(share=share, margin=_MARGIN, channels=("ops",)) for share in _SHARES)


def _gauge(level: Fraction | Decimal | int, window: str = "w1", bounds: Sequence[Bound] = _BOUNDS) -> Gauge:
    return Gauge(tenant_id="acme", subject="budget:b", window=window, level=Fraction(level), bounds=tuple(bounds))


class Alarm:
    """What is open, after steps."""

    def __init__(self) -> None:
        self.open: set[tuple[str, Key]] = set()

    def step(self, *gauges: Gauge) -> Step:
        step = decide(gauges, self.open)
        self.open |= {(each.gauge.tenant_id, each.gauge.key(each.bound)) for each in step.raised}
        self.open -= {(each.tenant_id, each.key) for each in step.resolved}
        return step

    @property
    def thresholds(self) -> set[str]:
        return {key.threshold for _, key in self.open}


def test_each_bound_once_and_the_highest_is_told() -> None:
    """A leap over two bounds opens two alerts and tells of one; staying there opens nothing."""
    alarm = Alarm()
    step = alarm.step(_gauge(Fraction(85, 100)))
    assert [(write_share(each.bound.share), each.is_told) for each in step.raised] == [("0.5", False), ("0.8", True)]
    assert alarm.step(_gauge(Fraction(99, 100))) == Step(raised=[], resolved=[])
    assert [each.is_told for each in alarm.step(_gauge(1)).raised] == [True]


def test_it_is_over_below_the_margin() -> None:
    """At the bound less its margin it is still open, below it is over, and may begin again."""
    alarm = Alarm()
    alarm.step(_gauge(Decimal("0.8")))
    assert alarm.step(_gauge(Decimal("0.75"))).resolved == []
    (end,) = alarm.step(_gauge(Decimal("0.7499"))).resolved
    assert (end.key.threshold, end.reason) == ("0.8", "It fell to 74 %, below 75 %.")
    assert [write_share(each.bound.share) for each in alarm.step(_gauge(Decimal("0.8"))).raised] == ["0.8"]


def test_a_new_window_is_another_alert() -> None:
    """The old window's alerts are over, and the new one's begin by themselves."""
    alarm = Alarm()
    alarm.step(_gauge(1))
    step = alarm.step(_gauge(Decimal("0.5"), "w2"))
    assert {end.reason for end in step.resolved} == {"Its window is over, or the budget is gone."}
    assert len(step.resolved) == 3 and len(step.raised) == 1


def test_a_rule_that_is_gone_ends_its_alert() -> None:
    """What nobody asks for any more is over, while the others stay."""
    alarm = Alarm()
    alarm.step(_gauge(Decimal("0.85")))
    (end,) = alarm.step(_gauge(Decimal("0.85"), bounds=_BOUNDS[1:])).resolved
    assert (end.key.threshold, end.reason) == ("0.5", "No rule asks for it any more.")


@given(st.lists(st.fractions(min_value=0, max_value=2), max_size=60))
def test_no_alert_begins_twice_without_a_real_fall(levels: list[Fraction]) -> None:
    """Over any course of a level: open at or above a bound, not open below its margin, and between the two as before.

    So between two beginnings of one alert the level was below the margin: nothing flaps.
    """
    alarm = Alarm()
    for level in levels:
        before = alarm.thresholds
        alarm.step(_gauge(level))
        for share in _SHARES:
            name = write_share(share)
            if level >= share:
                assert name in alarm.thresholds
            elif level < share - _MARGIN:
                assert name not in alarm.thresholds
            else:
                assert (name in alarm.thresholds) == (name in before)


@given(st.lists(st.fractions(min_value=Fraction(76, 100), max_value=Fraction(94, 100)), min_size=1, max_size=40))
def test_to_and_fro_above_the_margin_is_told_once(levels: list[Fraction]) -> None:
    """However a level wavers around 0.8 without falling below 0.75, people hear at most once of each bound."""
    alarm = Alarm()
    told = [
        write_share(each.bound.share) for level in levels for each in alarm.step(_gauge(level)).raised if each.is_told
    ]
    assert len(told) == len(set(told))


def test_shares_are_written_alike() -> None:
    """However they were written, and never rounded up."""
    assert [write_share(Decimal(text)) for text in ("0.80", "0.8", "1.0", "1", "10")] == ["0.8", "0.8", "1", "1", "10"]
    assert percent(Fraction(9999, 10000)) == "99 %"
