"""Owns what one worker knows of all limits: whether a call is admitted, and what each sync with the book says.

Pure: it does nothing but answer. ``Limiter`` performs what it asks for.
"""

from collections.abc import Sequence

import msgspec

from backstay.limits.concurrent import Concurrent
from backstay.limits.types import LimitId, LimitState, Note, Refusal, Reply, Sync, Terms, Want
from backstay.limits.windowed import ASK, HAS, Windowed

Purse = Windowed | Concurrent

_MOST_ASKS = 500
"""Limits of one sync."""


_MUCH = 16
"""One part in so many of a limit is worth telling others at once."""


class Taken(msgspec.Struct, frozen=True):
    """What one call has taken of one limit."""

    purse: Purse
    amount: int
    frees_us: int


class Desk:
    """All limits as one worker counts them. Times are of the worker's own clock, which never runs backwards."""

    def __init__(self, terms: Terms, *, now_us: int, wall_us: int):
        """Begin without having heard of the book: until then its clock is taken to be as this machine's."""
        self.terms = terms
        self.alone = False
        """Whether the book is away, or has just come back: the worker goes by its own share."""
        self._ahead_us = wall_us - now_us
        """Most by which the book's clock may be ahead of this one."""
        self._heard_us = now_us
        self._tried_us = now_us - terms.heartbeat_us
        self._seq = 0
        self._workers = 0
        self._purses: dict[LimitId, Purse] = {}
        self._dirty: dict[LimitId, Purse] = {}
        self._asked: frozenset[LimitId] = frozenset()
        """Those of the sync that is under way."""
        self._is_urgent = False
        self._notes: list[Note] = []
        self._hurries = False
        """Whether other workers may be waiting for what there is to say."""

    @property
    def known(self) -> int:
        """How many limits are in memory."""
        return len(self._purses)

    def decide(self, now_us: int, wants: Sequence[Want]) -> list[Taken] | Refusal | None:
        """Take what a call needs of all its limits at once, or say why not; ``None``: the book must be asked first."""
        pairs = [(self._purse(want), want) for want in wants]
        must_ask = False
        for purse, want in pairs:
            if purse.limit != want.limit:
                purse.set_limit(want.limit)
            if want.amount > want.limit:
                return Refusal(want=want, retry_us=None)
            found = self._look(purse, want, now_us)
            if found > HAS:
                return Refusal(want=want, retry_us=found)
            must_ask = must_ask or found == ASK
        if must_ask:
            return None
        return [self._take(purse, want, now_us) for purse, want in pairs]

    def give_up(self, now_us: int, wants: Sequence[Want]) -> Refusal:
        """Say why a call is refused that waited long enough."""
        lacking = next((want for want in wants if self._look(self._purse(want), want, now_us) != HAS), wants[0])
        return Refusal(want=lacking, retry_us=self.terms.heartbeat_us)

    def may_be_lent(self, refusal: Refusal) -> bool:
        """Tell whether no more may be in the way than what other workers hold and do not use."""
        return not self.alone and refusal.retry_us is not None and refusal.retry_us <= self.terms.lease_us

    def insist(self, wants: Sequence[Want]) -> None:
        """Have the book be asked again at once, though it has just refused."""
        for want in wants:
            if isinstance(purse := self._purse(want), Windowed):
                purse.insist()

    def wait(self, wants: Sequence[Want]) -> None:
        """Note that a call waits for its limits, so that the next sync asks for them."""
        for want in wants:
            purse = self._purse(want)
            purse.waiting.append(want.amount)
            self._mark(purse)
        self._is_urgent = True

    def wait_no_more(self, wants: Sequence[Want]) -> None:
        for want in wants:
            self._purse(want).waiting.remove(want.amount)

    def settle(self, now_us: int, taken: Sequence[Taken], tokens: int | None) -> None:
        """End a call: what ran runs no more, and the true number of tokens counts. ``None`` leaves the estimate."""
        for one in taken:
            if isinstance(one.purse, Concurrent):
                one.purse.release(one.amount)
            elif one.purse.id.meter == "tokens" and tokens is not None:
                counted = one.purse.correct(now_us, now_us + self._ahead_us, one.frees_us, tokens - one.amount)
                if counted is not None:
                    self._note(one.purse, *counted)
                    # Others may be refused for what this call held and did not use.
                    self._hurries = self._hurries or -counted[1] * _MUCH > one.purse.limit
            else:
                continue
            self._mark(one.purse)
            self._purses.setdefault(one.purse.id, one.purse)

    def take_notes(self) -> list[Note]:
        """Hand over what is to be written down before anything else happens."""
        notes, self._notes = self._notes, []
        return notes

    def untold(self) -> list[Note]:
        """List all that the book may not know of."""
        purses = [purse for purse in self._purses.values() if isinstance(purse, Windowed)]
        return [note for purse in purses for note in purse.untold(self._seq + 1)]

    def states(self, now_us: int, wants: Sequence[Want]) -> list[LimitState]:
        """Tell where a caller stands with its limits."""
        book_us = now_us + self._ahead_us
        return [self._purse(want).state(now_us, book_us, self._workers, alone=self.alone) for want in wants]

    def due_us(self) -> int:
        """Return when the next sync is due: 0 for at once."""
        if self._is_urgent:
            return 0
        terms = self.terms
        if self._dirty:
            return self._tried_us + (terms.linger_us if self._hurries else terms.report_us)
        return self._tried_us + terms.heartbeat_us

    def ask(self, now_us: int) -> Sync:
        """Write the next sync. Without any answer yet, it only says that this worker is here."""
        self._seq += 1
        self._tried_us, self._hurries = now_us, False
        ids = list(self._dirty)[:_MOST_ASKS] if self._workers else []
        purses = [self._dirty.pop(id) for id in ids]
        self._asked = frozenset(ids)
        self._is_urgent = bool(ids and self._dirty) or bool(self._dirty and not self._workers)
        book_us = now_us + self._ahead_us
        return Sync(
            seq=self._seq,
            sent_us=now_us,
            ids=tuple(ids),
            asks=tuple(purse.ask(self._seq, now_us, book_us, alone=self.alone) for purse in purses),
        )

    def answer(self, sync: Sync, reply: Reply, now_us: int) -> None:
        """Take the book's answer to a sync."""
        self._ahead_us = reply.at_us - sync.sent_us
        self._heard_us, self._asked = now_us, frozenset()
        # While they all come back from an outage, those that are not here yet have their shares all the same.
        self._workers = max(1, reply.workers, 0 if reply.settled else self._workers)
        for answer in reply.answers:
            purse = self._purses.get(sync.ids[answer.place])
            if purse is not None:
                purse.answer(sync.asks[answer.place], answer, sync, reply, now_us, alone=self.alone)
                if purse.is_dirty:
                    self._mark(purse)
        if self.alone and reply.settled:
            self.alone = False
            for purse in self._purses.values():
                purse.leave_alone()
                self._mark(purse)

    def lost(self, sync: Sync) -> None:
        """Go on by this worker's own share: a sync was not answered, and nobody knows whether it was taken."""
        self.alone, self._asked = True, frozenset()
        for id in sync.ids:
            if (purse := self._purses.get(id)) is not None:
                self._mark(purse)

    def close(self) -> None:
        """Have the next sync give back all that is not in use."""
        self._dirty = dict(self._purses)
        for purse in self._purses.values():
            purse.retire()

    def forget_idle(self, now_us: int) -> None:
        """Drop the limits of which nothing is left to say."""
        book_us = now_us + self._ahead_us
        for id, purse in list(self._purses.items()):
            if id not in self._dirty and id not in self._asked and purse.is_idle(book_us):
                del self._purses[id]

    def _mark(self, purse: Purse) -> None:
        """Have the book be told of a limit soon."""
        self._dirty[purse.id] = purse
        self._hurries = self._hurries or purse.is_scarce

    def _note(self, purse: Windowed, frees_us: int, amount: int) -> None:
        id = purse.id
        self._notes.append(Note(id.tenant_id, id.scope, id.meter, self._seq + 1, frees_us, amount))

    def _purse(self, want: Want) -> Purse:
        purse = self._purses.get(want.id)
        if purse is None:
            kind = Concurrent if want.id.meter == "concurrency" else Windowed
            purse = self._purses[want.id] = kind(want.id, want.limit, self.terms)
        return purse

    def _look(self, purse: Purse, want: Want, now_us: int) -> int:
        if self.alone:
            return purse.look_alone(now_us + self._ahead_us, want.amount, self._workers)
        if isinstance(purse, Concurrent) and now_us - self._heard_us > self.terms.dead_us // 2:
            return ASK
        return purse.look(now_us, want.amount)

    def _take(self, purse: Purse, want: Want, now_us: int) -> Taken:
        frees_us = purse.take(now_us, now_us + self._ahead_us, want.amount, alone=self.alone)
        self._mark(purse)
        if isinstance(purse, Windowed):
            self._note(purse, frees_us, want.amount)
        if purse.is_low and not self.alone:
            self._is_urgent = True
        return Taken(purse, want.amount, frees_us)
