"""Owns the reading of files: their text with its pages, in a child process where the format is not plain.

A hostile file harms nothing: the child has so much memory and so much time, and is another after each that broke it.
"""

import asyncio
import os
import struct
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePath

import msgspec

from backstay.core.errors import InvalidRequest
from backstay.retrieval.file_faults import HEAD_BYTES, fault_by_content, fault_by_report, no_text, too_long
from backstay.retrieval.media_types import MARKDOWN, media_type_of

MOST_BYTES = 256 * 1024 * 1024
"""Of one file."""
MEMORY_BYTES = 4 * 1024**3
"""Address space of the child, its libraries included."""
LONGEST_S = 300.0
LENGTH = struct.Struct(">I")

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


TABLES: Mapping[str, str] = {".csv": "text/csv", ".tsv": "text/tab-separated-values"}
MOST_CHARS = 20_000_000
"""Of one document's text."""
_MOST_BYTES_A_CHAR = 4
"""In UTF-8 and UTF-16."""


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
    """What the child is to read next."""

    suffix: str
    path: str
    most_chars: int


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What the child says."""

    parsed: Parsed | None = None
    problem: str = ""
    is_too_long: bool = False
    """It has more text than a document may have, which is not told, so that nobody else holds it."""


class Parser:
    """Reads files, those of rich formats one after the other in a child process. ``close`` ends it."""

    def __init__(self, *, memory_bytes: int = MEMORY_BYTES, longest_s: float = LONGEST_S, most_chars: int = MOST_CHARS):
        self._memory_bytes = memory_bytes
        self._longest_s = longest_s
        self._most_chars = most_chars
        self._child: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def parse(self, name: str, data: bytes) -> Parsed:
        """Read a file that is in memory. Raises as ``parse_file``."""
        with tempfile.NamedTemporaryFile(prefix="backstay-") as file:
            await asyncio.to_thread(file.write, data)
            file.flush()
            return await self.parse_file(name, Path(file.name))

    async def parse_file(self, name: str, path: Path) -> Parsed:
        """Read a file.

        Args:
            name: What people know it by; its end says its format.

        Raises:
            Unreadable: It is empty, too large, binary, broken, encrypted, or more than the child could bear.
        """
        size = os.stat(path).st_size
        if size == 0:
            raise Unreadable(f"{name} is empty: there is nothing to read.")
        if size > MOST_BYTES:
            raise Unreadable(
                f"{name} has {size / 1024**2:,.0f} MiB, and {MOST_BYTES // 1024**2} MiB is the most that is read of "
                "one file. Split it."
            )
        suffix = PurePath(name).suffix.lower()
        with path.open("rb") as file:
            fault = fault_by_content(name, suffix, file.read(HEAD_BYTES))
        if fault is not None:
            raise Unreadable(fault)
        if suffix in RICH or suffix in TABLES:
            parsed = await self._in_child(name, suffix, path)
        elif size > _MOST_BYTES_A_CHAR * self._most_chars:
            raise Unreadable(too_long(name, self._most_chars))  # it would only be read to be refused
        else:
            parsed = await asyncio.to_thread(_plain, name, suffix, path)
        if not parsed.text.strip():
            raise Unreadable(no_text(name, len(parsed.page_starts)))
        if len(parsed.text) > self._most_chars:
            raise Unreadable(too_long(name, self._most_chars))
        return parsed

    async def _in_child(self, name: str, suffix: str, path: Path) -> Parsed:
        async with self._turn:
            return await self._ask(name, Order(suffix=suffix, path=str(path), most_chars=self._most_chars))

    async def close(self) -> None:
        """End the child."""
        if self._child is not None:
            with suppress(ProcessLookupError):
                self._child.kill()
            await self._child.wait()
            self._child = None

    async def _ask(self, name: str, order: Order) -> Parsed:
        try:
            async with asyncio.timeout(self._longest_s):
                told = await self._exchange(order)
        except TimeoutError:
            await self.close()
            raise Unreadable(
                f"{name} could not be read within {self._longest_s:g} s. Split it, or save it in another format."
            ) from None
        except (EOFError, OSError):
            await self.close()
            raise Unreadable(
                f"{name} ended the process that read it, by its faults or for want of memory "
                f"({self._memory_bytes // 1024**2} MiB). Split it, or save it in another format."
            ) from None
        except BaseException:
            await self.close()
            raise
        if told.is_too_long:
            raise Unreadable(too_long(name, self._most_chars))
        if told.parsed is None:
            raise Unreadable(fault_by_report(name, told.problem))
        return told.parsed

    async def _exchange(self, order: Order) -> Told:
        child = self._child
        if child is None or child.returncode is not None:
            child = self._child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "backstay.retrieval.parse_child", str(self._memory_bytes),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        assert child.stdin is not None and child.stdout is not None
        head = msgspec.msgpack.encode(order)
        child.stdin.write(LENGTH.pack(len(head)) + head)
        await child.stdin.drain()
        (size,) = LENGTH.unpack(await child.stdout.readexactly(LENGTH.size))
        return msgspec.msgpack.decode(await child.stdout.readexactly(size), type=Told)


def _plain(name: str, suffix: str, path: Path) -> Parsed:
    text = decode(path.read_bytes())
    if text is None:
        known = ", ".join([*RICH, *TABLES])
        raise Unreadable(f"{name} is no text, and its format is not known. Known are text and {known}.")
    media_type = media_type_of(name)
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
