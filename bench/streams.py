"""Owns streams: whether chunks pass one by one, and what many open ones cost in memory."""

import asyncio
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bench.command import backstay
from bench.machine import BenchError
from bench.payloads import PACED_MODEL, chat_request
from bench.processes import free_port, running, wait_for_port
from bench.stacks import CHAT_PATH, Stack

TOKENS_PER_S = 2.0
_OPENED_PER_S = 500
_SAMPLE_S = 0.25


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """One stream as its reader saw it: when each token came, in seconds from the request, and whether it ended well."""

    arrivals_s: Sequence[float]
    complete: bool


class Crowd(msgspec.Struct, frozen=True, kw_only=True):
    """Many streams at once. ``most_open`` counts those that were open together."""

    streams: Sequence[Stream]
    most_open: int
    peak_mib: float


@contextmanager
def simulator(folder: Path, cores: Iterable[int], *, seconds: float) -> Generator[int]:
    """Run Backstay's simulator with slow streams of so many seconds, and give its port."""
    port, log, script = free_port(), folder / "simulator.log", folder / "simulator.toml"
    script.write_text(
        f"[models.{PACED_MODEL}]\ntokens_per_second = {TOKENS_PER_S}\noutput_tokens = {_tokens(seconds)}\n"
    )
    command = [*backstay(), "simulate", "--port", str(port), "--script", str(script)]
    with running(command, cores=cores, log=log) as pid:
        wait_for_port(port, pid, within_s=30, log=log)
        yield port


def _tokens(seconds: float) -> int:
    return max(2, round(seconds * TOKENS_PER_S))


async def open_many(stack: Stack, count: int, read_mib: Callable[[], float]) -> Crowd:
    """Open so many streams, a few hundred a second, read them to their end, and watch the memory meanwhile."""
    gauge = _Gauge()
    watching = asyncio.create_task(gauge.watch(read_mib))
    async with asyncio.TaskGroup() as group:
        tasks: list[asyncio.Task[Stream]] = []
        for _ in range(count):
            tasks.append(group.create_task(_read_stream(stack, gauge)))
            await asyncio.sleep(1 / _OPENED_PER_S)
    watching.cancel()
    streams = [task.result() for task in tasks]
    return Crowd(streams=streams, most_open=gauge.most_open, peak_mib=gauge.peak_mib)


class _Gauge:
    """How many streams are open, and how much memory that takes."""

    def __init__(self) -> None:
        self.open = 0
        self.most_open = 0
        self.peak_mib = 0.0

    async def watch(self, read_mib: Callable[[], float]) -> None:
        while True:
            self.peak_mib = max(self.peak_mib, read_mib())
            self.most_open = max(self.most_open, self.open)
            await asyncio.sleep(_SAMPLE_S)


async def _read_stream(stack: Stack, gauge: _Gauge) -> Stream:
    body = chat_request(PACED_MODEL, stream=True)
    head = "".join(f"{name}: {value}\r\n" for name, value in stack.headers().items())
    start = f"POST {CHAT_PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\n{head}content-length: {len(body)}\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
    try:
        began = time.monotonic()
        writer.write(start.encode() + body)
        status = await reader.readline()
        if b" 200 " not in status:
            raise BenchError(f"{stack.name} answered a stream with {status!r}.")
        gauge.open += 1
        arrivals: list[float] = []
        async for line in reader:
            if line.startswith(b"data: [DONE]"):
                return Stream(arrivals_s=arrivals, complete=True)
            if b'"content":"' in line and b'"content":""' not in line:
                arrivals.append(time.monotonic() - began)
        return Stream(arrivals_s=arrivals, complete=False)
    finally:
        gauge.open -= 1
        writer.close()


def held_back(streams: Iterable[Stream]) -> float:
    """Give the share of tokens that came together with the one before: 0 where nothing is held back."""
    gaps = [
        later - earlier
        for each in streams
        for earlier, later in zip(each.arrivals_s, each.arrivals_s[1:], strict=False)
    ]
    if not gaps:
        raise BenchError("No stream had two tokens.")
    return sum(gap < 0.2 / TOKENS_PER_S for gap in gaps) / len(gaps)
