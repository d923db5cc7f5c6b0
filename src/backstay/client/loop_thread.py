"""Owns an event loop in a thread of its own, for programs that have none."""

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from typing import Any, TypeVar

import uvloop

from backstay.core.errors import ClientUnusable

T = TypeVar("T")


class LoopThread:
    """A loop that runs in the background until ``stop``. Its thread does not keep the program alive."""

    def __init__(self, name: str):
        self._pid = os.getpid()
        self._turn = threading.Lock()
        self._is_stopped = False
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    @property
    def can_wait(self) -> bool:
        """Whether work on the loop can be waited for here: neither in a forked child nor in the loop's own thread."""
        return os.getpid() == self._pid and threading.current_thread() is not self._thread

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something on the loop, and wait for it. Whoever is interrupted meanwhile cancels it.

        Raises:
            ClientUnusable: The loop is stopped, or of a parent process.
        """
        if os.getpid() != self._pid:
            work.close()
            raise ClientUnusable(
                "This client was made before the process forked. Make one in each process, after the fork."
            )
        with self._turn:
            if self._is_stopped:
                work.close()
                raise ClientUnusable("This client is closed. Make a new one.")
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise ClientUnusable("This client was closed meanwhile. Make a new one.") from None
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """Cancel what still runs, and end the thread."""
        with self._turn:
            if self._is_stopped:
                return
            self._is_stopped = True
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()
