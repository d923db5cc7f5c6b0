"""Owns the cost of starting: the package, the command line."""

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from bench.command import backstay


def import_ms(starts: int) -> float:
    """Time ``python -c "import backstay"``, the interpreter's own start included: the median, in milliseconds."""
    return _median_ms([sys.executable, "-c", "import backstay"], starts)


def help_ms(starts: int) -> float:
    """Time ``backstay --help``: the median, in milliseconds."""
    return _median_ms([*backstay(), "--help"], starts)


def _median_ms(command: Sequence[str], starts: int) -> float:
    times: list[float] = []
    for _ in range(starts + 1):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times[1:])  # the first fills the caches
