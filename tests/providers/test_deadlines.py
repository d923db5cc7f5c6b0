"""Exchanges that take too long are interrupted, by a timer of their own or by the one that they share."""

import asyncio

import pytest

from backstay.providers import deadlines
from backstay.providers.deadlines import Deadline, Deadlines
from backstay.providers.types import Timeouts

_SHORT = Timeouts(connect_s=1.0, first_token_s=0.05, idle_s=0.05, total_s=0.05)
_FAR = Timeouts(connect_s=1.0, first_token_s=100.0, idle_s=100.0, total_s=100.0)


@pytest.fixture(params=["own", "shared"])
def timers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether each deadline has a timer of its own, or all share one."""
    if request.param == "shared":
        monkeypatch.setattr(deadlines, "_LONG_S", 0.0)


@pytest.mark.usefixtures("timers")
async def test_who_waits_too_long_is_interrupted() -> None:
    """The wait ends with a ``TimeoutError``, the task goes on, and the same deadline ends the next wait at once."""
    deadline = Deadline(Deadlines(), _SHORT, stream=False)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            with deadline:
                await asyncio.Event().wait()
    assert deadline.is_over()
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0


@pytest.mark.usefixtures("timers")
async def test_who_is_in_time_is_left_alone() -> None:
    """What ends in time ends as it does, and nothing rings afterwards."""
    deadline = Deadline(Deadlines(), _SHORT, stream=True)
    with deadline:
        await asyncio.sleep(0)
    with pytest.raises(ValueError, match="its own"):
        with deadline:
            raise ValueError("its own")
    await asyncio.sleep(0.3)  # all timers would have rung


@pytest.mark.usefixtures("timers")
async def test_a_task_that_others_cancel_stays_cancelled() -> None:
    """A caller that goes away is no timeout."""

    async def wait() -> None:
        with Deadline(Deadlines(), _FAR, stream=False):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_each_is_interrupted_at_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many that share a timer, those that are late are interrupted, and no others."""
    monkeypatch.setattr(deadlines, "_LONG_S", 0.0)
    together = Deadlines()
    done = asyncio.Event()

    async def wait(timeouts: Timeouts) -> str:
        try:
            with Deadline(together, timeouts, stream=False):
                await done.wait()
        except TimeoutError:
            return "late"
        return "done"

    late = [asyncio.create_task(wait(_SHORT)) for _ in range(20)]
    patient = [asyncio.create_task(wait(_FAR)) for _ in range(20)]
    assert await asyncio.gather(*late) == ["late"] * 20
    done.set()
    assert await asyncio.gather(*patient) == ["done"] * 20


async def test_a_piece_of_a_stream_gives_time_for_the_next() -> None:
    """Until the total is used up, each piece begins a wait of its own."""
    timeouts = Timeouts(connect_s=1.0, first_token_s=0.0, idle_s=50.0, total_s=100.0)
    deadline = Deadline(Deadlines(), timeouts, stream=True)
    first_s = deadline.next_s
    deadline.piece_came()
    assert 49.0 < deadline.next_s - first_s < 60.0
    assert not deadline.is_over()
