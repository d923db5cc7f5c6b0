"""Owns the health of all targets of one worker, whatever models they belong to, through changes of the policy."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from backstay.health.hedge_budget import HedgeBudget
from backstay.health.quota import Quota
from backstay.health.target import TargetHealth, TargetState


class RateLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator says that a target allows in a minute; ``None``: only its headers tell."""

    requests_per_min: float | None = None
    tokens_per_min: float | None = None


class Fleet:
    """Every target that this worker has ever asked, by name."""

    def __init__(self) -> None:
        self._targets: dict[str, TargetHealth] = {}
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
            found = self._targets[name] = TargetHealth(name, quota=self._quota(name))
            found.drained = name in self._drained
        return found

    def hedges_of(self, model: str) -> HedgeBudget:
        """Return how many calls of a model may still be hedged."""
        return self.hedges.setdefault(model, HedgeBudget())

    def configure(self, limits: Mapping[str, RateLimits]) -> None:
        """Take over the operator's rate limits. Those that did not change keep what was counted."""
        changed = [name for name in self._targets if limits.get(name) != self._limits.get(name)]
        self._limits = dict(limits)
        for name in changed:
            self._targets[name].quota = self._quota(name)

    def drain(self, names: Iterable[str]) -> None:
        """Take exactly these targets out of use."""
        self._drained = frozenset(names)
        for name, target in self._targets.items():
            target.drained = name in self._drained

    def states(self, now_s: float) -> list[TargetState]:
        """Describe every target that was asked, by name."""
        return [self._targets[name].state(now_s) for name in sorted(self._targets)]

    def _quota(self, name: str) -> Quota:
        limits = self._limits.get(name, RateLimits())
        return Quota(requests_per_min=limits.requests_per_min, tokens_per_min=limits.tokens_per_min)
