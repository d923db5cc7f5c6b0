"""Owns the sink of a call that nobody is connected to: its answer, which comes whole, is kept in memory."""

from collections.abc import Mapping

from backstay.gateway.types import Headers


class WholeAnswer:
    """What a call answered. The call must not be streamed."""

    def __init__(self) -> None:
        self.begun = False
        self.status = 0
        self.headers: Mapping[bytes, bytes] = {}
        self.body = b""

    async def reply(self, status: int, headers: Headers, body: bytes) -> None:
        self.begun = True
        self.status, self.headers, self.body = status, dict(headers), body

    async def begin(self, status: int, headers: Headers) -> None:
        raise NotImplementedError("nobody reads a stream here: such calls are refused before")

    async def write(self, chunk: bytes, *, end: bool = False) -> None:
        raise NotImplementedError("nobody reads a stream here: such calls are refused before")
