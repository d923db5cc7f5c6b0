"""Owns the counting of calls that are alike, in windows that slide. Pure: it is told what time it is."""

from collections import OrderedDict

from backstay.loops.types import LoopRule

MOST_RUNS = 20_000
"""Of different calls that are remembered, those seen last: some 5 MB."""

_SLACK_BYTES = 64
"""By which a call of a loop may be shorter than the one before it: ids, times and counters differ in length."""


class _Run:
    """Calls that are alike and follow each other, none much shorter than the one before it."""

    __slots__ = ("count", "size", "times")

    def __init__(self, size: int, at_ns: int):
        self.size = size
        self.times = [at_ns]
        self.count = 1


class Detector:
    """Remembers which calls came lately. It holds no text of them."""

    def __init__(self, most_runs: int = MOST_RUNS):
        self._runs: OrderedDict[int, _Run] = OrderedDict()
        self._most_runs = most_runs

    def __len__(self) -> int:
        return len(self._runs)

    def see(self, print_: int, size: int, at_ns: int, rule: LoopRule) -> int:
        """Take note of a call.

        Different conversations that end alike, such as with "yes", differ in length at random, so that a run of them
        soon breaks; those of a loop are of one length or grow.

        Args:
            print_: What calls that are alike have in common.
            size: Of its messages, in bytes.

        Returns:
            How many calls the loop has, this one included; 0: it is none. It is one from ``rule.repeats`` calls within
            ``rule.window_s`` on, until fewer are.
        """
        run = self._runs.get(print_)
        if run is None:
            self._runs[print_] = _Run(size, at_ns)
            if len(self._runs) > self._most_runs:
                self._runs.popitem(last=False)
            return 1 if rule.repeats <= 1 else 0
        self._runs.move_to_end(print_)
        times = run.times
        if size < run.size - _SLACK_BYTES:
            times.clear()
        run.size = size
        oldest_ns = at_ns - int(rule.window_s * 1e9)
        while times and times[0] < oldest_ns:
            del times[0]
        run.count = run.count + 1 if times else 1
        times.append(at_ns)
        if len(times) < rule.repeats:
            run.count = len(times)
            return 0
        del times[: len(times) - rule.repeats]
        return run.count

    def began_ns(self, print_: int) -> int:
        """Say since when a run is remembered."""
        return self._runs[print_].times[0]
