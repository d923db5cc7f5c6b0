"""Owns ``backstay ingest``: files, folders and addresses into a collection; what is unchanged is not even sent."""

import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from backstay.cli.context import Cli, command
from backstay.cli.http import Client, ServerError
from backstay.cli.ingests import draw, follow, problems_of, through_a_restart
from backstay.cli.output import count, dump, printable, say
from backstay.cli.sources import Source, Sources, is_url
from backstay.core.errors import InvalidRequest

_BATCH = 64
_BATCH_CHARS = 2_000_000
_COMPARED = 5000
_ANSWER_S = 600.0
_WATCH_S = 2.0
_SENT_BEFORE_LOOK = 16
_TRIES = 60
_PAUSE_S = 5.0
"""Where the server says that it has no room for more just now."""
_NOT_TAKEN = frozenset({400, 413})


@dataclass
class Outcome:
    """What came of the documents so far."""

    figures: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("added", "changed", "unchanged", "removed", "chunks", "embedded"), 0)
    )
    unreadable: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    ingest: str | None = None

    def add(self, told: dict[str, Any]) -> None:
        for name in self.figures.keys() & told.keys():
            self.figures[name] += told[name]


@dataclass(frozen=True)
class Target:
    """Where documents go, and who may read them."""

    client: Client
    collection: str
    principals: Sequence[str]

    @property
    def place(self) -> str:
        return f"/v1/collections/{quote(self.collection)}"


@click.command()
@click.argument("paths", metavar="PATH|URL…", nargs=-1, required=True)
@click.option("--collection", required=True, metavar="NAME", help="Where to; `backstay collections create` makes it.")
@click.option("--principal", "principals", multiple=True, help="Who may read these documents; none: everybody.")
@click.option("--prune", is_flag=True, help="Delete documents of the collection that are not among these.")
@click.option("--no-wait", is_flag=True, help="End once all is sent; `backstay ingests show` tells of the rest.")
@click.option("--watch", is_flag=True, help="Go on, and follow what changes in these folders, until interrupted.")
@command
def ingest(
    cli: Cli, paths: tuple[str, ...], collection: str, principals: tuple[str, ...], prune: bool, no_wait: bool,
    watch: bool,
) -> None:  # fmt: skip
    """Keep files, folders and web pages in a collection: text, Markdown, HTML, PDF, office formats, CSV.

    A .jsonl file has a document a line: `_id`, `text`, and if you like `title`, `metadata`, `principals`.
    """
    target = Target(client=cli.client(), collection=collection, principals=principals)
    urls, files = [path for path in paths if is_url(path)], _existing([path for path in paths if not is_url(path)])
    if no_wait and (prune or watch):
        raise InvalidRequest("--no-wait goes with neither --prune nor --watch: these wait for what is taken in.")
    sources = Sources(files, principals)
    before = sources.state()
    found = sources.documents()
    outcome = _take_in(target, found, urls, wait=not no_wait)
    _add_left_out(outcome, sources)
    if prune and sources.left_out:
        say("Nothing is deleted by --prune: what cannot be read may be there still.", err=True)
    elif prune:
        kept = {"external_ids": [*(source.external_id for source in found), *urls]}
        outcome.add(target.client.post(f"{target.place}/documents/prune", kept))
    _tell(cli, outcome)
    if watch:
        _watch(cli, target, sources, before, {source.external_id for source in found})
    if outcome.unreadable:
        raise SystemExit(1)


def _take_in(target: Target, sources: Sequence[Source], urls: Sequence[str], *, wait: bool) -> Outcome:
    outcome = Outcome()
    changed = _wanted(target, sources)
    wanted = [source for source in sources if source.external_id in changed]
    outcome.figures["unchanged"] = len(sources) - len(wanted)
    for batch in _batches([source for source in wanted if source.line is not None]):
        documents = [_document(source, target.principals) for source in batch]
        outcome.add(target.client.post(f"{target.place}/documents", {"documents": documents}, timeout_s=_ANSWER_S))
    files = [source for source in wanted if source.line is None]
    if files or urls:
        _send(target, files, urls, outcome, wait=wait)
    return outcome


def _add_left_out(outcome: Outcome, sources: Sources) -> None:
    told = [{"external_id": each["external_id"], "problem": each["problem"]} for each in sources.left_out]
    outcome.unreadable = sorted([*outcome.unreadable, *told], key=lambda each: each["external_id"])


def _wanted(target: Target, sources: Sequence[Source]) -> set[str]:
    """Ask which documents are new or changed."""
    wanted: set[str] = set()
    for start in range(0, len(sources), _COMPARED):
        hashes = {source.external_id: source.content_hash for source in sources[start : start + _COMPARED]}
        wanted.update(target.client.post(f"{target.place}/documents/compare", {"hashes": hashes})["external_ids"])
    return wanted


def _send(target: Target, files: Sequence[Source], urls: Sequence[str], outcome: Outcome, *, wait: bool) -> None:
    """Send files to an ingest of their own, and follow it to its end."""
    begun: dict[str, Any] = {"is_open": True, "urls": list(urls)}
    if target.principals:
        begun["principals"] = list(target.principals)
    client = target.client
    told = client.post(f"{target.place}/ingests", begun)["ingest"]
    outcome.ingest = told["id"]
    place = f"/v1/ingests/{told['id']}"
    for number, source in enumerate(files, 1):
        _send_file(client, place, source, outcome)
        if number % _SENT_BEFORE_LOOK == 0:
            draw(through_a_restart(lambda: client.get(place))["ingest"], total=len(files) + len(urls))
    through_a_restart(lambda: client.post(f"{place}/close"))
    if not wait:
        return
    try:
        told = follow(client, told["id"])
    except KeyboardInterrupt:
        say(
            f"\nIt goes on. `backstay ingests show {told['id']} --wait` shows how far it is; `cancel` stops it.",
            err=True,
        )
        raise
    outcome.add(told)
    outcome.unreadable = sorted([*outcome.unreadable, *problems_of(client, told)], key=lambda each: each["external_id"])
    if told["problem"]:
        raise InvalidRequest(told["problem"])


def _send_file(client: Client, place: str, source: Source, outcome: Outcome) -> None:
    """Send one file; what the server does not take is told, and the others go on."""
    from backstay.retrieval.parsing import MOST_BYTES

    try:
        size = source.path.stat().st_size
        source.path.open("rb").close()
    except OSError as error:
        told = f"{source.external_id} cannot be read any more: {error.strerror}. Ingest it again when it can."
        outcome.unreadable.append({"external_id": source.external_id, "problem": told})
        return
    if size > MOST_BYTES:
        most = f"{MOST_BYTES // 1024**2} MiB is the most that is taken of one file. Split it."
        told = f"{source.external_id} has {size / 1024**2:,.0f} MiB, and {most}"
        outcome.unreadable.append({"external_id": source.external_id, "problem": told})
        return
    query = {"external_id": source.external_id, "content_hash": source.content_hash}
    for left in range(_TRIES - 1, -1, -1):
        try:
            through_a_restart(
                lambda: client.put_file(f"{place}/files", source.path, query=query, timeout_s=_ANSWER_S)
            )  # fmt: skip
            return
        except ServerError as error:
            if error.status in _NOT_TAKEN:
                outcome.unreadable.append({"external_id": source.external_id, "problem": str(error)})
                return
            if error.status != 503 or not left:
                raise
            if left == _TRIES - 1:
                say(f"{printable(source.external_id)} waits, and is sent again: {printable(str(error))}", err=True)
        time.sleep(_PAUSE_S)


def _batches(sources: Sequence[Source]) -> Iterator[list[Source]]:
    """Put documents together that are sent, and written, at once."""
    batch: list[Source] = []
    size = 0
    for source in sources:
        own = len((source.line or {}).get("text", ""))
        if batch and (len(batch) == _BATCH or size + own > _BATCH_CHARS):
            yield batch
            batch, size = [], 0
        batch.append(source)
        size += own
    if batch:
        yield batch


def _document(source: Source, principals: Sequence[str]) -> dict[str, Any]:
    line = source.line or {}
    known = {"external_id": source.external_id, "content_hash": source.content_hash}
    named = {"principals": list(principals)} if principals else {}
    taken = {name: line[name] for name in ("title", "text", "metadata", "principals") if name in line}
    return {**known, **named, **taken}


def _watch(cli: Cli, target: Target, sources: Sources, state: dict[Path, tuple[int, int]], known: set[str]) -> None:
    """Take in what changes, and delete what goes, once it has been still for a moment."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    say("Watching. Ctrl-C ends it; what is there stays.", err=True)
    try:
        while True:
            time.sleep(_WATCH_S)
            now = sources.state()
            if now == state or now != _after(sources, _WATCH_S / 2):
                continue
            state = now
            found = sources.documents()
            outcome = _take_in(target, found, [], wait=True)
            _add_left_out(outcome, sources)
            there = {source.external_id for source in found}
            if sources.left_out:
                there |= known  # what cannot be read now may be there still
            elif gone := sorted(known - there):
                outcome.add(target.client.post(f"{target.place}/documents/delete", {"external_ids": gone}))
            known = there
            _tell(cli, outcome)
    except KeyboardInterrupt:
        say(err=True)


def _after(sources: Sources, pause_s: float) -> dict[Path, tuple[int, int]]:
    time.sleep(pause_s)
    return sources.state()


def _existing(paths: Sequence[str]) -> list[Path]:
    for path in paths:
        if not Path(path).exists():
            raise click.BadParameter(f"There is no file or folder {path}.", param_hint="PATH")
    return [Path(path) for path in paths]


def _tell(cli: Cli, outcome: Outcome) -> None:
    if cli.json:
        dump({**outcome.figures, "unreadable": outcome.unreadable, "ingest": outcome.ingest})
        return
    told = [f"{count(number)} {name}" for name, number in outcome.figures.items() if name not in ("chunks", "embedded")]
    say(", ".join(told) + ".")
    say(f"{count(outcome.figures['chunks'])} chunks, {count(outcome.figures['embedded'])} embedded.")
    for each in outcome.unreadable:
        say(printable(each["problem"]), err=True)
