"""Owns how a call meets the watch for loops: it goes on, waits or is refused."""

import asyncio
import logging

from backstay.core.errors import LoopDetected
from backstay.gateway.recording import Recording
from backstay.loops import Loop, Loops

_log = logging.getLogger(__name__)


def find_loop(loops: Loops, recording: Recording) -> Loop | None:
    """Take note of a call that is about to be made, and say which loop it is one of.

    Calls of batches and those that check the cache are left alone: they are many by design.
    """
    incoming, request = recording.incoming, recording.request
    if incoming.operation != "chat" or incoming.job_id is not None or incoming.is_shadow or request is None:
        return None
    messages = request.fields.get("messages") or request.fields.get("input")
    if messages is None:
        return None
    return loops.see(
        incoming.caller,
        memoryview(messages),
        model=request.model.name,
        feature=incoming.feature,
        user=request.user,
        at_ns=recording.started_ns,
        trace_id=recording.trace_id,
    )


async def meet_loop(loop: Loop, recording: Recording) -> None:
    """Do what its rule says with a call that is one of a loop.

    Raises:
        LoopDetected: It is one too many.
    """
    recording.repeats = loop.count
    if loop.is_new:
        _log.warning(
            "Key %s repeats nearly the same call of %s: %d times so far; trace %s.",
            loop.key_id, loop.model, loop.count, loop.trace_id,
        )  # fmt: skip
    if loop.rule.on_loop == "slow":
        await asyncio.sleep(_pause_s(loop, recording.incoming.deadline_s))
    elif loop.rule.on_loop == "refuse":
        raise LoopDetected(_told(loop))


def _pause_s(loop: Loop, deadline_s: float | None) -> float:
    pause_s = loop.rule.pause_s(loop.count)
    return pause_s if deadline_s is None else min(pause_s, deadline_s / 2)


def _told(loop: Loop) -> str:
    rule = loop.rule
    return (
        f"This key has sent nearly the same request {loop.count} times, {rule.repeats} of them within "
        f"{rule.window_s:g} s: it looks like a loop. Stop repeating it; if it is meant, raise `repeats` under [loops]."
    )
