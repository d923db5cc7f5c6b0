"""Owns the claims of one worker: who makes the one call of a key, who waits for it, and that a claim is still ours.

A claim is held in Postgres. Whoever else wants the key contests it there, and takes it over once it was contested for
``lease_s`` with no word of its holder. The holder gives word every ``confirm_s``, and where Postgres has not answered
for nearly as long as the lease it gives up by itself: so a key never has two calls under way. Contests need Postgres:
while it is away for all, nobody loses anything, and whoever comes first when it is back must still wait for the lease.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager, suppress

from backstay.core.clock import Clock
from backstay.core.errors import StoreUnavailable
from backstay.idempotency.store import ClaimStore, Hold
from backstay.idempotency.types import (
    ClaimEnd,
    IdempotencyInProgress,
    IdempotencyKeyReused,
    KeptAnswer,
    Slot,
    Terms,
    Wanted,
)
from backstay.store import Database

_RETRY_AFTER_S = 1.0

_log = logging.getLogger(__name__)


class Claim:
    """A key that one call of this worker holds."""

    def __init__(self, wanted: Wanted, claims: "Claims", confirmed_s: float):
        self.slot = wanted.slot
        self.id = wanted.claim_id
        self.trace_id = wanted.trace_id
        self.fingerprint = wanted.fingerprint
        self.answer: KeptAnswer | None = None
        self.is_stored = False
        """Whether Postgres has the answer, so that the journal need not carry it."""
        self.is_lost = False
        self.confirmed_s = confirmed_s
        self.ended = asyncio.Event()
        self._claims = claims
        self._pieces: list[bytes] = []
        self._size = 0
        self._task: asyncio.Task[object] | None = None
        self._waiting = 0
        self._cancel: Callable[[], object] | None = None

    @property
    def hold(self) -> Hold:
        return self.slot, self.id

    @property
    def _fits(self) -> bool:
        return self._size <= self._claims.terms.max_bytes

    @asynccontextmanager
    async def held(self) -> AsyncGenerator[None]:
        """Run the call itself, for as long as the claim holds.

        Raises:
            StoreUnavailable: It may not hold any more. What ran was cancelled.
        """
        self._task = asyncio.current_task()
        try:
            yield
        except asyncio.CancelledError:
            if not self.is_lost or self._task is None or self._task.uncancel() > 0:
                raise
            raise StoreUnavailable(
                "Postgres did not confirm for too long that no other call with this Idempotency-Key runs, so that this "
                "one was cancelled. Try again."
            ) from None

    def lose(self) -> None:
        """Cancel the call, as another may be made now."""
        if not self.is_lost and self._task is not None and self.answer is None:
            self.is_lost = True
            self._task.cancel()

    def add(self, piece: bytes) -> None:
        """Remember a piece of the answer, as long as it may be kept."""
        self._size += len(piece)
        if self._fits:
            self._pieces.append(piece)
        else:
            self._pieces.clear()

    async def keep(self, headers: tuple[tuple[str, str], ...], *, is_stream: bool) -> None:
        """Keep what was remembered, as the answer to every repeat."""
        body = b"".join(self._pieces) if self._fits else None
        self.answer = KeptAnswer(trace_id=self.trace_id, is_stream=is_stream, headers=headers, body=body)
        self.is_stored = await self._claims.store(self, self.answer)

    def end(self) -> None:
        """Let go of the key: the call is over, and the journal has it. Who waits for it looks again."""
        self.ended.set()
        self._claims.ended(self)

    def go_on(self, cancel: Callable[[], object]) -> bool:
        """Let the call go on after its caller has gone, if others wait for it; ``cancel`` ends it when none does."""
        if self.ended.is_set() or not self._waiting:
            return False
        self._cancel = cancel
        return True

    async def wait(self, limit_s: float) -> None:
        """Wait for the end of the call. Raises ``IdempotencyInProgress`` when the time is over."""
        self._waiting += 1
        try:
            async with asyncio.timeout(limit_s):
                await self.ended.wait()
        except TimeoutError:
            raise IdempotencyInProgress(retry_after_s=_RETRY_AFTER_S) from None
        finally:
            self._waiting -= 1
            if not self._waiting and self._cancel is not None:
                self._cancel()

    def told(self) -> ClaimEnd | None:
        """Write what the journal must say of its end; ``None`` where Postgres knows."""
        if self.is_stored:
            return None
        return ClaimEnd(
            key_id=self.slot.key_id,
            key=self.slot.key,
            claim_id=self.id,
            keep_s=self._claims.terms.keep_s if self.answer is not None else 0.0,
            answer=self.answer,
        )


class Claims:
    """The claims of one worker."""

    def __init__(self, database: Database, clock: Clock, terms: Terms | None = None):
        self.terms = terms or Terms()
        self._store = ClaimStore(database, self.terms)
        self._clock = clock
        self._running: dict[Slot, Claim] = {}
        self._journaled: dict[str, Claim] = {}
        """Claims whose answer the journal carries: ours until it is shipped."""
        self._to_release: dict[str, Hold] = {}
        self._due = asyncio.Event()

    @property
    def running(self) -> Collection[Claim]:
        """Those whose calls are under way here."""
        return self._running.values()

    async def claim(self, wanted: Wanted, until_s: float) -> Claim | KeptAnswer:
        """Claim a key, or return the answer of the call that had it; wait for that until ``until_s`` (monotonic).

        Raises:
            IdempotencyKeyReused: It belongs to another request.
            IdempotencyInProgress: The time is over and the other call still runs.
            IdempotencyAnswerTooLarge: There is an answer that was not kept.
            StoreUnavailable: Postgres does not answer: nobody knows whether the call was made before.
        """
        pause_s = self.terms.first_pause_s
        while True:
            if (ours := self._running.get(wanted.slot)) is not None:
                if ours.fingerprint != wanted.fingerprint:
                    raise IdempotencyKeyReused
                await ours.wait(until_s - self._now_s())
                continue
            now_s = self._now_s()
            found = await self._ask(wanted)
            if isinstance(found, KeptAnswer):
                return found
            if found:
                claim = self._running[wanted.slot] = Claim(wanted, self, now_s)
                return claim
            if wanted.slot not in self._running:
                if self._now_s() + pause_s > until_s:
                    raise IdempotencyInProgress(retry_after_s=_RETRY_AFTER_S)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, self.terms.last_pause_s)

    async def store(self, claim: Claim, answer: KeptAnswer) -> bool:
        """Keep an answer in Postgres; ``False`` where it does not take it: then the journal must carry it."""
        try:
            if not await self._store.keep(claim.slot, claim.id, answer):
                _log.error("The answer of call %s was not kept: its idempotency key was taken over.", claim.id)
        except Exception as error:  # noqa: BLE001 - the answer is good, whatever Postgres says, and must reach its caller
            _log.warning("The answer of call %s is kept by way of the journal: %s", claim.id, error)
            return False
        return True

    def ended(self, claim: Claim) -> None:
        """Note that a claim's call is over; ``Claim.end`` calls this once."""
        if self._running.get(claim.slot) is claim:
            del self._running[claim.slot]
        if claim.answer is None:
            self._release(claim.hold)
        elif not claim.is_stored:
            self._journaled[claim.id] = claim

    async def run(self) -> None:
        """Give word of what is held, and free what is not, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.terms.confirm_s / 10):
                    await self._due.wait()
            self._due.clear()
            try:
                await self._free_released()
                await self._confirm()
            except StoreUnavailable:
                await asyncio.sleep(self.terms.first_pause_s)
            except Exception:  # noqa: BLE001 - the edge of the task: the next round tries again
                _log.exception("The claims on idempotency keys could not be confirmed.")
            self._give_up_unconfirmed()

    async def close(self) -> None:
        """Free what is to be freed. Where Postgres is away, the journals say the same."""
        with suppress(StoreUnavailable):
            await self._free_released()

    async def _ask(self, wanted: Wanted) -> bool | KeptAnswer:
        try:
            return await self._store.claim(wanted)
        except (StoreUnavailable, asyncio.CancelledError):
            self._release((wanted.slot, wanted.claim_id))  # its commit may have come through all the same
            raise

    def _release(self, hold: Hold) -> None:
        self._to_release[hold[1]] = hold
        self._due.set()

    async def _free_released(self) -> None:
        holds = dict(self._to_release)
        if holds:
            await self._store.release(holds.values())
            for claim_id in holds:
                del self._to_release[claim_id]

    async def _confirm(self) -> None:
        now_s = self._now_s()
        ours = [*self._running.values(), *self._journaled.values()]
        due = [claim for claim in ours if now_s - claim.confirmed_s > self.terms.confirm_s]
        if not due:
            return
        held = await self._store.confirm([claim.hold for claim in due])
        for claim in due:
            if claim.id in held:
                claim.confirmed_s = now_s
            elif claim.ended.is_set():
                self._journaled.pop(claim.id, None)
            else:
                claim.lose()

    def _give_up_unconfirmed(self) -> None:
        longest_s = self.terms.lease_s - self.terms.margin_s
        for claim in self._running.values():
            if self._now_s() - claim.confirmed_s > longest_s:
                claim.lose()

    def _now_s(self) -> float:
        return self._clock.monotonic_ns() * 1e-9
