"""Owns the nouns of loops: when calls are one, and what is done then."""

from typing import Literal

import msgspec

OnLoop = Literal["off", "alert", "slow", "refuse"]
"""``alert``: it is told, and the calls go on. ``slow``: each waits longer. ``refuse``: refused until it ends."""

LONGEST_PAUSE_S = 30.0


class LoopRule(msgspec.Struct, frozen=True, kw_only=True):
    """When calls are a loop: so many that are nearly the same within a time."""

    on_loop: OnLoop = "alert"
    repeats: int = 20
    window_s: float = 300.0
    slow_s: float = 1.0
    """How much longer each further call waits than the one before it."""

    def pause_s(self, count: int) -> float:
        """Say how long a call of a loop waits, by its place in it."""
        return min(LONGEST_PAUSE_S, self.slow_s * (count - self.repeats + 1))


class Loop(msgspec.Struct, frozen=True, kw_only=True):
    """A call that is one of a loop, and the loop as far as it is known here."""

    tenant_id: str
    key_id: str
    key_name: str
    model: str
    feature: str | None
    user: str | None
    rule: LoopRule
    count: int
    """The calls of the loop so far, this one included."""
    began_ns: int
    at_ns: int
    trace_id: str

    @property
    def is_new(self) -> bool:
        """Whether this call makes it one."""
        return self.count == self.rule.repeats
