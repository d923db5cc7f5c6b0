"""Owns two tries at once: a second one beside one that is late, the first to answer wins, the other is given up."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from backstay.core.errors import BackstayError
from backstay.gateway.attempt import Answer
from backstay.health.hedge_budget import HedgeEnd

Try = Coroutine[Any, Any, Answer]


async def first_of_two(
    first: Try, after_s: float, begin_second: Callable[[], Try | None], note: Callable[[HedgeEnd], None]
) -> Answer:
    """Wait for an answer; where it does not come in time, for the first of two.

    Args:
        first: The try that is made anyway.
        after_s: When it is late.
        begin_second: Makes another try, or returns ``None`` where there is nobody to ask.
        note: Told how it ended, where there was another try.

    Raises:
        BackstayError: Both failed, or the only one did: what the first one's error was.
    """
    tasks = [asyncio.create_task(first)]
    end: HedgeEnd = "cancelled"
    try:
        await asyncio.wait(tasks, timeout=after_s)
        if not tasks[0].done() and (second := begin_second()) is not None:
            tasks.append(asyncio.create_task(second))
        winner = await _first_good(tasks)
        end = "failed" if winner.exception() is not None else "lost" if winner is tasks[0] else "won"
        return winner.result()
    finally:
        if len(tasks) > 1:
            note(end)
        await _give_up([task for task in tasks if not task.done()])


async def _first_good(tasks: list[asyncio.Task[Answer]]) -> asyncio.Task[Answer]:
    """Return the first task that answers, or, where all fail, the first one."""
    left = set(tasks)
    while left:
        done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task in done and not isinstance(task.exception(), BackstayError):
                return task
    return tasks[0]


async def _give_up(tasks: list[asyncio.Task[Answer]]) -> None:
    """Cancel tries, and let go of one that has answered at the same moment."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is None:
            answer = task.result()
            answer.end(asyncio.CancelledError())
            await answer.close()
