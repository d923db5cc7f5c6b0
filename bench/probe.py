"""Owns latency: one call after the other on one connection, timed at the socket."""

import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Self

import msgspec

from bench.machine import BenchError
from bench.stacks import Kind, Stack, turn

_TURNS = 30
"""How often each stack has its turn. Longer turns are fewer: what a stack does in the background after it was frozen
should not fall upon all of its calls."""


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Nanoseconds from the first byte sent: to the first byte of the answer's body, and to its last."""

    first_ns: int
    last_ns: int


class Probe:
    """One connection to a stack, with one request that is sent again and again."""

    def __init__(self, stack: Stack, kind: Kind):
        self.stack = stack
        self.answer = b""
        """Body of the last answer."""
        body = stack.body(kind)
        head = "".join(f"{name}: {value}\r\n" for name, value in stack.headers().items())
        start = f"POST {stack.path(kind)} HTTP/1.1\r\nhost: 127.0.0.1\r\n{head}content-length: {len(body)}\r\n\r\n"
        self._request = start.encode() + body
        self._socket = socket.create_connection(("127.0.0.1", stack.port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def call(self) -> Timing:
        """Send the request and read the answer.

        Raises:
            BenchError: It is not a success.
        """
        began = time.perf_counter_ns()
        self._socket.sendall(self._request)
        answer = b""
        while (end := answer.find(b"\r\n\r\n")) < 0 or len(answer) == end + 4:
            answer += self._receive()
        first = time.perf_counter_ns()
        head, body = answer[:end].lower(), answer[end + 4 :]
        if not head.startswith(b"http/1.1 200"):
            raise BenchError(f"{self.stack.name} answered: {answer[:500]!r}")
        length = content_length(head)
        while not (body.endswith(b"0\r\n\r\n") if length is None else len(body) >= length):
            body += self._receive()
        last = time.perf_counter_ns()
        self.answer = body if length is not None else join_chunks(body)
        return Timing(first_ns=first - began, last_ns=last - began)

    def _receive(self) -> bytes:
        piece = self._socket.recv(1 << 18)
        if not piece:
            raise BenchError(f"{self.stack.name} closed the connection.")
        return piece


def content_length(head: bytes) -> int | None:
    """Read the length of a body from lower-case headers; ``None`` where it is sent in chunks."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return int(value)
    return None


def join_chunks(body: bytes) -> bytes:
    """Take the framing off a body that was sent in chunks."""
    pieces: list[bytes] = []
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        pieces.append(body[:length])
        body = body[length + 2 :]
    return b"".join(pieces)


def interleave(stacks: Sequence[Stack], kind: Kind, calls: int) -> Mapping[str, list[Timing]]:
    """Time so many calls to each stack, in turns of a few."""
    timings: dict[str, list[Timing]] = {stack.name: [] for stack in stacks}
    with ExitStack() as opened:
        probes: list[Probe] = []
        for stack in stacks:
            with turn(stack):
                probe = opened.enter_context(Probe(stack, kind))
                for _ in range(10):
                    probe.call()
            probes.append(probe)
        for _ in range(_TURNS):
            for probe in probes:
                with turn(probe.stack):
                    probe.call()  # wakes it up
                    timings[probe.stack.name] += [probe.call() for _ in range(max(1, calls // _TURNS))]
    return timings
