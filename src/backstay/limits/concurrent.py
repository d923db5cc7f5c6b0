"""Owns the counting of one limit of concurrency in one worker: calls that run, and permits at hand for the next ones.

Pure, as ``windowed``. A permit has no end of its own: it lasts as long as its worker is heard of.
"""

from backstay.limits.types import Answer, Ask, LimitId, LimitState, Reply, Sync, Terms
from backstay.limits.windowed import ASK, HAS


class Concurrent:
    """What one worker knows of one limit of calls at once."""

    def __init__(self, id: LimitId, limit: int, terms: Terms):
        self.id = id
        self.limit = limit
        self.waiting: list[int] = []
        self.running = 0
        self._terms = terms
        self._held = 0
        self._free = 0
        self._peak = 0
        """Most calls that ran at once since the last sync: as many permits are kept, unless others want them."""
        self._told = 0
        self._share: int | None = None

    def look(self, now_us: int, amount: int) -> int:
        return HAS if self.running + amount <= self._held else ASK

    def look_alone(self, book_us: int, amount: int, workers: int) -> int:
        return HAS if self.running + amount <= self._share_of(workers) else self._terms.heartbeat_us

    def take(self, now_us: int, book_us: int, amount: int, *, alone: bool) -> int:
        self.running += amount
        self._peak = max(self._peak, self.running)
        return 0

    def release(self, amount: int) -> None:
        """End what ran. Its permit stays at hand for the next sync."""
        self.running -= amount

    def set_limit(self, limit: int) -> None:
        self.limit = limit
        self._share = None

    @property
    def is_low(self) -> bool:
        return False

    @property
    def is_scarce(self) -> bool:
        return True

    @property
    def is_dirty(self) -> bool:
        return bool(self.waiting or self._told != self.running)

    def is_idle(self, book_us: int) -> bool:
        return not self.is_dirty and not self.running

    def ask(self, seq: int, now_us: int, book_us: int, *, alone: bool) -> Ask:
        """State the calls that run, and what is kept at hand: nothing where others may be waiting for it."""
        at_hand = self._peak if self._free > 0 else 0
        self._held = self._told = max(self.running, min(self._held, at_hand))
        self._peak = self.running
        need = max(0, len(self.waiting) - (self._held - self.running))
        return Ask(
            tenant_id=self.id.tenant_id,
            scope=self.id.scope,
            meter=self.id.meter,
            limit=self.limit,
            held=max(self.running, self._share_of(0)) if alone else self._held,
            need=0 if alone else need,
            unit=min(1, need),
        )

    def answer(self, ask: Ask, answer: Answer, sync: Sync, reply: Reply, now_us: int, *, alone: bool) -> None:
        self._held += answer.granted
        self._told += answer.granted
        self._free = answer.free
        if self._share is None or not alone:
            self._share = self._held + max(0, answer.free) // max(1, reply.workers)

    def leave_alone(self) -> None:
        self._held = self.running
        self._told = -1

    def retire(self) -> None:
        self._peak = self.running

    def state(self, now_us: int, book_us: int, workers: int, *, alone: bool) -> LimitState:
        left = (self._share_of(workers) if alone else self._held + max(0, self._free)) - self.running
        wait_us = self._terms.heartbeat_us
        return LimitState(
            id=self.id, limit=self.limit, remaining=max(0, min(left, self.limit)), next_us=wait_us, reset_us=wait_us
        )

    def _share_of(self, workers: int) -> int:
        if self._share is not None:
            return min(self._share, self.limit)
        return self.limit // workers if workers else 0
