"""Owns one run of a scenario: the calls at their rate, what is done meanwhile, and what is seen of the upstream."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from backstay.drills.callers import Answered, Caller
from backstay.drills.scenario import Deed, Scenario
from backstay.drills.simulators import Counts, Simulators
from backstay.health import Report

_LOOK_S = 0.25
_TEXT = "Call {number:06}: when will my parcel be here?"
"""All calls are as long as one another, so that each good answer costs the same."""

Act = Callable[[Deed], Awaitable[None]]
Look = Callable[[], Awaitable[list[Report] | None]]


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call as its caller saw it. ``at_s``: when it was due, since the start."""

    at_s: float
    took_s: float
    lag_s: float = 0.0
    """How long after that it began, as its caller was busy."""
    stream: bool
    answered: Answered

    @property
    def ended_s(self) -> float:
        return self.at_s + self.lag_s + self.took_s


class Upstream(msgspec.Struct, frozen=True, kw_only=True):
    """What was known of the targets at a moment."""

    at_s: float
    counts: Counts
    health: list[Report] | None = None
    """``None``: nobody could be asked."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """All that was seen."""

    calls: list[Call]
    upstream: list[Upstream]
    """The first is before the first call, the last after the last answer."""


async def run(
    scenario: Scenario, caller: Caller, simulators: Simulators, *, act: Act | None = None, look: Look | None = None
) -> Run:
    """Play the scripts and make the calls.

    Args:
        act: Does what the scenario's events say; ``None``: they are left out.
        look: Reads the targets' health, where it can be read.
    """
    await simulators.play(scenario.targets)
    began = time.monotonic()
    upstream = [Upstream(at_s=0.0, counts=await simulators.counts())]
    watching = asyncio.create_task(_watch(began, simulators, look, upstream))
    acting = [asyncio.create_task(_act(began, event.at_s, event.do, act)) for event in scenario.events if act]
    try:
        calls = await _make_calls(scenario, caller, began)
        await asyncio.gather(*acting)
    finally:
        for task in (watching, *acting):
            task.cancel()
        await asyncio.gather(watching, *acting, return_exceptions=True)
    upstream.append(await _seen(began, simulators, look))
    return Run(calls=calls, upstream=upstream)


def text_of(number: int) -> str:
    """Write what the call of this number says."""
    return _TEXT.format(number=number)


def is_streamed(number: int, share: float) -> bool:
    """Whether the call of this number streams: the share, spread evenly."""
    return int((number + 1) * share) > int(number * share)


async def _make_calls(scenario: Scenario, caller: Caller, began: float) -> list[Call]:
    load, open_calls = scenario.load, set[asyncio.Task[Call]]()
    calls: list[asyncio.Task[Call]] = []
    for number in range(round(scenario.seconds * load.calls_per_s)):
        due = began + number / load.calls_per_s
        if (pause_s := due - time.monotonic()) > 0:
            await asyncio.sleep(pause_s)
        is_full = len(open_calls) >= load.most_open
        task = asyncio.create_task(_call(scenario, caller, number, due, began, unmade=is_full))
        open_calls.add(task)
        task.add_done_callback(open_calls.discard)
        calls.append(task)
    return list(await asyncio.gather(*calls))


async def _call(scenario: Scenario, caller: Caller, number: int, due: float, began: float, *, unmade: bool) -> Call:
    stream = is_streamed(number, scenario.load.streamed)
    answered = Answered("unmade")
    if not unmade:
        started = time.monotonic()
        try:
            text = text_of(number % scenario.load.texts if scenario.load.texts else number)
            async with asyncio.timeout(scenario.load.patience_s):
                answered = await caller.call(text, stream=stream)
        except TimeoutError:
            answered = Answered("late")
        took_s = time.monotonic() - started
        return Call(at_s=due - began, took_s=took_s, lag_s=started - due, stream=stream, answered=answered)
    return Call(at_s=due - began, took_s=0.0, stream=stream, answered=answered)


async def _act(began: float, at_s: float, deed: Deed, act: Act) -> None:
    await asyncio.sleep(max(0.0, began + at_s - time.monotonic()))
    await act(deed)


async def _watch(began: float, simulators: Simulators, look: Look | None, upstream: list[Upstream]) -> None:
    while True:
        await asyncio.sleep(_LOOK_S)
        upstream.append(await _seen(began, simulators, look))


async def _seen(began: float, simulators: Simulators, look: Look | None) -> Upstream:
    counts = await simulators.counts()
    at_s = time.monotonic() - began
    return Upstream(at_s=at_s, counts=counts, health=await look() if look is not None else None)


def ended(calls: Sequence[Call]) -> dict[str, int]:
    """Count calls by how they ended."""
    found: dict[str, int] = {}
    for call in calls:
        found[call.answered.ending] = found.get(call.answered.ending, 0) + 1
    return found
