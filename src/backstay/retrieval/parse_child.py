"""Owns the process that reads files of rich formats: ``python -m backstay.retrieval.parse_child MEMORY``.

It reads an order and a file on its standard input, writes what it read on its standard output, and ends with its input.
"""

import os
import re
import resource
import sys
from pathlib import Path
from typing import Any, BinaryIO, cast

import kreuzberg
import msgspec

from backstay.retrieval.parsing import LENGTH, RICH, TABLES, Order, Parsed, Told, decode
from backstay.retrieval.tables import text_of_csv, text_of_markdown_tables

_BETWEEN_PAGES = "\n\n"
_LONGEST_TITLE = 500
_FRONT_MATTER = re.compile(r"\A---\n(?:[\w:-]+: .*\n)*\n?## [\w:-]+: .*\n+")
"""What is in a page's head, as kreuzberg 4.10 writes it above its text; its last line comes out as a heading."""


def main() -> int:
    """Read files until the input ends."""
    memory_bytes = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    # Whatever a library prints must not come between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    orders = sys.stdin.buffer
    while (head := _read(orders)) is not None:
        told = msgspec.msgpack.encode(_answer(msgspec.msgpack.decode(head, type=Order)))
        answers.write(LENGTH.pack(len(told)) + told)
        answers.flush()
    return 0


def _read(source: BinaryIO) -> bytes | None:
    size = source.read(LENGTH.size)
    return source.read(LENGTH.unpack(size)[0]) if len(size) == LENGTH.size else None


def _answer(order: Order) -> Told:
    try:
        parsed = _extract(order, Path(order.path).read_bytes())
        if len(parsed.text) > order.most_chars:
            return Told(is_too_long=True)
        return Told(parsed=parsed)
    except MemoryError:
        return Told(problem="it needs more memory than it may have.")
    except Exception as error:  # noqa: BLE001 - the edge of a file: whatever is wrong with it, it is told
        return Told(problem=str(error)[:500] or type(error).__name__)


def _extract(order: Order, data: bytes) -> Parsed:
    suffix = order.suffix
    if suffix in TABLES:
        text = decode(data)
        if text is None:
            raise ValueError(f"it is no text, as a {suffix} file is")
        return Parsed(text=text_of_csv(text, most_chars=order.most_chars), media_type=TABLES[suffix])
    media_type = RICH[suffix]
    config = kreuzberg.ExtractionConfig(
        use_cache=False, output_format="markdown", pages=kreuzberg.PageConfig(extract_pages=True)
    )  # fmt: skip
    result = kreuzberg.extract_bytes_sync(data, media_type, config=config)
    pages = [str(page["content"]).replace("\r\n", "\n") for page in cast(list[Any], result.pages or [])]
    starts: list[int] = []
    at = 0
    for page in pages:
        starts.append(at)
        at += len(page) + len(_BETWEEN_PAGES)
    if not any(map(str.strip, pages)) and result.content.strip():
        starts, pages = [], []  # sheets, which count as pages that have no text of their own
    text = _BETWEEN_PAGES.join(pages) if pages else result.content
    if media_type == "text/html":
        text = _FRONT_MATTER.sub("", text)
    if suffix == ".xlsx":
        text = text_of_markdown_tables(text)
    title = cast(dict[str, Any], result.metadata).get("title")
    # With pages, headings are only as good as a guess by size; without, they are the format's own.
    return Parsed(
        text=text,
        title=str(title)[:_LONGEST_TITLE] if title else "",
        media_type=media_type if pages else "text/markdown",
        page_starts=tuple(starts),
    )


if __name__ == "__main__":
    sys.exit(main())
