"""Owns what one worker holds of all budgets: what it reserves, settles, asks for and gives back.

Pure: it does nothing but answer. ``Escrow`` performs what it asks for. Of each lease
``amount in the book = available + reserved + settled and not shipped yet``.
"""

from collections.abc import Sequence

import msgspec

from backstay.budgets.types import Answer, Ask, Charge, Reply, Shortage, Terms, Window

PurseId = tuple[str, str, str]
"""Tenant, budget, subject."""

_MOST_ASKS = 200
"""Budgets of one sync."""
_IDLE_US = 2_000_000
"""What was not used for so long is given back."""
_SCARCE_US = 1_000_000
"""How long nothing is asked for beforehand after others needed what we had."""
_OVER_US = 60_000_000
"""How long after its end, by this worker's clock, a window is surely over by the book's."""
_STORE_S = 300.0
"""How long a worker's lease should last if Postgres goes away: that many seconds of what its calls cost."""
_STORE_PARTS = 3
"""And at most this part of what is free and its own: two workers so hold half of what is left, eight four fifths."""
_PACE = 0.25
"""Weight of the last second in what calls cost per second."""
_FRESH_US = 1_000_000
"""How old what is known of a budget that only marks calls may be."""


class Lease:
    """What this worker holds of one window."""

    __slots__ = ("available", "ends_us", "received", "reserved", "returned", "settled", "starts_us", "told")

    def __init__(self, starts_us: int, ends_us: int):
        self.starts_us = starts_us
        self.ends_us = ends_us
        self.available = 0
        self.reserved = 0
        self.received = 0
        self.returned = 0
        self.settled = 0
        """What calls have cost of it, whether their records are shipped or not."""
        self.told = 0
        """How much of ``returned`` the book is known to have taken."""

    def give_back(self, amount: int | None = None) -> None:
        """Let go of an amount, or of all that is available."""
        amount = self.available if amount is None else amount
        self.returned += amount
        self.available -= amount


class Purse:
    """One budget as this worker knows it."""

    def __init__(self, id: PurseId, terms: Terms):
        self.id = id
        self.terms = terms
        self.lease: Lease | None = None
        self.ended: list[Lease] = []
        """Of earlier windows: calls still run in them, or the book has not heard of what is given back."""
        self.waiting: list[int] = []
        self.limit = self.spent = self.free = self.elsewhere = 0
        """As the book last said."""
        self.heard_us = -(2**62)
        self.used_us = -(2**62)
        self.scarce_until_us = 0
        self._taken = 0
        """Reserved since the last ask: what is expected to be needed again."""
        self._spent = 0
        """What calls have cost since the last beat."""
        self._beat_us = -(2**62)
        self._pace = 0.0
        """Nano-dollars per second."""
        self._wish = 0
        self._is_recalled = False
        self.is_gone = False
        """Whether the book says that there is no such budget any more."""

    @property
    def subject(self) -> str:
        return self.id[2]

    def current(self, book_us: int) -> Lease | None:
        """The lease of the window that is now, if there is one."""
        lease = self.lease
        if lease is not None and book_us >= lease.ends_us:
            lease.give_back()
            self.ended.append(lease)
            self.lease = lease = None
        return lease

    def can_ever_be(self, lease: Lease) -> int:
        """What a call could have of this window if all that runs cost nothing."""
        return self.free + self.elsewhere + lease.available + lease.reserved

    def take(self, lease: Lease, amount: int, now_us: int) -> None:
        lease.available -= amount
        lease.reserved += amount
        self._taken += amount
        self.used_us = now_us

    def settle(self, lease: Lease, reserved: int, cost: int) -> None:
        """End a reservation, with what of it and of what is available was used."""
        lease.reserved -= reserved
        lease.available += reserved - cost
        lease.settled += cost
        self._spent += cost
        if lease is not self.lease:
            lease.give_back(max(0, lease.available))  # its window is over: nobody here takes of it any more

    def beat(self, now_us: int) -> None:
        """Now and then: find out how much is spent per second."""
        past_s, self._beat_us = (now_us - self._beat_us) / 1e6, now_us
        if past_s > 0:
            self._pace += _PACE * (self._spent / past_s - self._pace)
            self._spent = 0

    def is_low(self, lease: Lease) -> bool:
        """Whether more should be asked for before a call has to wait for it, or Postgres goes away."""
        return self.free > 0 and (lease.available < self._taken or 2 * lease.available < self._store(lease))

    def _store(self, lease: Lease | None) -> int:
        """How much should be at hand, so that calls go on for a while should Postgres go away."""
        available = lease.available if lease is not None else 0
        return max(0, min(int(self._pace * _STORE_S), (self.free + available) // _STORE_PARTS))

    def recall(self, now_us: int) -> None:
        """Others need what is here."""
        self.scarce_until_us = now_us + _SCARCE_US
        self._is_recalled = True

    def ask(self, place: int, now_us: int, book_us: int, *, is_away: bool) -> Ask:
        """Say what is given back and what is needed. While the book is away, what is here stays here."""
        lease = self.current(book_us)
        is_idle = not self.waiting and now_us - self.used_us > _IDLE_US
        if lease is not None and not is_away and (is_idle or self._is_recalled):
            # Those who wait here need it, too: the others get half.
            lease.give_back(lease.available // 2 if self.waiting else lease.available)
        available = lease.available if lease is not None else 0
        need = max(0, sum(self.waiting) - available)
        unit = max(0, min(self.waiting, default=0) - available)
        self._is_recalled = False
        self._wish = max(2 * self._taken, self._wish // 2)
        self._taken = 0
        terms = self.terms
        return Ask(
            place=place,
            tenant_id=self.id[0],
            budget_id=self.id[1],
            subject=self.id[2],
            returns=tuple(
                (each.starts_us, each.returned)
                for each in (*self.ended, *([lease] if lease else ()))
                if each.returned > each.told
            ),
            settled=(lease.starts_us, lease.settled) if lease is not None and lease.settled else None,
            need=need,
            unit=unit,
            wish=0
            if is_idle or now_us < self.scarce_until_us or not terms.hard
            else max(self._wish, self._store(lease) - available),
            limit=terms.limit if terms.is_policy else None,
            span=terms.span if terms.is_policy else None,
            zone=terms.time_zone if terms.is_policy else None,
            rollover=terms.rollover if terms.is_policy else None,
        )

    def answer(self, ask: Ask, answer: Answer, now_us: int, *, was_over: bool = False) -> None:
        """Take the book's answer to an ask.

        Args:
            was_over: Whether the window that it tells of was over once: the book's clock has been set back.
        """
        self.heard_us = now_us
        told = dict(ask.returns)
        for each in (*self.ended, *([self.lease] if self.lease else ())):
            each.told = max(each.told, told.get(each.starts_us, 0))
        self.is_gone = answer.gone
        if answer.gone:
            self.limit = self.free = self.elsewhere = 0
            self.ended = [each for each in self.ended if each.reserved or each.returned > each.told]
            return
        lease = self._lease_of(answer, was_over=was_over)
        lease.available += answer.received - lease.received
        lease.received = answer.received
        self.limit, self.spent, self.free, self.elsewhere = answer.limit, answer.spent, answer.free, answer.elsewhere
        # The book's own clock says that these are over: they never are the current one again.
        self.ended = [
            each
            for each in self.ended
            if each.reserved or each.returned > each.told or each.starts_us > answer.starts_us
        ]

    def _lease_of(self, answer: Answer, *, was_over: bool) -> Lease:
        """Take the window that the book says is now: the one at hand, one that was taken to be over, or a new one.

        What the book tells are totals, so that a lease of which anything was had must never begin anew.
        """
        lease = self.lease
        if lease is not None and lease.starts_us == answer.starts_us:
            return lease
        if lease is not None:
            lease.give_back()
            self.ended.append(lease)
        earlier = next((each for each in self.ended if each.starts_us == answer.starts_us), None)
        if earlier is not None:
            self.ended.remove(earlier)
        lease = self.lease = earlier or Lease(answer.starts_us, answer.ends_us)
        if earlier is None and was_over:
            lease.received = answer.received  # it may have been had and forgotten: what is granted from now on counts
        return lease

    def is_done(self, now_us: int) -> bool:
        """Whether nothing is left to remember of it."""
        lease = self.lease
        is_empty = lease is None or not (lease.reserved or lease.available or lease.returned > lease.told)
        return is_empty and not self.ended and not self.waiting and now_us - self.used_us > 10 * _IDLE_US


class Share(msgspec.Struct, frozen=True):
    """What one attempt has reserved of one budget."""

    purse: Purse
    lease: Lease | None
    """``None``: of a soft budget whose window is not known, as the book is away."""
    amount: int
    """0 of a soft budget: it reserves nothing."""

    @property
    def window(self) -> tuple[str, str, int | None]:
        """Budget, subject, and when the window starts."""
        return *self.purse.id[1:], None if self.lease is None else self.lease.starts_us

    def charge(self, at_us: int, *, covered: int, uncovered: int) -> Charge:
        """Write what a call costs this budget."""
        budget_id, subject, starts_us = self.window
        terms, window = self.purse.terms, None
        if starts_us is None and terms.is_policy:
            window = Window(limit=terms.limit, span=terms.span, zone=terms.time_zone, rollover=terms.rollover)
        return Charge(
            budget_id=budget_id,
            subject=subject,
            starts_us=starts_us,
            window=window,
            at_us=at_us,
            covered=covered,
            uncovered=uncovered,
        )


class Vault:
    """All budgets that this worker's calls have touched. Times are of its own clock, which never runs backwards."""

    def __init__(self, *, now_us: int, wall_us: int):
        self.away_since_us: int | None = None
        """Since when the book does not answer; ``None``: it does."""
        self._ahead_us = wall_us - now_us
        self._latest_us = -(2**62)
        """The book's time by which leases were forgotten: windows that ended before are never begun anew."""
        self._purses: dict[PurseId, Purse] = {}
        self._rested: dict[PurseId, Lease] = {}
        """Leases of purses that were forgotten, whose window still lasts: all that was had of them is given back."""
        self._dirty: dict[PurseId, Purse] = {}
        self._is_urgent = False

    def purse(self, tenant_id: str, terms: Terms, subject: str, now_us: int) -> Purse:
        """Find a purse for a call, or begin one."""
        id = (tenant_id, terms.id, subject)
        purse = self._purses.get(id)
        if purse is None:
            purse = self._purses[id] = Purse(id, terms)
            purse.lease = self._rested.pop(id, None)
        elif purse.terms is not terms:
            purse.terms = terms
            self._dirty[id] = purse
        purse.used_us = now_us
        return purse

    @property
    def is_away(self) -> bool:
        """Whether the book did not answer the last sync."""
        return self.away_since_us is not None

    @property
    def purses(self) -> Sequence[Purse]:
        return tuple(self._purses.values())

    @property
    def remembered(self) -> int:
        """How many budgets are in memory, those that rest included."""
        return len(self._purses) + len(self._rested)

    def take(self, purses: Sequence[Purse], amount: int, now_us: int) -> list[Share] | Purse:
        """Reserve an amount of every hard budget, or of none: then the first that lacks it is returned."""
        book_us = now_us + self._ahead_us
        found: list[tuple[Purse, Lease | None]] = []
        for purse in purses:
            lease = purse.current(book_us)
            if purse.terms.hard and (lease is None or lease.available < amount):
                return purse
            if lease is None and not self.is_away:
                return purse
            found.append((purse, lease))
        shares: list[Share] = []
        for purse, lease in found:
            reserved = amount if purse.terms.hard else 0
            if lease is not None:
                purse.take(lease, reserved, now_us)
            is_low = reserved and lease is not None and purse.is_low(lease)
            if is_low or (not purse.terms.hard and now_us - purse.heard_us > _FRESH_US):
                self._dirty[purse.id] = purse
            shares.append(Share(purse, lease, reserved))
        return shares

    def settle(self, shares: Sequence[Share], cost: int, at_us: int) -> list[Charge]:
        """End what an attempt has reserved, with what it cost; and say what each budget is charged."""
        charges: list[Charge] = []
        for share in shares:
            lease, amount = share.lease, share.amount
            uncovered = cost if lease is None else max(0, cost - amount - max(0, lease.available))
            if lease is not None:
                share.purse.settle(lease, amount, cost - uncovered)
            if cost:
                charges.append(share.charge(at_us, covered=cost - uncovered, uncovered=uncovered))
            if share.purse.waiting or share.purse.scarce_until_us:
                self._dirty[share.purse.id] = share.purse
        return charges

    def shortage(self, purses: Sequence[Purse], amount: int, now_us: int) -> Shortage | None:
        """Tell which budget an amount cannot fit, even if all that runs cost nothing; ``None``: it may yet."""
        for purse in purses:
            lease = purse.current(now_us + self._ahead_us)
            if purse.terms.hard and lease is not None and purse.can_ever_be(lease) < amount:
                return msgspec.structs.replace(self.lacking(purse, now_us), unheard=False)
        return None

    def lacking(self, purse: Purse, now_us: int) -> Shortage:
        """Say what one budget has left now: here alone, where the book is away."""
        book_us = now_us + self._ahead_us
        lease = purse.current(book_us)
        free = 0 if self.is_away else max(0, purse.free)
        return Shortage(
            terms=purse.terms,
            subject=purse.subject,
            left=0 if lease is None else max(0, lease.available + free),
            retry_s=None if lease is None or purse.terms.span == "lifetime" else (lease.ends_us - book_us) / 1e6,
            unheard=self.is_away,
        )

    def is_long_away(self, for_s: float, now_us: int) -> bool:
        """Whether the book has been away for so long that it need not be waited for."""
        return self.away_since_us is not None and now_us - self.away_since_us >= for_s * 1e6

    def may_come_back_here(self, purses: Sequence[Purse], amount: int, now_us: int) -> bool:
        """Whether an amount fits once calls that run here have ended, if they cost nothing."""
        for purse in purses:
            lease = purse.current(now_us + self._ahead_us)
            if purse.terms.hard and (lease is None or lease.available + lease.reserved < amount):
                return False
        return True

    def has_others(self, purses: Sequence[Purse], now_us: int) -> bool:
        """Whether calls that run, here or elsewhere, hold something that may come back."""
        for purse in purses:
            lease = purse.current(now_us + self._ahead_us)
            if purse.terms.hard and (lease is None or lease.reserved or purse.elsewhere):
                return True
        return False

    def share_at_hand(self, purses: Sequence[Purse], now_us: int) -> int:
        """What a call can have of all these without the book, if it leaves as much to each that waits."""
        shares: list[int] = []
        for purse in purses:
            lease = purse.current(now_us + self._ahead_us)
            if purse.terms.hard:
                others = len(purse.waiting) * (2 if now_us < purse.scarce_until_us else 1)
                shares.append(0 if lease is None else lease.available // (1 + others))
        return min(shares, default=0)

    def is_over(self, purses: Sequence[Purse]) -> bool:
        """Whether a soft budget is used up."""
        return any(not purse.terms.hard and purse.lease is not None and purse.free <= 0 for purse in purses)

    def wait(self, purses: Sequence[Purse], amount: int) -> None:
        """Note that a call waits, so that the next sync asks for what it needs."""
        for purse in purses:
            purse.waiting.append(amount if purse.terms.hard else 0)
            self._purses[purse.id] = purse  # it may have been forgotten since the call began
            self._dirty[purse.id] = purse
        self._is_urgent = True

    def wait_no_more(self, purses: Sequence[Purse], amount: int) -> None:
        for purse in purses:
            purse.waiting.remove(amount if purse.terms.hard else 0)

    def recall(self, id: PurseId, now_us: int) -> bool:
        """Have what is not reserved of a budget given back with the next sync; whether there is anything."""
        purse = self._purses.get(id)
        if purse is None:
            return False
        purse.recall(now_us)
        self._dirty[id] = purse
        self._is_urgent = True
        return True

    def close(self) -> None:
        """Have the next sync give back all that is not reserved."""
        for purse in self._purses.values():
            purse.used_us = -(2**62)
        self._dirty = dict(self._purses)

    @property
    def is_due(self) -> bool:
        """Whether there is something to say at once."""
        return self._is_urgent

    @property
    def has_news(self) -> bool:
        return bool(self._dirty)

    def look_around(self, now_us: int) -> None:
        """Now and then: find leases that are idle or over, and forget what is done."""
        book_us = now_us + self._ahead_us
        for id, purse in list(self._purses.items()):
            lease = purse.current(book_us)
            purse.beat(now_us)
            is_idle = lease is not None and lease.available > 0 and now_us - purse.used_us > _IDLE_US
            if is_idle or purse.ended or (lease is not None and lease.returned > lease.told):
                self._dirty[id] = purse
            elif purse.is_done(now_us):
                del self._purses[id]
                if lease is not None and not purse.is_gone:
                    self._rested[id] = lease
        for id, lease in list(self._rested.items()):
            if book_us >= lease.ends_us + _OVER_US:
                del self._rested[id]
                self._latest_us = max(self._latest_us, lease.ends_us)

    def ask(self, now_us: int) -> dict[PurseId, Ask]:
        """Write the next sync."""
        ids = list(self._dirty)[:_MOST_ASKS]
        purses = [self._dirty.pop(id) for id in ids]
        self._is_urgent = bool(self._dirty) and self._is_urgent
        book_us = now_us + self._ahead_us
        return {purse.id: purse.ask(place, now_us, book_us, is_away=self.is_away) for place, purse in enumerate(purses)}

    def answer(self, asks: dict[PurseId, Ask], reply: Reply, sent_us: int, now_us: int) -> None:
        """Take the book's answer to a sync."""
        self.away_since_us = None
        self._ahead_us = reply.at_us - sent_us
        ids = list(asks)
        for answer in reply.answers:
            id = ids[answer.place]
            if (purse := self._purses.get(id)) is not None:
                purse.answer(asks[id], answer, now_us, was_over=answer.ends_us <= self._latest_us)
        self._latest_us = max(self._latest_us, reply.at_us)

    def lost(self, asks: dict[PurseId, Ask], now_us: int) -> None:
        """Go on with what is here: nobody knows whether the sync was taken, and the next one says it again."""
        if self.away_since_us is None:
            self.away_since_us = now_us
        for id in asks:
            if (purse := self._purses.get(id)) is not None:
                self._dirty[id] = purse
