"""Owns the process of one simulated target: it says its URL on standard output, and ends with its parent."""

import asyncio

from backstay.child_process import follow_supervisor
from backstay.providers.simulator_server import serve_simulator


async def _run() -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    serving = asyncio.create_task(serve_simulator(on_ready=lambda url: print(url, flush=True)))
    follow_supervisor(lambda: loop.call_soon_threadsafe(ended.set))
    waiting = asyncio.create_task(ended.wait())
    await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(_run())
