"""Owns ``python -m bench overload``: more long requests at once than fit, from slow and aborting callers, in waves.

The worker must live, stay within its memory, tell those that it refuses at once, answer small calls meanwhile, and hold
nothing afterwards.
"""

import asyncio
import json
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from bench.gateway import GatewayFolder
from bench.machine import Cores, choose_cores
from bench.payloads import PACED_MODEL, chat_answer, stream_answer
from bench.processes import resident_mib

Manner = Literal["whole", "slow", "chunked", "aborts", "leaves", "stops"]
"""``whole``: sends at once and reads. ``slow``: sends in pieces with pauses. ``chunked``: does not say how much it will
send. ``aborts``: goes away in the middle of its request. ``leaves``: goes away before its answer. ``stops``: asks for a
stream and reads nothing of it for a while."""

_PIECE_BYTES = 64 * 1024
_SLOW_S = 3.0
_THINK_S = 1.0
_REPEATS = 200
"""How often the provider says the same in a stream: about 1 MB."""
_STOP_S = 2.0
_LEAVE_S = 0.3
_SMALL_BYTES = 300
_SMALL_PAUSE_S = 0.05
_SETTLE_S = 60.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How hard the worker is pressed."""

    callers: int = 60
    body_bytes: int = 25 * 1024 * 1024
    waves: int = 3
    peak_mib: float = 1536.0
    """Most memory that the worker may take at any time."""
    left_mib: float = 256.0
    """Most memory that it may have more at the end than at the start."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where the calls go."""

    port: int
    key: str
    worker: int
    model: str = PACED_MODEL


class Outcome(msgspec.Struct, kw_only=True):
    """What came of it."""

    statuses: Counter[str] = msgspec.field(default_factory=Counter[str])
    """Of long calls, by manner and status; 0: no answer."""
    small_s: list[float] = []
    small_failures: Counter[int] = msgspec.field(default_factory=Counter[int])
    start_mib: float = 0.0
    peak_mib: float = 0.0
    end_mib: float = 0.0
    gauges: dict[str, float] = {}

    def problems(self, plan: Plan) -> list[str]:
        """Name what is not as it must be."""
        found: list[str] = []
        if self.peak_mib > plan.peak_mib:
            found.append(f"the worker took {self.peak_mib:.0f} MiB, more than {plan.peak_mib:.0f}")
        if self.end_mib - self.start_mib > plan.left_mib:
            found.append(f"the worker kept {self.end_mib - self.start_mib:.0f} MiB, more than {plan.left_mib:.0f}")
        if any(self.gauges.values()):
            found.append(f"something is left: {self.gauges}")
        if self.small_failures:
            found.append(f"small calls failed: {dict(self.small_failures)}")
        odd = [name for name in self.statuses if name.split()[0] in ("whole", "slow", "chunked", "stops")
               and name.split()[1] not in ("200", "503")]  # fmt: skip
        if odd:
            found.append(f"long calls ended otherwise than answered or refused: {odd}")
        if not self.statuses["whole 200"]:
            found.append("no long call was answered")
        return found


def main() -> int:
    """Press a worker with the default limits, print what came of it: 0 if all is well."""
    cores, plan = choose_cores(), Plan()
    with tempfile.TemporaryDirectory(prefix="backstay-bench-") as folder:
        outcome = asyncio.run(_run(plan, cores, Path(folder)))
    print(report(outcome))
    problems = outcome.problems(plan)
    print("\n".join(problems) or "all well")
    return 1 if problems else 0


async def _run(plan: Plan, cores: Cores, folder: Path) -> Outcome:
    async with upstream() as port:
        installation = GatewayFolder(folder, nginx_port=port, paced_port=port)
        serving = installation.serve(cores)
        gateway = await asyncio.to_thread(serving.__enter__)
        try:
            return await press(plan, Place(port=gateway.stack.port, key=gateway.stack.key, worker=gateway.worker))
        finally:
            await asyncio.to_thread(serving.__exit__, None, None, None)


@asynccontextmanager
async def upstream() -> AsyncGenerator[int]:
    """Run a provider that reads a request without looking at it, thinks for a moment, and answers; give its port."""
    server = await asyncio.start_server(_provide, "127.0.0.1", 0)
    yield int(server.sockets[0].getsockname()[1])
    server.close()


async def _provide(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, asyncio.IncompleteReadError):
        while True:
            left = _length(await reader.readuntil(b"\r\n\r\n"))
            first = piece = await reader.readexactly(min(left, 2 * _SMALL_BYTES))
            while piece and (left := left - len(piece)):
                piece = await reader.read(min(left, 65536))
            await asyncio.sleep(_THINK_S if len(first) > _SMALL_BYTES else 0)
            if b'"stream":true' in first.replace(b" ", b""):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
                frames, end = stream_answer().rsplit(b"data: [DONE]", 1)
                for _ in range(_REPEATS):
                    writer.write(frames)
                    await writer.drain()
                writer.write(b"data: [DONE]" + end)
                writer.close()
                return
            answer = chat_answer()
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(answer)
            )
            writer.write(answer)
            await writer.drain()
    writer.close()


def report(outcome: Outcome) -> str:
    """Write an outcome as text."""
    small = sorted(outcome.small_s)
    lines = [f"  {name:<16}{count:>6}" for name, count in sorted(outcome.statuses.items())]
    lines.append(
        f"small calls: {len(small)}, p50 {_ms(small, 0.5)} ms, p99 {_ms(small, 0.99)} ms, worst {_ms(small, 1)} ms"
    )
    memory = (outcome.start_mib, outcome.peak_mib, outcome.end_mib)
    lines.append("worker: {:.0f} MiB at the start, {:.0f} at its peak, {:.0f} at the end".format(*memory))
    return "\n".join(lines)


def _ms(ordered: Sequence[float], share: float) -> str:
    return f"{ordered[min(len(ordered) - 1, round(share * len(ordered)))] * 1000:.0f}" if ordered else "-"


async def press(plan: Plan, place: Place) -> Outcome:
    """Send the waves, with small calls beside them, and look at what is left."""
    outcome = Outcome(start_mib=resident_mib(place.worker))
    body = long_body(place.model, plan.body_bytes)
    small = asyncio.create_task(_call_small(place, outcome))
    manners: tuple[Manner, ...] = get_args(Manner)
    for _ in range(plan.waves):
        async with asyncio.TaskGroup() as wave:
            for number in range(plan.callers):
                wave.create_task(_call(place, manners[number % len(manners)], body, outcome))
    small.cancel()
    await asyncio.gather(small, return_exceptions=True)
    await _settle(plan, place, outcome)
    outcome.peak_mib = peak_mib(place.worker)
    return outcome


def long_body(model: str, size_bytes: int) -> bytes:
    """Write a request of so many bytes, most of them one message."""
    frame = json.dumps({"model": model, "messages": [{"role": "user", "content": "TEXT"}]}).encode()
    return frame.replace(b"TEXT", b"x" * (size_bytes - len(frame) + 4))


def peak_mib(pid: int) -> float:
    """Read the most memory that a process ever had, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


async def _call(place: Place, manner: Manner, body: bytes, outcome: Outcome) -> None:
    if manner == "stops":
        body = body.replace(b'{"model"', b'{"stream": true, "model"', 1)
    reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
    try:
        status = await asyncio.wait_for(_converse(place, manner, body, reader, writer), 120)
    except OSError:
        status = 0
    finally:
        writer.transport.abort()
    outcome.statuses[f"{manner} {status}"] += 1


async def _converse(
    place: Place, manner: Manner, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> int:
    """Make one call in its manner and return the status; 0 where there was none."""
    writer.write(_head(place, None if manner == "chunked" else len(body)))
    sending = asyncio.create_task(_send(manner, body, writer))
    try:
        if manner in ("aborts", "leaves"):
            await sending
            await asyncio.sleep(_LEAVE_S if manner == "leaves" else 0)
            return 0
        status = int((await reader.readline()).split()[1] or b"0")
        if manner == "stops":
            await asyncio.sleep(_STOP_S)
        head = await reader.readuntil(b"\r\n\r\n")
        if b"content-length" in head:
            await reader.readexactly(_length(head))
            return status
        async for line in reader:
            if line.startswith(b"data: [DONE]"):
                return status
        return 0
    except (asyncio.IncompleteReadError, IndexError):
        return 0
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _send(manner: Manner, body: bytes, writer: asyncio.StreamWriter) -> None:
    view, pieces = memoryview(body), len(body) // _PIECE_BYTES + 1
    with suppress(OSError):
        for number in range(pieces):
            if manner == "aborts" and number == pieces // 2:
                return
            piece = view[number * _PIECE_BYTES : (number + 1) * _PIECE_BYTES]
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if manner == "chunked" else piece)
            await writer.drain()
            await asyncio.sleep(_SLOW_S / pieces if manner == "slow" else 0)
        if manner == "chunked":
            writer.write(b"0\r\n\r\n")


def _head(place: Place, length: int | None) -> bytes:
    framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {place.key}\r\n"
        f"content-type: application/json\r\n{framing}\r\n\r\n"
    ).encode()


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"content-length:")[2].split()[0])


async def _call_small(place: Place, outcome: Outcome) -> None:
    """Make small calls one after the other, until cancelled."""
    body = long_body(place.model, _SMALL_BYTES)
    while True:
        began = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        try:
            status = await _converse(place, "whole", body, reader, writer)
        except OSError:
            status = 0
        finally:
            writer.close()
        outcome.small_s.append(time.monotonic() - began)
        if status != 200:
            outcome.small_failures[status] += 1
        await asyncio.sleep(_SMALL_PAUSE_S)


async def _settle(plan: Plan, place: Place, outcome: Outcome) -> None:
    """Wait until nothing is held and the memory is given back, and note what is."""
    give_up = time.monotonic() + _SETTLE_S
    while time.monotonic() < give_up:
        outcome.gauges = await asyncio.to_thread(_gauges, place)
        outcome.end_mib = resident_mib(place.worker)
        if not any(outcome.gauges.values()) and outcome.end_mib - outcome.start_mib <= plan.left_mib:
            return
        await asyncio.sleep(0.5)


def _gauges(place: Place) -> dict[str, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{place.port}/metrics", headers={"authorization": f"Bearer {place.key}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    names = ("backstay_in_flight", "backstay_in_flight_bytes", "backstay_queue_length")
    return {name: float(value) for name, _, value in (line.partition(" ") for line in lines) if name in names}
