"""Owns the admission of calls by their limits: decides by what this worker has, and keeps it in step with the book."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path

from backstay.core.caller import Caller
from backstay.core.clock import Clock
from backstay.core.errors import RateLimited, StoreUnavailable
from backstay.limits.desk import Desk, Taken
from backstay.limits.headers import write_headers
from backstay.limits.rules import LimitRules
from backstay.limits.store import Book
from backstay.limits.types import METERS, SCOPE_KINDS, LimitState, Meter, Refusal, ScopeKind, Sync, Terms, Want
from backstay.limits.use_log import UseLog
from backstay.store import Database

_LONGEST_WAIT_S = 1.5
_FIRST_PAUSE_S = 0.05
_LAST_PAUSE_S = 1.0
_SWEEP_S = 60.0

_UNITS: dict[Meter, str] = {
    "requests": "requests a minute",
    "tokens": "tokens a minute",
    "concurrency": "calls at once",
}

_log = logging.getLogger(__name__)


class Admission:
    """What became of one call at its limits: what it has taken, until it is settled."""

    __slots__ = ("_limiter", "_refusal", "_taken", "_wants")

    def __init__(self, limiter: "Limiter", wants: Sequence[Want], found: Sequence[Taken] | Refusal):
        self._limiter = limiter
        self._wants = wants
        self._refusal = found if isinstance(found, Refusal) else None
        self._taken: Sequence[Taken] = () if isinstance(found, Refusal) else found

    def require(self) -> None:
        """Raise ``RateLimited`` if the call was not admitted. Then it has taken nothing."""
        if self._refusal is not None:
            raise _error(self._refusal)

    def settle(self, tokens: int | None) -> None:
        """Give back what the call held. The first time counts.

        Args:
            tokens: What was really used, input and output; ``None`` where nobody knows: the estimate stays.
        """
        taken, self._taken = self._taken, ()
        if taken:
            self._limiter.settle(taken, tokens)

    def headers(self, wire: str) -> list[tuple[bytes, bytes]]:
        """Write where the caller stands now, in the standard's and in a vendor's way."""
        retry_us = self._refusal.retry_us if self._refusal else None
        return write_headers(self._limiter.states(self._wants), wire, self._limiter.now_ns(), retry_us)


class Limiter:
    """Admits the calls of one worker. ``rules`` is replaced when the policy changes; what was counted stays."""

    def __init__(self, database: Database, clock: Clock, *, worker: str, folder: Path, terms: Terms | None = None):
        """Begin without limits.

        Args:
            worker: Who borrows: the id of this worker's journal, as its shipper finds out when the owner is dead.
            folder: Where what is used is noted: the folder of that journal.
        """
        self.rules = LimitRules()
        self.refusals: Counter[tuple[ScopeKind, Meter]] = Counter()
        """Calls refused since the start."""
        self._clock = clock
        terms = terms or Terms()
        self._desk = Desk(terms, now_us=self._now_us(), wall_us=clock.now_ns() // 1000)
        self._book = Book(database, worker, terms)
        self._log = UseLog(folder)
        self._due = asyncio.Event()
        self._next_us = 0
        """When the next sync is to be; 0 while one is under way."""
        self._waiting: list[asyncio.Future[None]] = []

    def watch(self, add_counter: Callable[[str, str, Callable[[], float], Mapping[str, str]], None]) -> None:
        """Show how many calls were refused, by what."""
        for kind, meter in product(SCOPE_KINDS, METERS):
            add_counter(
                "backstay_rate_limited_total",
                "Calls refused by a limit of their caller.",
                lambda found=(kind, meter): self.refusals[found],
                {"scope": kind, "limit": meter},
            )

    async def admit(
        self, caller: Caller, *, user: str | None, feature: str | None, tokens: Callable[[], int]
    ) -> Admission | None:
        """Take what a call needs of all its limits, or nothing; ``None``: nothing limits it.

        Waits only where this worker has no permits at hand, for one answer of the book.

        Args:
            tokens: Estimates what the call will use at most; asked for only where tokens are limited.
        """
        figures = self.rules.of(caller, user, feature)
        if not figures:
            return None
        wants = [Want(id=id, limit=limit, amount=tokens() if id.meter == "tokens" else 1) for id, limit in figures]
        found = self._decide(wants)
        if found is None:
            found = await self._decide_later(wants)
        if isinstance(found, Refusal):
            self.refusals[found.want.id.kind, found.want.id.meter] += 1
        else:
            self._wake()
        return Admission(self, wants, found)

    def settle(self, taken: Sequence[Taken], tokens: int | None) -> None:
        """End what a call took; ``Admission.settle`` calls this once."""
        self._desk.settle(self._now_us(), taken, tokens)
        self._write_down()
        self._wake()

    def states(self, wants: Sequence[Want]) -> list[LimitState]:
        """Tell where a caller stands with its limits."""
        return self._desk.states(self._now_us(), wants)

    def now_ns(self) -> int:
        """Return the wall clock's time."""
        return self._clock.now_ns()

    async def run(self) -> None:
        """Keep in step with the book until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_in_step())
            tasks.create_task(self._keep_tidy())

    async def close(self) -> None:
        """Give back what is left at the end. Where Postgres is away, it comes back by itself."""
        self._desk.close()
        await self._sync()
        self._log.close()

    def _decide(self, wants: Sequence[Want]) -> Sequence[Taken] | Refusal | None:
        found = self._desk.decide(self._now_us(), wants)
        self._write_down()
        return found

    def _write_down(self) -> None:
        self._log.add(self._desk.take_notes(), self._desk.untold)

    async def _decide_later(self, wants: Sequence[Want]) -> Sequence[Taken] | Refusal:
        """Ask the book, and decide by its answer.

        Where calls that run are in the way, or what other workers hold and may not use, wait a little for it.
        """
        desk, terms = self._desk, self._desk.terms
        start_us = self._now_us()
        while True:
            desk.wait(wants)
            try:
                await self._next_answer()
            finally:
                desk.wait_no_more(wants)
            found = self._decide(wants)
            is_over = (now_us := self._now_us()) - start_us > terms.patience_us
            if isinstance(found, Refusal) and not is_over and desk.may_be_lent(found):
                desk.insist(wants)
            elif found is not None:
                return found
            elif is_over:
                return desk.give_up(now_us, wants)
            await asyncio.sleep(terms.linger_us / 4e6)

    async def _next_answer(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._due.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST_WAIT_S):
                await future

    async def _sync(self) -> bool:
        """Exchange with the book once; whether it answered. Whoever waits is woken either way."""
        waiting, self._waiting = self._waiting, []
        sync = self._desk.ask(self._now_us())
        try:
            reply = await self._book.sync(sync)
        except StoreUnavailable as error:
            self._on_lost(sync, error)
            return False
        except Exception:  # noqa: BLE001 - the edge of the task: a fault here must not end the counting
            _log.exception("The book of limits refuses a sync; it is tried again.")
            self._desk.lost(sync)
            return False
        else:
            self._desk.answer(sync, reply, self._now_us())
            return True
        finally:
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    def _on_lost(self, sync: Sync, error: StoreUnavailable) -> None:
        if not self._desk.alone:
            _log.warning("Limits are kept by this worker alone, each at its share: %s", error.message)
        self._desk.lost(sync)

    def _wake(self) -> None:
        """Have the next sync be earlier where there is more to say now than when this was last looked at."""
        if self._desk.due_us() < self._next_us:
            self._due.set()

    async def _until_due(self) -> None:
        while (left_us := (due_us := self._desk.due_us()) - self._now_us()) > 0:
            self._next_us = due_us
            self._due.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left_us / 1e6):
                    await self._due.wait()
        self._next_us = 0

    async def _keep_in_step(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            if await self._sync():
                pause_s = _FIRST_PAUSE_S
                await self._until_due()
            else:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LAST_PAUSE_S)

    async def _keep_tidy(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            self._desk.forget_idle(self._now_us())
            try:
                await self._book.sweep()
            except Exception as error:  # noqa: BLE001 - the edge of the task: what is not swept now is swept later
                _log.warning("The book of limits was not swept: %s", error)

    def _now_us(self) -> int:
        return self._clock.monotonic_ns() // 1000


def _error(refusal: Refusal) -> RateLimited:
    want, id = refusal.want, refusal.want.id
    limit = f"{want.limit:,} {_UNITS[id.meter]}"
    if refusal.retry_us is None:
        error = RateLimited(
            f"This call may use {want.amount:,} tokens; the {id.kind} has {limit}. Ask for less output."
        )
        error.retryable = False
        return error
    retry_s = refusal.retry_us / 1e6
    return RateLimited(
        f"The {id.kind}'s limit of {limit} is used up. Try again in {retry_s:.3g} s.", retry_after_s=retry_s
    )
