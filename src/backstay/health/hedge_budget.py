"""Owns how many calls of a model may be hedged: a bounded share of its traffic. Pure."""

from typing import Literal

HedgeEnd = Literal["won", "lost", "failed", "cancelled"]
"""How a hedge ended. ``won``: the second try answered first. ``lost``: the first one did, and the second was given up.
``failed``: both failed. ``cancelled``: the caller went away before either answered."""

_LARGEST = 10.0


class HedgeBudget:
    """The hedges that one model has left. Every call earns a share of one."""

    __slots__ = ("_tokens", "ended", "started")

    def __init__(self) -> None:
        self.started = 0
        """Since the worker began."""
        self.ended: dict[HedgeEnd, int] = {}
        self._tokens = 1.0

    def earn(self, share: float) -> None:
        """Note a call, of which this share may be hedged."""
        self._tokens = min(_LARGEST, self._tokens + share)

    def take(self) -> bool:
        """Take one hedge; ``False`` where there is none left."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        self.started += 1
        return True

    def end(self, how: HedgeEnd) -> None:
        """Note how a hedge ended."""
        self.ended[how] = self.ended.get(how, 0) + 1
