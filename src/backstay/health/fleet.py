"""Owns the health of all targets of one worker, whatever models they belong to, through changes of the policy."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from backstay.health.hedge_budget import HedgeBudget
from backstay.health.quota import Quota
from backstay.health.target import TargetHealth, TargetState

MOST_UNNAMED = 256
"""Idle targets that are remembered though the policy does not name them: callers may ask any ``provider/model``."""

_SETTLED_S = 10.0
"""After so long all workers that ask a target have said so, several times."""


class RateLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator says that a target allows in a minute; ``None``: only its headers tell."""

    requests_per_min: float | None = None
    tokens_per_min: float | None = None


class Fleet:
    """The targets that this worker has asked, by name: all in use or in the policy, and the last few others."""

    def __init__(self, workers: int = 1) -> None:
        """Args: ``workers``: how many may ask a target, until it is known how many do."""
        self._workers = workers
        self._askers: Mapping[str, int] = {}
        self._shared_since_s: dict[str, float] = {}
        self._targets: dict[str, TargetHealth] = {}
        self._named: frozenset[str] = frozenset()
        self._limits: Mapping[str, RateLimits] = {}
        self._drained: frozenset[str] = frozenset()
        self.hedges: dict[str, HedgeBudget] = {}
        """By model. Only the policy's own models are hedged."""

    def __iter__(self) -> Iterator[TargetHealth]:
        return iter(self._targets.values())

    def of(self, name: str) -> TargetHealth:
        """Return what is known of a target; nothing yet where it was never asked."""
        found = self._targets.get(name)
        if found is None:
            self._make_place(name)
            found = self._targets[name] = TargetHealth(name, quota=self._quota(name))
            found.drained = name in self._drained
        return found

    def hedges_of(self, model: str) -> HedgeBudget:
        """Return how many calls of a model may still be hedged."""
        return self.hedges.setdefault(model, HedgeBudget())

    def configure(self, limits: Mapping[str, RateLimits], named: Iterable[str] = ()) -> None:
        """Take over the operator's rate limits, and which targets models name. What did not change stays counted."""
        self._named = frozenset(named) | limits.keys()
        changed = [name for name in self._targets if limits.get(name) != self._limits.get(name)]
        self._limits = dict(limits)
        for name in changed:
            self._targets[name].quota = self._quota(name)

    def share(self, askers: Mapping[str, int], now_s: float) -> None:
        """Divide the operator's rate limits. ``askers``: how many other workers ask a target, by its name."""
        self._askers = dict(askers)
        self._shared_since_s = {name: self._shared_since_s.get(name, now_s) for name in self._targets}
        for name, target in self._targets.items():
            target.quota.divide(self._parts(name, now_s))

    def drain(self, names: Iterable[str]) -> None:
        """Take exactly these targets out of use."""
        self._drained = frozenset(names)
        for name, target in self._targets.items():
            target.drained = name in self._drained

    def states(self, now_s: float) -> list[TargetState]:
        """Describe every target that was asked, by name."""
        return [self._targets[name].state(now_s) for name in sorted(self._targets)]

    def _make_place(self, newcomer: str) -> None:
        """Forget the targets that were idle for longest, where there are too many that only callers name."""
        if newcomer in self._named:
            return
        others = [name for name in self._targets if name not in self._named]
        if len(others) < MOST_UNNAMED:
            return
        idle = [name for name in others if not self._targets[name].in_flight]
        idle.sort(key=lambda name: self._targets[name].used_s)
        for name in idle[: len(others) - MOST_UNNAMED + 1]:
            del self._targets[name]

    def _quota(self, name: str) -> Quota:
        limits = self._limits.get(name, RateLimits())
        quota = Quota(requests_per_min=limits.requests_per_min, tokens_per_min=limits.tokens_per_min)
        quota.divide(self._parts(name, 0.0))
        return quota

    def _parts(self, name: str, now_s: float) -> int:
        """Among how many a target's limit is divided: others may have begun to ask it and not said so yet."""
        asking = 1 + self._askers.get(name, 0)
        is_settled = now_s - self._shared_since_s.get(name, now_s) > _SETTLED_S
        return asking if is_settled else max(asking, self._workers)
