"""Owns the figures of targets that one worker shows to Prometheus: named by target, read when they are shown."""

from collections.abc import Callable, Iterator, Mapping
from typing import get_args

from backstay.core.ports import AddFamily, Values
from backstay.health.breaker import BreakerState
from backstay.health.fleet import Fleet
from backstay.health.target import TargetHealth


def watch(fleet: Fleet, add_family: AddFamily) -> None:
    """Show what is known of each target that was asked."""

    def of_each(read: Callable[[TargetHealth], float | None]) -> Callable[[], Values]:
        return lambda: [({"target": one.name}, value) for one in fleet if (value := read(one)) is not None]

    add_family("backstay_target_breakers", "Workers whose breaker is so.", "gauge", lambda: _breakers(fleet))
    add_family(
        "backstay_target_openings_total", "Openings of breakers.", "counter", of_each(lambda one: one.breaker.opened)
    )
    add_family("backstay_target_drained", "Workers that leave it out.", "gauge", of_each(lambda one: one.drained))
    add_family(
        "backstay_target_tries_total", "Tries, by why they were made.", "counter",
        lambda: [({"target": one.name, "reason": reason}, n) for one in fleet for reason, n in one.made.items()],
    )  # fmt: skip
    add_family(
        "backstay_target_outcomes_total", "Tries that ended, by how.", "counter",
        lambda: [({"target": one.name, "outcome": how}, n) for one in fleet for how, n in one.ended.items()],
    )  # fmt: skip
    add_family("backstay_target_in_flight", "Tries that are open.", "gauge", of_each(lambda one: one.in_flight))
    add_family(
        "backstay_target_concurrency_limit", "Tries that may be open, where there is a limit.", "gauge",
        of_each(lambda one: one.concurrency.limit),
    )  # fmt: skip
    add_family(
        "backstay_target_retries_left", "Retries that may be made.", "gauge", of_each(lambda one: one.retries.left)
    )
    add_family(
        "backstay_hedges_started_total", "Second tries beside late ones.", "counter",
        lambda: [({"model": model}, hedges.started) for model, hedges in fleet.hedges.items()],
    )  # fmt: skip
    add_family("backstay_hedges_ended_total", "Hedges that ended, by how.", "counter", lambda: _hedge_ends(fleet))


def _hedge_ends(fleet: Fleet) -> Iterator[tuple[Mapping[str, str], float]]:
    for model, hedges in fleet.hedges.items():
        for end, count in hedges.ended.items():
            yield {"model": model, "end": end}, count


def _breakers(fleet: Fleet) -> Iterator[tuple[Mapping[str, str], float]]:
    for one in fleet:
        for state in get_args(BreakerState):
            yield {"target": one.name, "state": state}, one.breaker.state == state
