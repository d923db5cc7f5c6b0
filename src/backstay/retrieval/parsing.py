"""Owns the reading of files: their text with its pages, in a child process where the format is not plain.

A hostile file harms nothing: the child has so much memory and so much time, and is another after each that broke it.
"""

import asyncio
import struct
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import PurePath

import msgspec

from backstay.core.errors import InvalidRequest

MOST_BYTES = 256 * 1024 * 1024
"""Of one file."""
MEMORY_BYTES = 4 * 1024**3
"""Address space of the child, its libraries included."""
LONGEST_S = 120.0
LENGTH = struct.Struct(">I")

MARKDOWN = frozenset({".md", ".markdown", ".mdx"})
RICH: Mapping[str, str] = {
    ".pdf": "application/pdf",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".rtf": "application/rtf",
    ".epub": "application/epub+zip",
    ".eml": "message/rfc822",
    ".html": "text/html",
    ".htm": "text/html",
    ".xhtml": "text/html",
}
"""Formats that are read in the child, by the ends of files' names. Source: kreuzberg 4.10's formats (2026-09)."""


class Unreadable(InvalidRequest):
    """The file cannot be read as what its name says it is."""

    code = "unreadable_file"


class Parsed(msgspec.Struct, frozen=True, kw_only=True):
    """What was read of a file."""

    text: str
    title: str = ""
    media_type: str = "text/plain"
    page_starts: tuple[int, ...] = ()


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the child is to read next; the file's bytes follow."""

    media_type: str


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What the child says."""

    parsed: Parsed | None = None
    problem: str = ""


class Parser:
    """Reads files, those of rich formats one after the other in a child process. ``close`` ends it."""

    def __init__(self, *, memory_bytes: int = MEMORY_BYTES, longest_s: float = LONGEST_S):
        self._memory_bytes = memory_bytes
        self._longest_s = longest_s
        self._child: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def parse(self, name: str, data: bytes) -> Parsed:
        """Read a file.

        Raises:
            Unreadable: It is empty, too large, binary, broken, encrypted, or more than the child could bear.
        """
        if not data:
            raise Unreadable(f"{name} is empty.")
        if len(data) > MOST_BYTES:
            raise Unreadable(f"{name} has more than {MOST_BYTES // 1024**2} MiB, the most that is read of one file.")
        suffix = PurePath(name).suffix.lower()
        if suffix in RICH:
            async with self._turn:
                parsed = await self._ask(name, RICH[suffix], data)
            if not parsed.text.strip():
                raise Unreadable(f"{name} has no text: its pages may be pictures, which are not read.")
            return parsed
        return _plain(name, suffix, data)

    async def close(self) -> None:
        """End the child."""
        if self._child is not None:
            with suppress(ProcessLookupError):
                self._child.kill()
            await self._child.wait()
            self._child = None

    async def _ask(self, name: str, media_type: str, data: bytes) -> Parsed:
        try:
            async with asyncio.timeout(self._longest_s):
                told = await self._exchange(Order(media_type=media_type), data)
        except TimeoutError:
            await self.close()
            raise Unreadable(f"{name} could not be read within {self._longest_s:g} s.") from None
        except (EOFError, OSError):
            await self.close()
            raise Unreadable(
                f"{name} ended the process that read it, by its faults or for want of memory "
                f"({self._memory_bytes // 1024**2} MiB)."
            ) from None
        except BaseException:
            await self.close()
            raise
        if told.parsed is None:
            raise Unreadable(f"{name} cannot be read: {told.problem}")
        return told.parsed

    async def _exchange(self, order: Order, data: bytes) -> Told:
        child = self._child
        if child is None or child.returncode is not None:
            child = self._child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "backstay.retrieval.parse_child", str(self._memory_bytes),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        assert child.stdin is not None and child.stdout is not None
        head = msgspec.msgpack.encode(order)
        child.stdin.writelines([LENGTH.pack(len(head)), head, LENGTH.pack(len(data)), data])
        await child.stdin.drain()
        (size,) = LENGTH.unpack(await child.stdout.readexactly(LENGTH.size))
        return msgspec.msgpack.decode(await child.stdout.readexactly(size), type=Told)


def _plain(name: str, suffix: str, data: bytes) -> Parsed:
    text = decode(data)
    if text is None:
        raise Unreadable(f"{name} is no text, and its format is not known. Known are text and {', '.join(RICH)}.")
    media_type = "text/markdown" if suffix in MARKDOWN else "text/plain"
    return Parsed(text=text, title=_title(text) if suffix in MARKDOWN else "", media_type=media_type)


def decode(data: bytes) -> str | None:
    """Read bytes as text: UTF-8, UTF-16 with its mark, else Windows-1252; ``None`` for what is none of them."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    if b"\x00" in data[:65536]:
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _title(text: str) -> str:
    first = next((line for line in text.splitlines() if line.strip()), "")
    return first.removeprefix("# ").strip()[:500] if first.startswith("# ") else ""
