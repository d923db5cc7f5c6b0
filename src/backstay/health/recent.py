"""Owns what a target's tries of the last minutes came to: counts in slots of time, in constant memory. Pure."""

SPAN_S = 300.0
"""How far back is looked."""
_SLOT_S = 15.0
_SLOTS = int(SPAN_S / _SLOT_S)


class Recent:
    """Tries of the last five minutes, by when they ended."""

    __slots__ = ("_failures", "_newest", "_tries")

    def __init__(self) -> None:
        self._newest = 0
        """Number of the slot that was counted in last."""
        self._tries = [0] * _SLOTS
        self._failures = [0] * _SLOTS

    def add(self, now_s: float, *, failed: bool) -> None:
        """Count one try."""
        place = self._turn(now_s)
        self._tries[place] += 1
        self._failures[place] += failed

    def counts(self, now_s: float) -> tuple[int, int]:
        """Return tries and, of these, failures."""
        self._turn(now_s)
        return sum(self._tries), sum(self._failures)

    def _turn(self, now_s: float) -> int:
        """Empty the slots whose time is over, and return the place of the present one."""
        number = int(now_s / _SLOT_S)
        if number == self._newest:
            return number % _SLOTS
        for over in range(max(self._newest, number - _SLOTS) + 1, number + 1):
            self._tries[over % _SLOTS] = self._failures[over % _SLOTS] = 0
        self._newest = max(self._newest, number)
        return self._newest % _SLOTS
