"""Owns which limits apply to a call: those of the policy, the nearest entry of each scope, and those of the key."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from backstay.core.caller import Caller, CallLimits
from backstay.core.storable import storable
from backstay.limits.config import LimitConfig
from backstay.limits.types import SCOPE_KINDS, LimitId, Meter, ScopeKind

_MOST_REMEMBERED = 10_000

Figure = tuple[LimitId, int]
"""A limit and how much it allows."""


class LimitRules:
    """The ``[[limits]]`` of one policy."""

    def __init__(self, entries: Sequence[LimitConfig] = ()):
        # A name is nearer than a pattern, and a pattern than none. Among equals the last one counts.
        latest_first = list(reversed(entries))
        nearest = sorted(latest_first, key=lambda entry: (entry.name is None, entry.match is None))
        self._entries = {kind: [entry for entry in nearest if entry.scope == kind] for kind in SCOPE_KINDS}
        self._is_empty = not entries
        self._found: dict[tuple[object, ...], tuple[Figure, ...]] = {}

    def of(self, caller: Caller, user: str | None, feature: str | None) -> tuple[Figure, ...]:
        """Find what limits a call. Without any entry, and for a key without limits, that costs nothing."""
        if self._is_empty and caller.limits is None:
            return ()
        who = (caller.tenant_id, caller.kind, caller.id, caller.name, caller.limits, user, feature)
        found = self._found.get(who)
        if found is None:
            if len(self._found) >= _MOST_REMEMBERED:
                self._found.clear()
            found = self._found[who] = tuple(self._search(caller, user, feature))
        return found

    def _search(self, caller: Caller, user: str | None, feature: str | None) -> Iterator[Figure]:
        if caller.kind == "key":
            own = caller.limits or CallLimits()
            yield from _figures(caller, "key", caller.id, _over(own, self._nearest("key", caller.name, caller.id)))
        yield from _figures(caller, "tenant", caller.tenant_id, self._nearest("tenant", caller.tenant_id))
        if user:
            yield from _figures(caller, "user", user, self._nearest("user", user))
        if feature:
            yield from _figures(caller, "feature", feature, self._nearest("feature", feature))

    def _nearest(self, kind: ScopeKind, *names: str) -> CallLimits:
        for entry in self._entries[kind]:
            if entry.name is not None:
                if entry.name in names:
                    return entry.limits
            elif entry.match is None or any(fnmatchcase(name, entry.match) for name in names):
                return entry.limits
        return CallLimits()


def _over(own: CallLimits, policy: CallLimits) -> CallLimits:
    """Put a key's own figures over the policy's."""
    return CallLimits(
        requests_per_min=own.requests_per_min or policy.requests_per_min,
        tokens_per_min=own.tokens_per_min or policy.tokens_per_min,
        concurrency=own.concurrency or policy.concurrency,
    )


def _figures(caller: Caller, kind: ScopeKind, name: str, limits: CallLimits) -> Iterator[Figure]:
    figures: tuple[tuple[Meter, int | None], ...] = (
        ("requests", limits.requests_per_min),
        ("tokens", limits.tokens_per_min),
        ("concurrency", limits.concurrency),
    )
    for meter, limit in figures:
        if limit is not None:
            yield LimitId(tenant_id=caller.tenant_id, kind=kind, name=storable(name), meter=meter), limit
