"""Owns ``backstay ingest``: files and folders into a collection; what is unchanged is not even read."""

import asyncio
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from backstay.cli.context import Cli, command
from backstay.cli.http import Client
from backstay.cli.output import count, dump, say
from backstay.core.errors import InvalidRequest

if TYPE_CHECKING:
    from backstay.retrieval.parsing import Parser

_BATCH = 64
_BATCH_CHARS = 2_000_000
_COMPARED = 5000
_ANSWER_S = 600.0


@dataclass(frozen=True)
class Source:
    """A document before it is read: a file, or a line of one."""

    external_id: str
    content_hash: str
    path: Path
    line: dict[str, Any] | None = None


@dataclass
class Progress:
    """What came of the documents so far."""

    figures: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("added", "changed", "unchanged", "removed", "chunks", "embedded"), 0)
    )
    unreadable: list[dict[str, str]] = field(default_factory=list[dict[str, str]])

    def add(self, told: dict[str, int]) -> None:
        for name, number in told.items():
            self.figures[name] += number


@click.command()
@click.argument("paths", metavar="PATH…", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--collection", required=True, metavar="NAME", help="Where to; `backstay collections create` makes it.")
@click.option("--principal", "principals", multiple=True, help="Who may read these documents; none: everybody.")
@click.option("--prune", is_flag=True, help="Delete documents of the collection that are not among these.")
@command
def ingest(cli: Cli, paths: tuple[Path, ...], collection: str, principals: tuple[str, ...], prune: bool) -> None:
    """Keep files and folders in a collection: text, Markdown, HTML, PDF and office formats.

    A .jsonl file has a document a line: `_id`, `text`, and if you like `title`, `metadata`, `principals`.
    """
    place = f"/v1/collections/{quote(collection)}/documents"
    client = cli.client()
    sources = _distinct(list(_sources(paths, principals)))
    progress = Progress()
    asyncio.run(_ingest(client, place, sources, principals, progress))
    if prune:
        kept = {"external_ids": [source.external_id for source in sources]}
        progress.add(client.post(f"{place}/prune", kept))
    _tell(cli, progress)


async def _ingest(
    client: Client, place: str, sources: Sequence[Source], principals: Sequence[str], progress: Progress
) -> None:
    from backstay.retrieval.parsing import Parser

    changed = _wanted(client, place, sources)
    wanted = [source for source in sources if source.external_id in changed]
    progress.figures["unchanged"] = len(sources) - len(wanted)
    parser = Parser()
    try:
        for batch in _batches(wanted):
            documents = [each for source in batch if (each := await _read(parser, source, principals, progress))]
            if documents:
                progress.add(await asyncio.to_thread(_send, client, place, documents))
    finally:
        await parser.close()


def _wanted(client: Client, place: str, sources: Sequence[Source]) -> set[str]:
    """Ask which documents are new or changed."""
    wanted: set[str] = set()
    for start in range(0, len(sources), _COMPARED):
        hashes = {source.external_id: source.content_hash for source in sources[start : start + _COMPARED]}
        wanted.update(client.post(f"{place}/compare", {"hashes": hashes})["external_ids"])
    return wanted


def _send(client: Client, place: str, documents: Sequence[dict[str, Any]]) -> dict[str, int]:
    with client.open("POST", place, body={"documents": documents}, timeout_s=_ANSWER_S) as response:
        return json.load(response)


def _batches(sources: Sequence[Source]) -> Iterator[list[Source]]:
    """Put documents together that are sent, and written, at once."""
    batch: list[Source] = []
    size = 0
    for source in sources:
        own = len(source.line.get("text", "")) if source.line else source.path.stat().st_size
        if batch and (len(batch) == _BATCH or size + own > _BATCH_CHARS):
            yield batch
            batch, size = [], 0
        batch.append(source)
        size += own
    if batch:
        yield batch


async def _read(
    parser: "Parser", source: Source, principals: Sequence[str], progress: Progress
) -> dict[str, Any] | None:  # fmt: skip
    from backstay.retrieval.parsing import Unreadable

    known = {"external_id": source.external_id, "content_hash": source.content_hash}
    named = {"principals": list(principals)} if principals else {}
    if source.line is not None:
        taken = {name: source.line[name] for name in ("title", "text", "metadata", "principals") if name in source.line}
        return {**known, **named, **taken}
    try:
        parsed = await parser.parse(source.path.name, source.path.read_bytes())
    except Unreadable as error:
        progress.unreadable.append({"external_id": source.external_id, "problem": error.message})
        return None
    return {
        **known, **named, "text": parsed.text, "title": parsed.title or source.path.stem,
        "media_type": parsed.media_type, "page_starts": parsed.page_starts,
    }  # fmt: skip


def _sources(paths: Sequence[Path], principals: Sequence[str]) -> Iterator[Source]:
    """Find documents: files by their names, those of folders by their paths in them, hidden ones left out."""
    salt = json.dumps(sorted(principals)).encode() if principals else b""
    for path in paths:
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                inner = file.relative_to(path)
                if file.is_file() and not any(part.startswith(".") for part in inner.parts):
                    yield from _of_file(file, inner.as_posix(), salt)
        else:
            yield from _of_file(path, path.name, salt)


def _of_file(path: Path, external_id: str, salt: bytes) -> Iterator[Source]:
    if path.suffix.lower() == ".jsonl":
        yield from _of_lines(path, salt)
        return
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(salt)
    yield Source(external_id=external_id, content_hash=digest.hexdigest(), path=path)


def _of_lines(path: Path, salt: bytes) -> Iterator[Source]:
    with closing(path.open("rb")) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            told: Any = None
            try:
                told = json.loads(line)
                external_id, text = told["_id"], told["text"]
            except (ValueError, KeyError, TypeError):
                external_id = text = None
            if not isinstance(external_id, str | int) or not isinstance(text, str):
                raise InvalidRequest(f"{path}, line {number}: a line must be a JSON object with `_id` and `text`.")
            content_hash = hashlib.sha256(line.strip() + salt).hexdigest()
            yield Source(external_id=str(external_id), content_hash=content_hash, path=path, line=told)


def _distinct(sources: Sequence[Source]) -> Sequence[Source]:
    """Hold that no two documents have one id. Raises ``InvalidRequest``."""
    seen: dict[str, Path] = {}
    for source in sources:
        if source.external_id in seen:
            where = f"in {seen[source.external_id]} and in {source.path}"
            raise InvalidRequest(
                f"Two documents have the id {source.external_id!r}: {where}. Name one folder above both."
            )
        seen[source.external_id] = source.path
    return sources


def _tell(cli: Cli, progress: Progress) -> None:
    if cli.json:
        dump({**progress.figures, "unreadable": progress.unreadable})
    else:
        told = [
            f"{count(number)} {name}" for name, number in progress.figures.items() if name not in ("chunks", "embedded")
        ]
        say(", ".join(told) + ".")
        say(f"{count(progress.figures['chunks'])} chunks, {count(progress.figures['embedded'])} embedded.")
        for each in progress.unreadable:
            say(each["problem"], err=True)
    if progress.unreadable:
        raise SystemExit(1)
