"""Owns the book in plain Python: what ``limits_sync`` of the migration does, for tests without Postgres.

``test_book.py`` holds the two against each other.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from backstay.limits.types import Answer, Ask, Note, Reply, Sync, Terms

_FOREVER = 2**63 - 1

Key = tuple[str, str, str]


@dataclass
class Lease:
    seq: int
    held: int
    frees_us: int


@dataclass
class Worker:
    seen_us: int
    since_us: int
    returned: bool = False
    ended: bool = False


@dataclass
class BookModel:
    """The book's tables and its one statement. The time is given."""

    terms: Terms
    uses: dict[Key, dict[int, int]] = field(default_factory=lambda: defaultdict[Key, dict[int, int]](dict))
    leases: dict[Key, dict[str, Lease]] = field(default_factory=lambda: defaultdict[Key, dict[str, Lease]](dict))
    workers: dict[str, Worker] = field(default_factory=dict[str, Worker])

    def sync(self, worker: str, sync: Sync, now_us: int) -> Reply:
        if worker in self.workers and self.workers[worker].ended:
            return Reply(at_us=now_us, settled=False, workers=1)
        settled, dead_before_us = self._hear(worker, now_us)
        answers: list[Answer] = []
        for place, ask in enumerate(sync.asks):
            answer = self._answer(worker, sync.seq, place, ask, now_us, settled, dead_before_us)
            if answer is not None:
                answers.append(answer)
        live = sum(each.seen_us > now_us - self.terms.dead_us and not each.ended for each in self.workers.values())
        return Reply(at_us=now_us, settled=settled, workers=live, answers=tuple(answers))

    def end(self, name: str, notes: Sequence[Note] | None, now_us: int) -> int:
        me = self.workers.setdefault(name, Worker(now_us, now_us))
        if me.ended:
            return 0
        me.ended = True
        total = 0
        noted = {(note.tenant_id, note.scope, note.meter) for note in notes or ()}
        for key in noted | {key for key, leases in self.leases.items() if name in leases}:
            if notes is None and key[2] != "concurrency":
                continue
            lease = self.leases[key].pop(name, Lease(0, 0, 0))
            total += lease.held if lease.frees_us > now_us else 0
            uses = self.uses[key]
            for note in notes or ():
                if (note.tenant_id, note.scope, note.meter) == key and note.seq > lease.seq and note.frees_us > now_us:
                    uses[note.frees_us] = uses.get(note.frees_us, 0) + note.amount
        return total

    def _hear(self, name: str, now_us: int) -> tuple[bool, int]:
        terms = self.terms
        me = self.workers.get(name)
        if me is None:
            me = self.workers[name] = Worker(now_us, now_us)
        elif now_us - me.seen_us > terms.gap_us:
            others = [other for other_name, other in self.workers.items() if other_name != name and not other.ended]
            me.returned = any(other.seen_us > me.seen_us - terms.dead_us for other in others) and not any(
                other.since_us <= me.seen_us + terms.gap_us and other.seen_us > now_us - terms.gap_us
                for other in others
            )
            me.since_us = now_us
        me.seen_us = now_us
        settled = not me.returned or now_us - me.since_us > terms.gap_us
        return settled, now_us - terms.dead_us if now_us - me.since_us > terms.dead_us else 0

    def _answer(
        self, worker: str, seq: int, place: int, ask: Ask, now_us: int, settled: bool, dead_before_us: int
    ) -> Answer | None:
        key = (ask.tenant_id, ask.scope, ask.meter)
        uses, leases = self.uses[key], self.leases[key]
        last_seq = leases[worker].seq if worker in leases else 0
        if last_seq >= seq:
            return None
        for frees_us in [frees_us for frees_us in uses if frees_us <= now_us]:
            del uses[frees_us]
        for use in ask.uses:
            if use.seq > last_seq and use.frees_us > now_us:
                uses[use.frees_us] = uses.get(use.frees_us, 0) + use.amount
        next_us = min(uses, default=None)
        others = [
            lease
            for name, lease in leases.items()
            if name != worker
            and lease.frees_us > now_us
            and (ask.meter != "concurrency" or self.workers[name].seen_us >= dead_before_us)
        ]
        room = ask.limit - ask.held - sum(uses.values()) - sum(lease.held for lease in others)
        granted = 0
        if settled and room >= ask.unit:
            granted = min(ask.need, room) + min(ask.wish, max(room - ask.need, 0) // 8)
        room -= granted
        fits_us = None if settled else self.terms.gap_us
        if settled and granted < ask.need and ask.meter != "concurrency":
            fits_us = self._fits_us(ask.unit - room, uses, others, now_us)
        leases[worker] = Lease(
            seq,
            ask.held + granted,
            _FOREVER if ask.meter == "concurrency" else now_us + self.terms.lease_us + self.terms.span_us,
        )
        return Answer(
            place=place,
            granted=granted,
            free=room,
            next_us=None if next_us is None else next_us - now_us,
            fits_us=fits_us,
        )

    def _fits_us(self, missing: int, uses: dict[int, int], others: list[Lease], now_us: int) -> int | None:
        coming = list(uses.items())
        for lease in others:
            ends_us = lease.frees_us - self.terms.span_us
            coming.append((ends_us if ends_us > now_us else lease.frees_us, lease.held))
        back = 0
        for frees_us, amount in sorted(coming):
            back += amount
            if back >= missing:
                return frees_us - now_us
        return None
