"""Owns the processes that must run all the time, workers and shipping: each is started again when it dies."""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from pydantic import SecretStr

from backstay.core.settings import Settings

STEADY_S = 10.0
"""A process that lived this long was well: its death does not count as one of a row."""

LONGEST_PAUSE_S = 10.0

_BLAS_THREADS = "OPENBLAS_NUM_THREADS"
"""Of numpy's matrices, which here are small: a second thread would be waited for, and on a busy machine for long."""


def pause_s(deaths: int) -> float:
    """Say how long to wait after so many deaths in a row: nothing after the first, then doubling from 0.1 s."""
    return 0.0 if deaths <= 1 else min(0.1 * 2.0 ** min(deaths - 2, 16), LONGEST_PAUSE_S)


def child_environment(settings: Settings, extra: Mapping[str, str]) -> dict[str, str]:
    """Write settings as the environment variables from which a child reads the same settings again."""
    written = {
        f"BACKSTAY_{name.upper()}": value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in settings
        if value is not None
    }
    return {_BLAS_THREADS: "1", **os.environ, **written, **extra}


class KeptProcess:
    """The place of one process: ``python -m`` with ``arguments``, again and again.

    Args:
        name: For people.
        ends_with_input: It is asked to end by the end of its standard input. That it sees whenever it looks; SIGTERM
            kills a process that has not yet begun to listen for it.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        on_death: Callable[[str], None],
        inherited: Sequence[int] = (),
        ends_with_input: bool = False,
    ):
        self._name = name
        self._arguments = arguments
        self._environment = environment
        self._on_death = on_death
        self._inherited = inherited
        self._ends_with_input = ends_with_input
        self._process: Process | None = None
        self._stopping = asyncio.Event()

    async def keep(self) -> None:
        """Run the process, again and again, until ``stop``; tell ``on_death`` why it has to be another one."""
        deaths = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            reason = await self._run()
            if self._stopping.is_set():
                return
            deaths = 1 if time.monotonic() - began > STEADY_S else deaths + 1
            self._on_death(reason)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s(deaths)):
                    await self._stopping.wait()

    def stop(self) -> None:
        """Ask the process to end, and start no other; ``keep`` returns when it has ended."""
        self._stopping.set()
        self._ask_to_end()

    def send(self, signal_number: int) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal_number)

    def _ask_to_end(self) -> None:
        if not self._ends_with_input:
            self.send(signal.SIGTERM)
        elif self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    async def _run(self) -> str:
        """Run one process to its end, and say how it ended."""
        try:
            self._process = await self._launch()
        except OSError as error:
            return f"{self._name} could not be started: {error.strerror}"
        if self._stopping.is_set():
            self._ask_to_end()
        status = await self._process.wait()
        self._process = None
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        return f"{self._name} {how}"

    async def _launch(self) -> Process:
        # A session of its own: Ctrl-C in the terminal reaches the supervisor alone, which then stops all in order.
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", *self._arguments,
            stdin=asyncio.subprocess.PIPE, pass_fds=self._inherited, env=self._environment, start_new_session=True,
        )  # fmt: skip
