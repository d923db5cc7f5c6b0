"""Owns the decisions on the tries of one call: which target next, when, and when to stop. Pure: no I/O, no clock.

``step`` takes what has happened and returns the next move; the driver in ``answering.py`` carries it out.
"""

import random
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from backstay.health import Availability

Reason = Literal["first", "fallback", "retry", "hedge", "continue", "restart", "degraded"]
"""Why a try is made. ``fallback``: another target after a failure. ``retry``: the same one again. ``hedge``: another
one beside one that is late. ``continue`` and ``restart``: after a stream broke midway. ``degraded``: what a route ends
in when nothing else answers."""

Hope = Literal["anywhere", "elsewhere", "nowhere"]
"""Where the same request may succeed after a failure: at any target, the same one too; at another only; not at all."""


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how patiently a call is tried again."""

    retries: int = 12
    """Tries beyond one for each target."""
    base_s: float = 0.1
    cap_s: float = 5.0
    """Full jitter: the n-th pause before the same target is asked again is drawn from 0 to ``base_s * 2^n``, at most
    ``cap_s``. Source: M. Brooker, "Exponential backoff and jitter", AWS Architecture Blog (2015)."""
    queue_s: float = 5.0
    """How long a call waits at most for a target that has no room or is over its rate limit."""


class View(msgspec.Struct, frozen=True):
    """What is known of one target at this moment."""

    availability: Availability
    may_retry: bool = True
    """Whether its retry budget has one left."""
    usual_s: float | None = None
    """How long it usually takes to answer."""


class Began(msgspec.Struct, frozen=True):
    """The call is ready to be tried."""


class Waited(msgspec.Struct, frozen=True):
    """The wait that was asked for is over, or something has become free."""


class Failed(msgspec.Struct, frozen=True):
    """The try at a place in the list of targets failed."""

    place: int
    hope: Hope


class Unable(msgspec.Struct, frozen=True):
    """The target at a place cannot take the request, so that it was not asked."""

    place: int


class Late(msgspec.Struct, frozen=True):
    """The try at a place takes longer than most, and another target may be asked beside it."""

    place: int


Event = Began | Waited | Failed | Unable | Late


class Try(msgspec.Struct, frozen=True):
    """Ask the target at this place."""

    place: int
    reason: Reason


class Wait(msgspec.Struct, frozen=True):
    """Wait until then; or until it is the call's turn at one of the targets at these places, whichever comes first."""

    until_s: float
    places: tuple[int, ...] = ()


class Stop(msgspec.Struct, frozen=True):
    """Give up. ``retry_after_s``: when it may be worth another call."""

    why: Literal["hopeless", "tries", "time", "unavailable"]
    retry_after_s: float | None = None


Move = Try | Wait | Stop

_POLL_S = 0.25
"""How often a call that waits for room looks again, should nobody wake it."""


class Tries:
    """The state of one call's tries. Times are monotonic seconds."""

    def __init__(
        self,
        places: int,
        policy: RetryPolicy,
        *,
        began_s: float,
        give_up_at_s: float,
        look: Callable[[int, float], View],
        chance: random.Random,
    ):
        """Begin with so many targets, best first. ``look`` tells what is known of one at a moment."""
        self.give_up_at_s = give_up_at_s
        self.made = 0
        self._policy = policy
        self._queue_until_s = min(give_up_at_s, began_s + policy.queue_s)
        self._look = look
        self._chance = chance
        self._tries = [0] * places
        self._not_before_s = [0.0] * places
        self._closed = [False] * places

    def step(self, event: Event, now_s: float) -> Move:
        """Take what has happened and say what to do next."""
        if isinstance(event, Late):
            return self._hedge(event.place, now_s)
        if isinstance(event, Failed):
            if event.hope == "nowhere":
                return Stop("hopeless")
            self._note(event, now_s)
        if isinstance(event, Unable):
            self._closed[event.place] = True
            self.made -= 1
        if self.made >= len(self._tries) + self._policy.retries:
            return Stop("tries")
        if now_s >= self.give_up_at_s:
            return Stop("time")
        return self._choose(now_s)

    def _note(self, failed: Failed, now_s: float) -> None:
        place = failed.place
        if failed.hope == "elsewhere":
            self._closed[place] = True
        pause_s = min(self._policy.cap_s, self._policy.base_s * 2.0 ** min(self._tries[place] - 1, 16))
        self._not_before_s[place] = now_s + self._chance.uniform(0.0, pause_s)

    def _hedge(self, late: int, now_s: float) -> Move:
        """Take a target that was not asked yet and is ready; never wait for one."""
        if self.made < len(self._tries) + self._policy.retries:
            for place in self._in_order():
                is_free = place != late and not self._tries[place]
                if is_free and self._look(place, now_s).availability.readiness == "ready":
                    return self._try(place, "hedge")
        return Stop("unavailable")

    def _choose(self, now_s: float) -> Move:
        """Take the best target that is ready; else wait for one; else take a slow one; else give up."""
        others: list[tuple[int, View]] = []
        is_out_of_time = False
        for place in self._in_order():
            view = self._look(place, now_s)
            if self._tries[place] and not view.may_retry:
                continue
            if self.made and view.usual_s is not None and now_s + view.usual_s > self.give_up_at_s:
                is_out_of_time = True  # it would not be there in time, so that it is not worth beginning
            elif view.availability.readiness == "ready" and self._not_before_s[place] <= now_s:
                return self._try(place)
            else:
                others.append((place, view))
        return self._otherwise(others, now_s) or (
            Stop("time") if is_out_of_time else Stop("unavailable", self._back_in_s(others, now_s))
        )

    def _in_order(self) -> Sequence[int]:
        """List the places that may still help, those that were tried least first."""
        places = [place for place, closed in enumerate(self._closed) if not closed]
        return sorted(places, key=self._tries.__getitem__) if self.made else places

    def _otherwise(self, others: Sequence[tuple[int, View]], now_s: float) -> Move | None:
        """Choose between waiting and a slow target."""
        states = {place: view.availability.readiness for place, view in others}
        slow = [place for place, state in states.items() if state == "slow" and self._not_before_s[place] <= now_s]
        ready_at_s = [self._free_at_s(*each) for each in others if states[each[0]] in ("ready", "limited")]
        in_line = self._in_line(others, now_s)
        is_full = "busy" in states.values()
        soonest_s = min(ready_at_s, default=self.give_up_at_s)
        is_worth_it = soonest_s < self.give_up_at_s and soonest_s <= self._queue_until_s
        if is_worth_it and (not slow or soonest_s < now_s + _POLL_S):
            return Wait(soonest_s, in_line)
        if slow:
            return self._try(slow[0])
        if is_full and now_s < self._queue_until_s:
            return Wait(min(now_s + _POLL_S, self._queue_until_s), in_line)
        paused_s = min((self._not_before_s[place] for place, state in states.items() if state == "slow"), default=None)
        return Wait(paused_s) if paused_s is not None and paused_s < self.give_up_at_s else None

    def _in_line(self, others: Sequence[tuple[int, View]], now_s: float) -> tuple[int, ...]:
        """List the places where the call would be sent if it were its turn: not where it waits for itself."""
        places: list[int] = []
        for place, view in others:
            match view.availability:
                case Availability(readiness="busy"):
                    may_come = True
                case Availability(readiness="limited", free_at_s=free_at_s):
                    may_come = free_at_s is not None and free_at_s <= self._queue_until_s
                case _:
                    may_come = False
            if may_come and self._not_before_s[place] <= now_s:
                places.append(place)
        return tuple(places)

    def _back_in_s(self, others: Sequence[tuple[int, View]], now_s: float) -> float | None:
        """Say when a target may be there again."""
        known = [
            self._free_at_s(place, view)
            for place, view in others
            if view.availability.free_at_s is not None or view.availability.readiness == "ready"
        ]
        return max(0.0, min(known) - now_s) if known else None

    def _free_at_s(self, place: int, view: View) -> float:
        return max(self._not_before_s[place], view.availability.free_at_s or 0.0)

    def _try(self, place: int, reason: Reason | None = None) -> Try:
        reason = reason or ("first" if not self.made else "retry" if self._tries[place] else "fallback")
        self._tries[place] += 1
        self.made += 1
        return Try(place, reason)
