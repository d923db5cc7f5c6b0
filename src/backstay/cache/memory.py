"""Owns a worker's own part of the cache: the answers used last, bounded in bytes."""

from collections import OrderedDict

import msgspec

from backstay.cache.types import Answer, Ask, Purge

_OVERHEAD_BYTES = 1024
"""What an entry takes beside its body: keys, names, objects of Python. Measured with tracemalloc at 0.9 KB."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """An answer and what it can be purged by."""

    tenant_id: str
    key: bytes
    model: str
    feature: str | None
    answer: Answer
    context: bytes = b""
    question: str = ""
    vector: tuple[float, ...] = ()
    """The embedding of the question; empty where questions are not compared."""

    @classmethod
    def of(cls, ask: Ask, answer: Answer) -> "Kept":
        return cls(tenant_id=ask.tenant_id, key=ask.key, model=ask.model, feature=ask.feature, answer=answer)

    @property
    def size_bytes(self) -> int:
        return len(self.answer.body) + _OVERHEAD_BYTES

    def meets(self, purge: Purge) -> bool:
        """Whether a purge takes it."""
        return (
            self.tenant_id == purge.tenant_id
            and purge.model in (None, self.model)
            and purge.feature in (None, self.feature)
            and purge.trace_id in (None, self.answer.trace_id)
            and (purge.before_ns is None or self.answer.created_ns < purge.before_ns)
            and (purge.keys is None or self.key in purge.keys)
        )


class Memory:
    """The answers used last. What is too large for it is not taken."""

    def __init__(self, limit_bytes: int):
        self._limit_bytes = limit_bytes
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: bytes, now_ns: int) -> Kept | None:
        """Return what is kept under a key and has not expired."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if kept.answer.expires_ns <= now_ns:
            if kept.answer.keep_until_ns <= now_ns:
                self.drop(key)
            return None
        self._kept.move_to_end(key)
        return kept

    def get_stale(self, key: bytes, now_ns: int) -> Kept | None:
        """Return what is kept under a key, though it may have expired."""
        kept = self._kept.get(key)
        return None if kept is None or max(kept.answer.expires_ns, kept.answer.keep_until_ns) <= now_ns else kept

    def put(self, kept: Kept) -> None:
        """Keep an answer, in the place of what was used the longest time ago."""
        self.drop(kept.key)
        if kept.size_bytes > self._limit_bytes:
            return
        self._kept[kept.key] = kept
        self.size_bytes += kept.size_bytes
        while self.size_bytes > self._limit_bytes:
            _, oldest = self._kept.popitem(last=False)
            self.size_bytes -= oldest.size_bytes

    def drop(self, key: bytes) -> None:
        """Forget what is kept under a key, if anything."""
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.size_bytes -= kept.size_bytes

    def purge(self, purge: Purge) -> int:
        """Forget what meets a purge, and return how many that were."""
        asked = self._kept if purge.keys is None else self._kept.keys() & set(purge.keys)
        gone = [key for key in asked if self._kept[key].meets(purge)]
        for key in gone:
            self.drop(key)
        return len(gone)

    def clear(self) -> None:
        self._kept.clear()
        self.size_bytes = 0
