"""Owns a process that admits calls as fast as it is let: ``worker_process.py URL FILE LIMIT FACTOR CALLERS SECONDS``.

Each admission is written to FILE at once: the moment of its decision, in nanoseconds of the machine's monotonic clock,
which all processes share. So the file is right up to a kill.
"""

import asyncio
import os
import sys
import time
from pathlib import Path

from backstay.core.caller import Caller, CallLimits
from backstay.core.clock import SystemClock
from backstay.core.errors import RateLimited
from backstay.limits import Limiter, Terms
from backstay.store import Database


class LastReadClock(SystemClock):
    """The machine's clock; keeps what it said last, which is when the call at hand was decided."""

    last_ns = 0

    def monotonic_ns(self) -> int:
        self.last_ns = time.monotonic_ns()
        return self.last_ns


def shortened(factor: int) -> Terms:
    """The terms of production, all shorter by a factor; but a worker is not given up sooner."""
    real = Terms()
    return Terms(
        window_us=real.window_us // factor,
        lease_us=real.lease_us // factor,
        report_us=real.report_us // factor,
    )


async def main(url: str, file: str, limit: int, factor: int, callers: int, seconds: float) -> None:
    database, clock = Database(url, max_connections=2), LastReadClock()
    path = Path(file)
    limiter = Limiter(database, clock, worker=path.parent.name, folder=path.parent, terms=shortened(factor))
    caller = Caller(
        tenant_id="default", kind="key", id="key_1", name="k", rights=frozenset({"call"}),
        limits=CallLimits(requests_per_min=limit),
    )  # fmt: skip
    log = os.open(file, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    until = time.monotonic() + seconds

    async def call_on() -> None:
        while time.monotonic() < until:
            admission = await limiter.admit(caller, user=None, feature=None, tokens=lambda: 0)
            assert admission is not None
            try:
                admission.require()
            except RateLimited as error:
                assert error.retry_after_s is not None
                await asyncio.sleep(min(error.retry_after_s, max(0.0, until - time.monotonic())))
            else:
                os.write(log, b"%d\n" % clock.last_ns)
                await asyncio.sleep(0.001)
                admission.settle(None)

    running = asyncio.create_task(limiter.run())
    await asyncio.gather(*(call_on() for _ in range(callers)))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await limiter.close()
    await database.close()


if __name__ == "__main__":
    url, file, limit, factor, callers, seconds = sys.argv[1:]
    asyncio.run(main(url, file, int(limit), int(factor), int(callers), float(seconds)))
