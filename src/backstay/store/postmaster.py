"""Owns what can be read about a Postgres server from its data folder: is one alive there, and where it listens."""

import asyncio
import os
from pathlib import Path

import msgspec

_POLL_S = 0.05


class Postmaster(msgspec.Struct, frozen=True, kw_only=True):
    """A server that is alive. ``status``: ``starting``, ``ready``, ``stopping``; empty while it has written none."""

    pid: int
    socket_dir: str
    status: str


def find_postmaster(data: Path) -> Postmaster | None:
    """Return the server that runs in this data folder; ``None`` if there is none.

    A ``postmaster.pid`` may be left over: of a dead process, or with an id that another program has now. The command
    line tells them apart; unlike the working directory, it may be read in a container too, where root lacks the right
    to look into other users' processes.

    Source: https://www.postgresql.org/docs/18/storage-file-layout.html and src/include/utils/pidfile.h (2025): lines
    are pid, data folder, start time, port, socket folder, address, shared memory, status.
    """
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
        pid = int(lines[0])
        if os.fsencode(data.resolve()) not in _arguments(pid):
            return None
    except (OSError, ValueError, IndexError):
        return None
    lines += [""] * (8 - len(lines))
    return Postmaster(pid=pid, socket_dir=lines[4].strip(), status=lines[7].strip())


def drop_foreign_pid(data: Path) -> None:
    """Remove a ``postmaster.pid`` whose process is not the server of this folder.

    Postgres itself refuses to start while any process has that id. Of a dead process it is left to Postgres, which
    also looks whether children of the dead server still use its memory.
    """
    file = data / "postmaster.pid"
    try:
        pid = int(file.read_text().partition("\n")[0])
    except (OSError, ValueError):
        return
    if find_postmaster(data) is None and os.path.exists(f"/proc/{pid}"):
        file.unlink()


def children_of(pid: int) -> list[int]:
    """List the processes that a process has started and that are alive."""
    listings = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for listing in listings for child in listing.read_text().split()]


async def process_ended(pid: int) -> None:
    """Wait until a process has ended; it need not be our child."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        # It is gone already, or an old kernel or container does not let us watch it.
        while _arguments(pid):  # noqa: ASYNC110
            await asyncio.sleep(_POLL_S)
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(handle, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


def _arguments(pid: int) -> list[bytes]:
    """Return a process's command line; empty if it has ended, even if its parent has not taken notice yet."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    except OSError:
        return []
