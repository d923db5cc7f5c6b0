"""Owns the processes that are measured: starting them on their cores, freezing them between turns, ending them."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.machine import BenchError

STOP_S = 45


def free_port() -> int:
    """Find a port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def running(
    command: Sequence[str],
    *,
    cores: Iterable[int],
    log: Path,
    environment: Mapping[str, str] | None = None,
) -> Generator[int]:
    """Run a command on the given cores, give its process id, and end it with all its children.

    It dies with this process, too, however that ends. What it prints goes to the file ``log``.
    """
    pinned = ["setpriv", "--pdeathsig", "TERM", "taskset", "-c", ",".join(map(str, cores)), *command]
    with log.open("ab") as output:
        process = subprocess.Popen(
            pinned,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        prioritise(process.pid)
        yield process.pid
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    family = tree(process.pid)
    thaw(process.pid)
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        for pid in {*family, *tree(process.pid)}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def wait_for_port(port: int, pid: int, *, within_s: float, log: Path) -> None:
    """Wait until somebody listens on a port.

    Raises:
        BenchError: The process has ended, or the time is up; with the end of its log.
    """
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline and alive(pid):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise BenchError(f"Nothing listens on port {port}. The end of {log}:\n{tail(log)}")


def tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def tree(pid: int) -> list[int]:
    """List a process and all that it has started, parents first."""
    family = [pid]
    for parent in family:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(OSError):
                family += map(int, task.read_text().split())
    return family


def freeze(pid: int) -> None:
    """Stop a process and all its children where they are, so that they cost the others nothing."""
    _signal(pid, signal.SIGSTOP)


def thaw(pid: int) -> None:
    _signal(pid, signal.SIGCONT)


def _signal(pid: int, number: signal.Signals) -> None:
    for each in tree(pid):
        with suppress(ProcessLookupError):
            os.kill(each, number)


def prioritise(pid: int, *, yielding: int = 0, but: int | None = None) -> None:
    """Give a process and its children the niceness of this one, and so much more; ``but`` one of them is left as it is.

    Inheriting it is not enough: Linux divides the processor among sessions first (autogroups), each with its own
    niceness, and what is measured has sessions of its own.
    """
    niceness = os.getpriority(os.PRIO_PROCESS, 0) + yielding
    for each in tree(pid):
        if each == but:
            continue
        with suppress(OSError):  # it has ended, the kernel has no autogroups, or this user may not
            os.setpriority(os.PRIO_PROCESS, each, niceness)
            Path(f"/proc/{each}/autogroup").write_text(str(niceness))


def pin(pid: int, core: int) -> None:
    """Move a running process, with every thread that it has, onto one core."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})


def find_child(pid: int, command: str) -> int:
    """Find the one process below ``pid`` whose command line holds a text.

    Raises:
        BenchError: There is none, or more than one.
    """
    found = [each for each in tree(pid) if command in command_line(each)]
    if len(found) != 1:
        raise BenchError(f"Expected one process with {command!r} below {pid}, found {found}.")
    return found[0]


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def resident_mib(pid: int) -> float:
    """Read a process's resident memory, in MiB; its children not counted."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise BenchError(f"Process {pid} has ended.")


def cpu_s(pid: int) -> float:
    """Read the processor time that a process has used, in seconds; its children not counted."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
