"""Tests of the decisions on the tries of a call, by example and by any sequence of events."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.gateway.tries import (
    Began,
    Event,
    Failed,
    Hope,
    Move,
    RetryPolicy,
    Stop,
    Tries,
    Try,
    Unable,
    View,
    Wait,
    Waited,
)
from backstay.health import Availability

READY = View(Availability("ready"))
DOWN = View(Availability("open", 30.0))


def tries(*views: View, policy: RetryPolicy | None = None, give_up_at_s: float = 60.0) -> Tries:
    return Tries(
        len(views),
        policy or RetryPolicy(),
        began_s=0.0,
        give_up_at_s=give_up_at_s,
        look=lambda place, now_s: views[place],
        chance=random.Random(3),
    )


def test_the_first_target_is_asked_first_and_the_next_after_it_failed() -> None:
    """A fallback is made at once, a retry of the same target after a pause."""
    tested = tries(READY, READY)
    assert tested.step(Began(), 0.0) == Try(0, "first")
    assert tested.step(Failed(0, "anywhere"), 0.1) == Try(1, "fallback")
    wait = tested.step(Failed(1, "anywhere"), 0.1)
    assert isinstance(wait, Wait) and 0.1 < wait.until_s <= 0.2
    assert isinstance(tested.step(Waited(), wait.until_s), Try)


def test_a_target_that_is_down_is_left_out() -> None:
    """With its breaker open, no time is lost on it."""
    assert tries(DOWN, READY).step(Began(), 0.0) == Try(1, "first")


def test_when_all_are_down_the_caller_is_told_when_to_come_back() -> None:
    """No wait, no try: the soonest end of a pause is said."""
    assert tries(DOWN, View(Availability("open", 12.0))).step(Began(), 2.0) == Stop("unavailable", 10.0)


def test_a_slow_target_is_better_than_none() -> None:
    """Slow ones are asked only when no other is ready."""
    slow = View(Availability("slow", 9.0))
    assert tries(slow, READY).step(Began(), 0.0) == Try(1, "first")
    assert tries(slow, DOWN).step(Began(), 0.0) == Try(0, "first")


def test_a_slow_target_that_just_failed_is_waited_for_where_nothing_better_is_there() -> None:
    """The call does not end while it may still be answered, however slowly."""
    tested = tries(View(Availability("slow", 9.0)), DOWN)
    tested.step(Began(), 0.0)
    wait = tested.step(Failed(0, "anywhere"), 0.5)
    assert isinstance(wait, Wait) and 0.5 < wait.until_s <= 0.6
    assert tested.step(Waited(), wait.until_s) == Try(0, "retry")


def test_a_rate_limit_that_ends_soon_is_waited_for() -> None:
    """Within the queue's bound the call waits its turn; beyond it the caller is told."""
    assert tries(View(Availability("limited", 3.0))).step(Began(), 0.0) == Wait(3.0, (0,))
    assert tries(View(Availability("limited", 30.0))).step(Began(), 0.0) == Stop("unavailable", 30.0)


def test_a_call_stands_in_line_only_where_it_would_go_now() -> None:
    """Not at a target that it must leave alone for a while itself, nor where its turn could not come in time."""
    busy = View(Availability("busy"))
    views = [READY, busy, View(Availability("limited", 2.0)), View(Availability("limited", 30.0)), DOWN]
    tested = tries(*views)
    assert tested.step(Began(), 0.0) == Try(0, "first")
    views[0] = busy
    tested = Tries(
        len(views), RetryPolicy(base_s=5.0), began_s=0.0, give_up_at_s=60.0,
        look=lambda place, now_s: views[place], chance=random.Random(3),
    )  # fmt: skip
    assert tested.step(Began(), 0.0) == Wait(2.0, (0, 1, 2))
    views[0] = READY
    assert tested.step(Waited(), 0.1) == Try(0, "first")
    views[0] = busy
    wait = tested.step(Failed(0, "anywhere"), 0.1)
    assert isinstance(wait, Wait) and wait.places == (1, 2)


def test_an_error_that_is_the_requests_own_ends_it() -> None:
    """A bad request is bad everywhere."""
    tested = tries(READY, READY)
    tested.step(Began(), 0.0)
    assert tested.step(Failed(0, "nowhere"), 0.1) == Stop("hopeless")


def test_what_one_target_cannot_do_is_asked_of_another_once() -> None:
    """After an error that only another target may not have, the same one is never asked again."""
    tested = tries(READY, READY)
    tested.step(Began(), 0.0)
    assert tested.step(Failed(0, "elsewhere"), 0.1) == Try(1, "fallback")
    assert tested.step(Failed(1, "elsewhere"), 0.2) == Stop("unavailable", None)


def test_a_target_that_cannot_take_the_request_is_no_try() -> None:
    """It is left out as if it were not there: the next one is still the first, with all its tries."""
    tested = tries(READY, READY, policy=RetryPolicy(retries=0))
    assert tested.step(Began(), 0.0) == Try(0, "first")
    assert tested.step(Unable(0), 0.0) == Try(1, "first")
    assert tested.made == 1
    assert tested.step(Unable(1), 0.0) == Stop("unavailable", None)


def test_a_try_that_cannot_end_in_time_is_not_begun() -> None:
    """What is left of the deadline decides whether another try is worth it."""
    usual = View(Availability("ready"), usual_s=2.0)
    tested = tries(usual, usual, give_up_at_s=3.0)
    assert tested.step(Began(), 0.0) == Try(0, "first")
    assert tested.step(Failed(0, "anywhere"), 1.5) == Stop("time")


HOPES: st.SearchStrategy[Hope] = st.sampled_from(["anywhere", "elsewhere", "nowhere"])
VIEWS = st.builds(
    View,
    st.one_of(
        st.just(Availability("ready")),
        st.builds(Availability, st.sampled_from(["slow", "limited", "open"]), st.floats(0.0, 100.0)),
        st.builds(Availability, st.sampled_from(["busy", "drained"])),
    ),
    may_retry=st.booleans(),
    usual_s=st.none() | st.floats(0.001, 20.0),
)


@settings(max_examples=300)
@given(
    data=st.data(),
    places=st.integers(1, 5),
    retries=st.integers(0, 5),
    give_up_at_s=st.floats(0.5, 60.0),
)
def test_it_ends_whatever_happens(data: st.DataObject, places: int, retries: int, give_up_at_s: float) -> None:
    """Any weather: it stops in bounded steps, within its tries and its time, and never asks what it may not."""
    weather: list[View] = []
    tested = Tries(
        places,
        RetryPolicy(retries=retries),
        began_s=0.0,
        give_up_at_s=give_up_at_s,
        look=lambda place, now_s: weather[place],
        chance=random.Random(0),
    )
    now_s, made, event = 0.0, [0] * places, Began()
    closed: set[int] = set()
    for _ in range(10_000):
        weather[:] = [data.draw(VIEWS) for _ in range(places)]
        move: Move = tested.step(event, now_s)
        if isinstance(move, Stop):
            break
        event = _carry_out(move, weather, made, closed, data)
        now_s = move.until_s if isinstance(move, Wait) else now_s + data.draw(st.floats(0.0, 5.0))
    else:
        raise AssertionError("it never stopped")
    assert sum(made) <= places + retries


def _carry_out(move: Try | Wait, weather: list[View], made: list[int], closed: set[int], data: st.DataObject) -> Event:
    """Do what was decided, and check that it was allowed."""
    if isinstance(move, Wait):
        return Waited()
    view = weather[move.place]
    assert view.availability.readiness in ("ready", "slow")
    assert move.place not in closed
    assert not made[move.place] or view.may_retry
    assert (move.reason == "retry") == bool(made[move.place])
    assert (move.reason == "first") == (not any(made))
    if data.draw(st.booleans()):
        closed.add(move.place)
        return Unable(move.place)
    made[move.place] += 1
    hope = data.draw(HOPES)
    if hope == "elsewhere":
        closed.add(move.place)
    return Failed(move.place, hope)
