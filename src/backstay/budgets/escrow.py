"""Owns the reserving of money before it is spent: from what this worker holds, kept in step with the book."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

import msgspec

from backstay.budgets.scopes import BudgetRules, Subject
from backstay.budgets.store import Book
from backstay.budgets.types import Charge, Shortage, Terms
from backstay.budgets.vault import Purse, Share, Vault
from backstay.core.clock import Clock
from backstay.core.errors import StoreUnavailable
from backstay.store import Database

_CHANNEL = "backstay_budgets"
_LINGER_S = 0.05
"""How long what is not urgent is gathered before the book is asked."""
_HEARTBEAT_S = 1.0
_START_S = 3.0
_FIRST_PAUSE_S = 0.05
_LAST_PAUSE_S = 1.0
_AGAIN_S = 0.02
"""How soon the book is asked again for a call that waits, after others were told to give back."""

_log = logging.getLogger(__name__)


class _Event(msgspec.Struct):
    """A notification: a budget that has changed, or one of which somebody needs what others hold."""

    changed: tuple[str, str] | None = None
    recall: tuple[str, str, str] | None = None
    by: str = ""


_events = msgspec.json.Decoder(_Event)


class Escrow:
    """The budgets of one worker's calls.

    A call is let through once its worst case is reserved of every hard budget that it touches. That is arithmetic in
    memory, unless this worker's lease of one is used up.
    """

    def __init__(self, database: Database, clock: Clock, *, holder: str):
        """Begin without any budget.

        Args:
            holder: Who leases: the id of this worker's journal, as what it owes is known when that is shipped.
        """
        self.refused = 0
        """Calls refused since the start."""
        self.uncovered = 0
        """Attempts that cost more than their worst case; 0 unless a bound is wrong."""
        self._policy: tuple[Terms, ...] = ()
        self._own: dict[tuple[str, str], Terms] = {}
        self._rules = BudgetRules()
        self._clock = clock
        self._database = database
        self._book = Book(database, holder)
        self._vault = Vault(now_us=self._now_us(), wall_us=clock.now_ns() // 1000)
        self._changed: set[tuple[str, str]] = set()
        self._is_stale = True
        self._loaded = asyncio.Event()
        self._reread = asyncio.Event()
        self._due = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def is_loaded(self) -> bool:
        """Whether the budgets have been read since the start; those of the policy are known without."""
        return self._loaded.is_set()

    @property
    def is_away(self) -> bool:
        """Whether Postgres did not answer when it was last asked: only what is leased can be spent."""
        return self._vault.is_away

    @property
    def holder(self) -> str:
        return self._book.holder

    def watch(self, add_counter: Callable[[str, str, Callable[[], float], Mapping[str, str]], None]) -> None:
        """Show how many calls were refused for want of money, and how many cost more than was thought possible."""
        add_counter(
            "backstay_budget_refused_total", "Calls refused by a budget of their caller.", lambda: self.refused, {}
        )
        add_counter(
            "backstay_budget_uncovered_total",
            "Attempts that cost more than what was reserved for them.",
            lambda: self.uncovered,
            {},
        )

    def adopt(self, policy: Iterable[Terms]) -> None:
        """Take over the budgets of a new policy."""
        self._policy = tuple(policy)
        self._combine()

    def purses(self, subject: Subject) -> Sequence[Purse]:
        """Find the budgets that a call touches, the widest first. Without any, that costs nothing."""
        if self._rules.is_empty:
            return ()
        now_us = self._now_us()
        return [self._vault.purse(subject.tenant_id, terms, part, now_us) for terms, part in self._rules.of(subject)]

    def take(self, purses: Sequence[Purse], amount: int) -> Sequence[Share] | None:
        """Reserve an amount of all budgets; ``None`` where that needs the book."""
        found = self._vault.take(purses, amount, self._now_us())
        if isinstance(found, Purse):
            return None
        if self._vault.has_news:
            self._due.set()
        return found

    async def wait_for(self, purses: Sequence[Purse], amount: int, for_s: float) -> Sequence[Share] | Shortage:
        """Reserve an amount, asking the book, and waiting for what running calls may give back.

        Args:
            for_s: The longest wait for those. Without any, the book is asked and the others are told to give back. A
                book that has been away for longer than this is not waited for.
        """
        vault, began_us = self._vault, self._now_us()
        rounds = 0
        while True:
            vault.wait(purses, amount)
            try:
                await self._next_answer()
            finally:
                vault.wait_no_more(purses, amount)
            rounds += 1
            now_us = self._now_us()
            found = vault.take(purses, amount, now_us)
            if not isinstance(found, Purse):
                return found
            lacking, is_late = vault.lacking(found, now_us), now_us - began_us > for_s * 1e6
            if (shortage := vault.shortage(purses, amount, now_us)) is not None:
                return shortage
            if vault.is_away:
                is_hopeless = found.terms.on_low != "queue" and vault.is_long_away(for_s, now_us)
                if is_late or (is_hopeless and not vault.may_come_back_here(purses, amount, now_us)):
                    return lacking
                continue
            # The first round tells others to give back what they do not use; that is taken into account after it.
            if (is_late or not vault.has_others(purses, now_us)) and rounds > 3:
                return lacking
            await asyncio.sleep(min(_AGAIN_S * rounds, 0.25))

    def share_at_hand(self, purses: Sequence[Purse]) -> int:
        """What a call can have of all these without asking the book, if it leaves as much to each that waits."""
        return self._vault.share_at_hand(purses, self._now_us())

    def is_over(self, purses: Sequence[Purse]) -> bool:
        """Whether a budget that only marks calls is used up."""
        return self._vault.is_over(purses)

    def settle(self, shares: Sequence[Share], cost: int, at_ns: int) -> list[Charge]:
        """End what was reserved for an attempt, and say what its budgets are charged: that must go into the journal."""
        charges = self._vault.settle(shares, cost, at_ns // 1000)
        if cost > min((share.amount for share in shares if share.purse.terms.hard), default=cost):
            self.uncovered += 1
            _log.error("A call cost %d nano-USD, more than was reserved for it.", cost)
        if self._vault.is_away and any(share.purse.waiting for share in shares):
            waiting, self._waiting = self._waiting, []
            _wake(waiting)
        if self._vault.has_news:
            self._due.set()
        return charges

    async def start(self) -> None:
        """Read the budgets and follow their changes. Where Postgres is away now, that happens when it is back."""
        self._database.listen(_CHANNEL, self._on_event, on_gap=self._on_gap)

    async def run(self) -> None:
        """Keep in step with the book until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._keep_in_step())
            tasks.create_task(self._look_around())

    async def ready(self) -> None:
        """Wait until the budgets are read, for a while."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._loaded.wait(), _START_S)

    async def close(self) -> None:
        """Give back what is not reserved. Where Postgres is away, it comes back when the journal is shipped."""
        self._vault.close()
        await self._sync()

    def _combine(self) -> None:
        self._rules = BudgetRules((*self._policy, *self._own.values()))

    def _on_event(self, payload: str) -> None:
        event = _events.decode(payload)
        if event.changed is not None:
            self._changed.add(event.changed)
            self._reread.set()
        if event.recall is not None and event.by != self.holder and self._vault.recall(event.recall, self._now_us()):
            self._due.set()

    def _on_gap(self) -> None:
        self._is_stale = True
        self._reread.set()

    async def _follow(self) -> None:
        while True:
            await self._reread.wait()
            self._reread.clear()
            changed, self._changed = self._changed, set()
            try:
                await self._read_anew(changed)
            except Exception as error:  # noqa: BLE001 - the edge of the task: what was not read now is read again
                _log.warning("The budgets in memory may be out of date, they are read again: %r", error)
                self._on_gap()
                await asyncio.sleep(_LAST_PAUSE_S)

    async def _read_anew(self, changed: set[tuple[str, str]]) -> None:
        """Read all budgets, or those that changed; and give back what is held of them, so that a lower limit counts."""
        if self._is_stale:
            self._is_stale = False
            self._own = {(terms.tenant_id or "", terms.id): terms for terms in await self._book.read_all()}
        elif changed:
            found = await self._book.read(sorted(changed))
            for id in changed:
                self._own.pop(id, None)
            self._own.update(found)
        self._combine()
        self._loaded.set()
        for purse in self._vault.purses:
            if purse.id[:2] in changed:
                if (terms := self._own.get((purse.id[0], purse.id[1]))) is not None:
                    purse.terms = terms
                self._vault.recall(purse.id, self._now_us())
                self._due.set()

    async def _next_answer(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._due.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_PAUSE_S):
                await future

    async def _keep_in_step(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            await self._due.wait()
            if not self._vault.is_due:
                await asyncio.sleep(_LINGER_S)
            self._due.clear()
            if await self._sync():
                pause_s = _FIRST_PAUSE_S
            else:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LAST_PAUSE_S)
                self._due.set()

    async def _look_around(self) -> None:
        while True:
            await asyncio.sleep(_HEARTBEAT_S)
            self._vault.look_around(self._now_us())
            if self._vault.has_news:
                self._due.set()

    async def _sync(self) -> bool:
        """Exchange with the book once; whether it answered. Whoever waits is woken either way."""
        waiting, self._waiting = self._waiting, []
        asks, sent_us = self._vault.ask(self._now_us()), self._now_us()
        try:
            if asks or waiting or self._vault.is_away:
                reply = await self._book.sync(asks.values())
                self._vault.answer(asks, reply, sent_us, self._now_us())
            if self._vault.has_news:
                self._due.set()
            return True
        except StoreUnavailable as error:
            if not self._vault.is_away:
                _log.warning("Budgets go on with what is leased: %s", error.message)
            self._vault.lost(asks, self._now_us())
            return False
        except Exception:  # noqa: BLE001 - the edge of the task: a fault here must not end the counting
            _log.exception("The book of budgets refuses a sync; it is tried again.")
            self._vault.lost(asks, self._now_us())
            return False
        finally:
            _wake(waiting)

    def _now_us(self) -> int:
        return self._clock.monotonic_ns() // 1000


def _wake(waiting: Iterable[asyncio.Future[None]]) -> None:
    """Let calls that wait for money look again."""
    for future in waiting:
        if not future.done():
            future.set_result(None)
