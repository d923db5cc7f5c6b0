"""Owns how many calls of a model may be hedged: a bounded share of its traffic. Pure."""

_LARGEST = 10.0


class HedgeBudget:
    """The hedges that one model has left. Every call earns a share of one."""

    __slots__ = ("_tokens",)

    def __init__(self) -> None:
        self._tokens = 1.0

    def earn(self, share: float) -> None:
        """Note a call, of which this share may be hedged."""
        self._tokens = min(_LARGEST, self._tokens + share)

    def take(self) -> bool:
        """Take one hedge; ``False`` where there is none left."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
