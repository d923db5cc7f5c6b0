"""Owns the counting of one limit per minute in one worker: permits on loan, what was used of them, what to ask for.

Pure: time is given, nothing is sent. Permits are leased from the book and count there as used until a window after
their lease's end, or, once the worker has told when it used them, until a window after that. So the book never counts
less than what was used in any window, whatever is lost on the way (``tests/limits/test_exactness.py``).
"""

from collections.abc import Iterator

from backstay.limits.types import Answer, Ask, LimitId, LimitState, Note, Reply, Sync, Terms, Use

HAS = 0
"""It can be taken now."""
ASK = -1
"""The book must be asked. Any other figure: not for so many microseconds."""

_SCARCE = 8
"""Less than an eighth of a limit is little."""


class Windowed:
    """What one worker knows of one limit per minute."""

    def __init__(self, id: LimitId, limit: int, terms: Terms):
        self.id = id
        self.limit = limit
        self.waiting: list[int] = []
        """What calls wait for, each."""
        self._terms = terms
        self._stock = 0
        self._ends_us = 0
        self._own: dict[int, int] = {}
        """What this worker used in the window, by when it frees on the book's clock."""
        self._own_sum = 0
        self._fresh: dict[int, int] = {}
        """Of that, what no sync has told yet; and corrections."""
        self._sent: list[Use] = []
        """What syncs have told and the book has not confirmed."""
        self._share: int | None = None
        self._free = 0
        self._next_at_us = 0
        self._used_at_us = 0
        self._refused_amount = 0
        self._refused_until_us = 0
        self._fits_at_us = 0
        self._asked_at_us = 0
        self._taken = 0
        self._recent = 0.0
        self._last = 0
        self._target = 0

    def look(self, now_us: int, amount: int) -> int:
        """Return ``HAS``, ``ASK``, or for how long it is useless to ask."""
        if now_us < self._ends_us:
            if self._stock >= amount:
                return HAS
        elif self._stock:
            self._stock = 0
        if now_us < self._refused_until_us and amount >= self._refused_amount:
            return max(1, self._fits_at_us - now_us)
        return ASK

    def look_alone(self, book_us: int, amount: int, workers: int) -> int:
        """As ``look`` while the book is away: there is this worker's own share, and its own uses against it."""
        self._expire(book_us)
        share = self._share_of(workers)
        if self._own_sum + amount <= share:
            return HAS
        if amount > share:
            return self._terms.gap_us  # no time helps, only the book, which may be back any moment
        return max(1, next(iter(self._own)) - book_us)

    def take(self, now_us: int, book_us: int, amount: int, *, alone: bool) -> int:
        """Use permits that ``look`` said are there. Return when they free."""
        if not alone:
            self._stock -= amount
            self._taken += amount
            self._last = amount
        self._used_at_us = now_us
        return self._use(book_us, amount)

    def correct(self, now_us: int, book_us: int, frees_us: int, amount: int) -> tuple[int, int] | None:
        """Settle a use: give back what was not needed of it (below 0), or count what it took beyond (above 0).

        What is beyond counts from now on, even where the limit has no room for it: later calls wait for it.
        Returns when and how much the book is to count for it, if anything.
        """
        if amount > 0:
            at_hand = min(self._stock, amount) if now_us < self._ends_us else 0
            self._stock -= at_hand
            self._free -= amount - at_hand
            return self._use(book_us, amount), amount
        if amount < 0 and frees_us > book_us:
            self._free -= amount
            self._fresh[frees_us] = self._fresh.get(frees_us, 0) + amount
            if frees_us in self._own:
                self._own[frees_us] += amount
                self._own_sum += amount
            self._refused_until_us = 0
            return frees_us, amount
        return None

    def _use(self, book_us: int, amount: int) -> int:
        bucket_us = self._terms.bucket_us
        frees_us = -(-(book_us + self._terms.span_us) // bucket_us) * bucket_us
        self._fresh[frees_us] = self._fresh.get(frees_us, 0) + amount
        self._own[frees_us] = self._own.get(frees_us, 0) + amount
        self._own_sum += amount
        return frees_us

    def set_limit(self, limit: int) -> None:
        """Go on with another limit, and all that was counted."""
        self.limit = limit
        self._share = None
        self._refused_until_us = 0

    @property
    def is_low(self) -> bool:
        """Whether more should be asked for before anybody has to wait."""
        return 2 * self._stock < self._target

    @property
    def is_scarce(self) -> bool:
        """Whether so little is left that others should know soon what was used and what comes back."""
        return _SCARCE * self._free < self.limit

    @property
    def is_dirty(self) -> bool:
        """Whether the book should be told of something soon."""
        return bool(self._fresh or self._sent or self._stock or self.waiting)

    def is_idle(self, book_us: int) -> bool:
        """Whether nothing is lost by forgetting it."""
        self._expire(book_us)
        return not self.is_dirty and not self._own

    def ask(self, seq: int, now_us: int, book_us: int, *, alone: bool) -> Ask:
        """Write what is to be told and asked. Permits that are not expected to be used go back with it."""
        self._expire(book_us)
        self._sent = [use for use in self._sent if use.frees_us > book_us]  # in an outage they would pile up
        self._sent += [Use(seq, frees_us, amount) for frees_us, amount in self._fresh.items()]
        self._fresh.clear()
        if alone:
            self._stock = 0
            return self._ask(held=max(0, self._share_of(0) - self._own_sum))
        waiting = sum(self.waiting)
        self._aim(now_us)
        self._stock = min(self._stock, max(self._target, waiting)) if now_us < self._ends_us else 0
        need = max(0, waiting - self._stock)
        return self._ask(
            held=self._stock,
            need=need,
            unit=max(1, min(self.waiting) - self._stock) if need else 0,
            wish=max(0, self._target - max(0, self._stock - waiting)),
        )

    def _ask(self, *, held: int, need: int = 0, unit: int = 0, wish: int = 0) -> Ask:
        return Ask(
            tenant_id=self.id.tenant_id,
            scope=self.id.scope,
            meter=self.id.meter,
            limit=self.limit,
            held=held,
            uses=tuple(self._sent),
            need=need,
            unit=unit,
            wish=wish,
        )

    def _aim(self, now_us: int) -> None:
        """Expect half a lease's time to need as much as it did over the last two leases; nothing after a lone call."""
        memory_us = 2 * self._terms.lease_us
        kept = max(0.0, 1 - (now_us - self._asked_at_us) / memory_us)
        self._recent = self._recent * kept + self._taken
        self._target = max(0, int(self._recent / 4) - self._last)
        self._taken, self._asked_at_us = 0, now_us

    def answer(self, ask: Ask, answer: Answer, sync: Sync, reply: Reply, now_us: int, *, alone: bool) -> None:
        """Take what the book granted."""
        self._sent = [use for use in self._sent if use.seq > sync.seq]
        self._stock = (self._stock if now_us < self._ends_us else 0) + answer.granted
        self._ends_us = sync.sent_us + self._terms.lease_us
        if now_us >= self._ends_us:
            self._stock = 0
        self._free = answer.free
        self._next_at_us = now_us + (answer.next_us if answer.next_us is not None else self._terms.window_us)
        self._expire(reply.at_us)
        if self._share is None or not alone:
            self._share = self._own_sum + self._stock + max(0, answer.free) // max(1, reply.workers)
        if answer.granted < ask.need:
            fits_us = answer.fits_us if answer.fits_us is not None else self._terms.window_us
            self._fits_at_us = now_us + fits_us
            self._refused_amount = ask.unit + ask.held
            # Permits that others give back may make it sooner: the book is asked again now and then.
            self._refused_until_us = now_us + min(fits_us, self._terms.lease_us // 2)

    def untold(self, seq: int) -> Iterator[Note]:
        """List what the book may not know of; ``seq``: the next sync's."""
        for use in (*self._sent, *(Use(seq, frees_us, amount) for frees_us, amount in self._fresh.items())):
            yield Note(self.id.tenant_id, self.id.scope, self.id.meter, use.seq, use.frees_us, use.amount)

    def leave_alone(self) -> None:
        """Go on with the book: what was held while alone is given back with the next sync."""
        self._stock = 0

    def retire(self) -> None:
        """Expect no further use."""
        self._taken, self._recent, self._target = 0, 0.0, 0

    def state(self, now_us: int, book_us: int, workers: int, *, alone: bool) -> LimitState:
        self._expire(book_us)
        if alone:
            soonest_us, remaining = self._terms.gap_us, self._share_of(workers) - self._own_sum
        else:
            soonest_us, remaining = 1, self._free + (self._stock if now_us < self._ends_us else 0)
        window_us = self._terms.window_us
        return LimitState(
            id=self.id,
            limit=self.limit,
            remaining=max(0, min(self.limit, remaining)),
            next_us=max(soonest_us, min(self._next_at_us - now_us, window_us)),
            reset_us=max(soonest_us, min(self._used_at_us + window_us - now_us, window_us)),
        )

    def _share_of(self, workers: int) -> int:
        """This worker's part of the limit while the book is away: what it had, and an equal part of what was free."""
        if self._share is not None:
            return min(self._share, self.limit)
        return self.limit // workers if workers else 0

    def _expire(self, book_us: int) -> None:
        own = self._own
        while own and (frees_us := next(iter(own))) <= book_us:
            self._own_sum -= own.pop(frees_us)
