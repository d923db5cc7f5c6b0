"""Owns receivers on this machine: an HTTP server and an SMTP server that keep what came."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class Receiver:
    """Takes posts over HTTP and answers them with what stands first in ``answers``, or 200."""

    def __init__(self) -> None:
        self.came: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[int] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers["content-length"]))
        self.came.append((head[0].split(" ")[1], headers, body))
        status = self.answers.pop(0) if self.answers else 200
        writer.write(f"HTTP/1.1 {status} -\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()


class MailReceiver:
    """Takes mail as an SMTP server without encryption does."""

    def __init__(self) -> None:
        self.mails: list[str] = []
        self.commands: list[str] = []
        self.url = ""

    @property
    def recipients(self) -> list[str]:
        return [line.partition(":")[2].strip("<>") for line in self.commands if line.upper().startswith("RCPT")]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        while line := (await reader.readline()).decode().strip():
            self.commands.append(line)
            if line.upper() == "DATA":
                writer.write(b"354 go on\r\n")
                self.mails.append((await reader.readuntil(b"\r\n.\r\n")).decode())
            writer.write(b"221 bye\r\n" if line.upper() == "QUIT" else b"250 ok\r\n")
            if line.upper() == "QUIT":
                break
        writer.close()


@asynccontextmanager
async def receiving() -> AsyncGenerator[Receiver]:
    """Run an HTTP receiver on a free port of this machine."""
    receiver = Receiver()
    listening = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    async with listening:
        yield receiver


@asynccontextmanager
async def receiving_mail() -> AsyncGenerator[MailReceiver]:
    """Run an SMTP server on a free port of this machine."""
    receiver = MailReceiver()
    listening = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"smtp://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    async with listening:
        yield receiver
