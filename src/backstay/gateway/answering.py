"""Owns the way from a call to its answer: carries out what ``tries`` decides, and goes on where a stream broke."""

import asyncio
import random
from collections.abc import AsyncGenerator, Coroutine

from backstay.core.errors import (
    BackstayError,
    DeadlineExceeded,
    NoCapableTarget,
    ProviderError,
    TargetsUnavailable,
    Untranslatable,
)
from backstay.gateway import hedging
from backstay.gateway.attempt import Answer, Call, end_broken, try_target
from backstay.gateway.lines import Waiter
from backstay.gateway.needs import Needs, read_needs, why_not
from backstay.gateway.seam import Interrupted
from backstay.gateway.standing_in import fixed_answer, stale_answer
from backstay.gateway.stream import Piece
from backstay.gateway.tries import Began, Event, Failed, Late, Stop, Tries, Try, Unable, View, Wait, Waited
from backstay.gateway.trying import hope_after
from backstay.gateway.types import Target
from backstay.health import Availability
from backstay.health.target import READY


class _Outlook:
    """What a call sees of its targets. It knows nothing of the tries that ask it: a circle would outlive each call."""

    def __init__(self, call: Call, targets: tuple[Target, ...]):
        self.waiter: Waiter | None = None
        """Once the call had to wait for its turn at a target."""
        self._call = call
        self._targets = targets

    def look(self, place: int, now_s: float) -> View:
        """Tell what is known of a target at a moment."""
        call = self._call
        name = self._targets[place].name
        health = call.fleet.of(name)
        availability = health.availability(now_s, len(call.incoming.body) // 4)
        if availability is READY and not call.room.lines.is_turn(name, call.incoming.priority, self.waiter):
            availability = _NOT_ITS_TURN
        if not call.recording.attempts:
            return View(availability)
        latencies = health.first_token if call.request.stream else health.whole
        return View(availability, may_retry=health.retries.has_one(), usual_s=latencies.quantile(0.5))


class Answering:
    """The tries of one call, until its answer is whole."""

    def __init__(self, call: Call, targets: tuple[Target, ...], chance: random.Random):
        self._call = call
        self._targets = targets
        self._place = 0
        self._error: BackstayError | None = None
        self._unable: dict[str, Untranslatable] = {}
        """Targets that cannot take the request, and why."""
        self._outlook = _Outlook(call, targets)
        self._tries = Tries(
            len(targets),
            call.request.model.route.retry,
            began_s=call.now_s(),
            give_up_at_s=call.give_up_at_s,
            look=self._outlook.look,
            chance=chance,
        )

    async def answer(self) -> Answer:
        """Try targets until one answers.

        Raises:
            BackstayError: None did: the last one's error, or why none could be asked.
        """
        try:
            return await self._go(Began())
        except BackstayError as error:
            return await self._stand_in(error)

    async def pieces(self, answer: Answer) -> AsyncGenerator[Piece]:
        """Iterate over a stream, on over the places where it breaks if the route says so.

        Raises:
            ProviderError: It broke, and nobody could go on.
        """
        call = self._call
        try:
            while True:
                try:
                    for piece in answer.held:
                        yield piece
                    if answer.rest is not None:
                        async for piece in answer.rest:
                            yield piece
                    answer.end()
                    return
                except ProviderError as error:
                    answer.end(error)
                    await answer.close()
                    broken = Interrupted.after(call.recording.said, call.request, call.incoming.dialect)
                    if broken is not None and broken.is_finished:
                        yield end_broken(call, broken)
                        return
                    answer = await self._go_on(broken, error)
        except BaseException as failure:
            answer.end(failure)
            raise
        finally:
            await answer.close()

    async def _stand_in(self, error: BackstayError) -> Answer:
        """Give what the route ends in, instead of an error that is nobody's fault here. Raises the error else."""
        call, degraded = self._call, self._call.request.model.route.degraded
        if not error.retryable and hope_after(error) == "nowhere" and not isinstance(error, DeadlineExceeded):
            raise error
        if degraded.cache_stale and (stale := await stale_answer(call)) is not None:
            return stale
        if degraded.target is not None and call.now_s() < call.give_up_at_s:
            call.recording.degraded = "target"
            try:
                return await try_target(call, degraded.target, "degraded")
            except BackstayError as failure:
                error.add_note(f"{degraded.target.name} was to stand in and failed too: {failure.message}")
        if degraded.message is None or call.incoming.operation != "chat":
            call.recording.degraded = None
            raise error
        call.recording.degraded = "message"
        return fixed_answer(call, degraded.message)

    async def _go_on(self, broken: Interrupted | None, error: ProviderError) -> Answer:
        """Let a target go on with a stream that broke. Raises the error that broke it where none can."""
        if broken is None or broken.mode == "error":
            raise error
        try:
            return await self._go(Failed(self._place, "anywhere"), broken)
        except BackstayError as failure:
            raise error from failure

    async def _go(self, event: Event, broken: Interrupted | None = None) -> Answer:
        """Do what the tries say until a target answers."""
        while True:
            move = self._tries.step(event, self._call.now_s())
            match move:
                case Try():
                    try:
                        if move.reason == "first" and self._may_hedge():
                            return await self._hedge(move)
                        return await self._try(move, broken)
                    except Untranslatable as error:
                        self._unable[self._targets[move.place].name] = error
                        event = Unable(move.place)
                    except BackstayError as error:
                        self._error = error
                        event = Failed(move.place, hope_after(error))
                case Wait():
                    await self._wait(move)
                    event = Waited()
                case Stop():
                    self._leave()
                    raise self._why(move)

    def _try(self, move: Try, broken: Interrupted | None = None) -> Coroutine[None, None, Answer]:
        """Begin a try. The call has no place in a line any more."""
        self._leave()
        self._place = move.place
        target = self._targets[move.place]
        if move.reason == "retry":
            self._call.fleet.of(target.name).retries.spend()
        return try_target(self._call, target, broken.reason if broken is not None else move.reason, broken)

    def _may_hedge(self) -> bool:
        share = self._call.request.model.route.hedge_share
        if not share or len(self._targets) == 1:
            return False
        self._call.fleet.hedges_of(self._call.request.model.name).earn(share)
        return True

    async def _hedge(self, move: Try) -> Answer:
        """Make a try, and another one beside it once it takes longer than nineteen of twenty do."""
        call = self._call
        health, hedges = call.fleet.of(self._targets[move.place].name), call.fleet.hedges_of(call.request.model.name)
        after_s = (health.first_token if call.request.stream else health.whole).quantile(0.95)
        if after_s is None:
            return await self._try(move)

        def begin_second() -> hedging.Try | None:
            second = self._tries.step(Late(move.place), call.now_s())
            if not isinstance(second, Try) or not hedges.take():
                return None
            return self._try(second)

        answer = await hedging.first_of_two(self._try(move), after_s, begin_second, hedges.end)
        if answer.trying is not None:
            call.recording.answered_by(answer.trying.attempt)
            self._place = self._targets.index(answer.trying.attempt.target)
            if answer.stream is not None:
                call.recording.said = answer.trying.attempt.events
        return answer

    async def _wait(self, move: Wait) -> None:
        incoming, for_s = self._call.incoming, max(0.0, move.until_s - self._call.now_s())
        if not move.places:
            self._leave()
            await asyncio.sleep(for_s)
            return
        outlook = self._outlook
        if outlook.waiter is None:
            outlook.waiter = Waiter(tenant_id=incoming.caller.tenant_id, priority=incoming.priority)
        targets = frozenset([self._targets[place].name for place in move.places])
        try:
            await self._call.room.wait(outlook.waiter, targets, for_s)
        except BaseException:
            self._leave()  # nobody waits for it any more
            raise

    def _leave(self) -> None:
        if self._outlook.waiter is not None:
            self._call.room.leave(self._outlook.waiter)

    def _why(self, stop: Stop) -> BackstayError:
        if self._error is not None:
            return self._error
        if len(self._unable) == len(self._targets):
            return self._why_nobody_can()
        if stop.why == "time":
            return DeadlineExceeded()
        return TargetsUnavailable(
            f"No target of {self._call.request.model.name!r} can be asked now. {self._why_not_each()}.",
            retry_after_s=stop.retry_after_s,
        )

    def _why_nobody_can(self) -> BackstayError:
        """Say of each target why it cannot take the request; of a model's only one in its own words."""
        model, reasons = self._call.request.model, tuple(self._unable.values())
        if len(model.targets) == 1:
            return reasons[0]
        params = {reason.param for reason in reasons}
        return NoCapableTarget(
            f"No target of {model.name!r} can take this request. {self._why_not_each()}.",
            param=params.pop() if len(params) == 1 else "model",
        )

    def _why_not_each(self) -> str:
        request, incoming = self._call.request, self._call.incoming
        needs = read_needs(request.fields, len(incoming.body))
        reasons = [(target, self._why_not(target, needs)) for target in request.model.targets]
        return "; ".join(f"{target.name}: {reason}" for target, reason in reasons)

    def _why_not(self, target: Target, needs: Needs) -> str:
        if target.name in self._unable:
            return self._unable[target.name].message.rstrip(".")
        call = self._call
        readiness = call.fleet.of(target.name).availability(call.now_s()).readiness
        return why_not(target, needs, call.incoming) or _SAID[readiness]


_NOT_ITS_TURN = Availability("busy")
"""Of a target that has room, for which others have waited longer."""

_SAID = {
    "ready": "it is over its limits",
    "slow": "it is slow",
    "busy": "it has no room",
    "limited": "it is over its rate limit",
    "open": "it is down",
    "drained": "it was taken out of use",
}
