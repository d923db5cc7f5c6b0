"""Owns the order of those that wait for the same thing: tenants in turn, each one's own as they came. Pure."""

from collections import Counter, deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class _OfTenant(Protocol):
    tenant_id: str


T = TypeVar("T", bound=_OfTenant)


class FairQueue(Generic[T]):
    """Those that wait. They are told apart by identity."""

    def __init__(self) -> None:
        self.length = 0
        self._tenants: dict[str, deque[T]] = {}
        """The one whose turn it is comes first."""

    def __iter__(self) -> Iterator[T]:
        return (each for waiting in self._tenants.values() for each in waiting)

    def add(self, one: T) -> None:
        self._tenants.setdefault(one.tenant_id, deque()).append(one)
        self.length += 1

    def first(self) -> T | None:
        """Return whose turn it is; ``None`` where nobody waits."""
        for waiting in self._tenants.values():
            return waiting[0]
        return None

    def remove(self, one: T) -> None:
        """Take one out; where it was the first of its tenant, the other tenants come next."""
        waiting = self._tenants[one.tenant_id]
        was_first = waiting[0] is one
        waiting.remove(one)
        self.length -= 1
        if was_first or not waiting:
            del self._tenants[one.tenant_id]
        if was_first and waiting:
            self._tenants[one.tenant_id] = waiting

    def counts(self) -> Counter[str]:
        """Count those that wait, by tenant."""
        return Counter({tenant: len(waiting) for tenant, waiting in self._tenants.items()})

    def last_of(self, tenant_id: str) -> T:
        """Return who came last of a tenant that waits."""
        return self._tenants[tenant_id][-1]
