"""Owns ``python -m bench ingest``: how quickly files are taken in beside what the embedding model alone could do.

And whether a thousand pages leave the processes as small as they were, and what it costs to send what is known already.
"""

import asyncio
import json
import os
import re
import statistics
import subprocess
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from urllib.request import Request, urlopen

import msgspec

from backstay.providers.local_embedder import Embedder
from backstay.providers.local_server import default_threads
from backstay.providers.local_types import embedding_tokenizer, embedding_weights
from backstay.retrieval import NewDocument
from backstay.retrieval.chunking import cut
from backstay.retrieval.ingesting import in_context
from backstay.retrieval.parsing import Parser
from backstay.retrieval.types import Chunking
from bench.command import backstay
from bench.console import bearer, data_folder, serving
from bench.machine import BenchError
from bench.processes import command_line, prioritise, resident_mib, tree

RATIO, GROWTH_MIB, UNCHANGED_PER_S = 0.8, 32.0, 1000.0
DATA = Path(os.environ.get("BACKSTAY_DATA", Path(__file__).parents[2] / "shared" / "data"))
_SAMPLE = 384
"""Texts by which the model's own pace is taken, before an ingest and after it."""
_PAGES_EACH = 50
_NOTES = 5000
"""Files of a sentence each, that are sent twice."""
_LOOK_S = 0.25
_ROLES = {"worker": "backstay.worker", "jobs": "backstay.job_runner", "parsing": "backstay.retrieval.parse_child"}


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """An ingest beside the model alone, in chunks a second."""

    name: str
    documents: int
    chunks: int
    took_s: float
    model_per_s: float

    @property
    def per_s(self) -> float:
        return self.chunks / self.took_s

    @property
    def ratio(self) -> float:
        return self.per_s / self.model_per_s


class Sizes:
    """What processes hold while something goes on, looked at from a thread beside it."""

    def __init__(self, supervisor: int):
        self._supervisor = supervisor
        self.seen: list[Mapping[str, float]] = []

    @contextmanager
    def watching(self) -> Generator[None]:
        over = threading.Event()

        def watch() -> None:
            while not over.wait(_LOOK_S):
                self.seen.append(self._look())

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _look(self) -> Mapping[str, float]:
        sizes = dict.fromkeys(_ROLES, 0.0)
        for pid in tree(self._supervisor):
            told = command_line(pid)
            for role, module in _ROLES.items():
                if module in told:
                    try:
                        sizes[role] += resident_mib(pid)
                    except (OSError, BenchError):
                        continue  # it has ended
        return sizes

    def peaks(self, role: str) -> tuple[float, float]:
        """Return the most that processes of a role held in the second quarter of the time, and in the last."""
        quarter = max(1, len(self.seen) // 4)
        return max(each[role] for each in self.seen[quarter : 2 * quarter]), max(
            each[role] for each in self.seen[-quarter:]
        )


def main(*, pages: int, share: float = 1.0) -> int:
    """Ingest, measure, and print a table: 0 if every target holds, 1 if one does not.

    Args:
        pages: Of PDF files.
        share: Of the small files, for a quicker run.

    Raises:
        BenchError: It could not be measured.
    """
    prioritise(os.getpid())
    embedder = Embedder(embedding_weights(), embedding_tokenizer(), threads=default_threads())
    with data_folder(None) as folder:
        reports = asyncio.run(_read(sorted(_reports(folder / "reports", pages).iterdir())[::7]))
        abstracts, notes = _abstracts(folder / "abstracts", share), _notes(folder / "notes", share)
        with serving(folder / "data", local_models=True) as (url, supervisor):
            asking = _Asking(url, bearer(url, folder / "data"))
            for name in ("warm", "reports", "abstracts", "notes"):
                asking.run("collections", "create", name)
            asking.ingest(_warm(folder / "warm"), "warm")
            sizes = Sizes(supervisor)
            with sizes.watching():
                paces = [_pace(asking, embedder, "reports", folder / "reports", reports)]
            read = asking.pages("reports")
            paces.append(_pace(asking, embedder, "abstracts", folder / "abstracts", abstracts))
            asking.ingest(folder / "notes", "notes")
            again_s = [asking.ingest(folder / "notes", "notes", unchanged=notes)[0] for _ in range(3)]
    per_s = notes / statistics.median(again_s)
    print("\n".join(_lines(paces, sizes, read, notes, per_s)))
    grew = [last - first for first, last in map(sizes.peaks, _ROLES)]
    kept = all(each.ratio >= RATIO for each in paces) and max(grew) <= GROWTH_MIB and per_s >= UNCHANGED_PER_S
    return 0 if kept else 1


class _Asking:
    """The command line, as a user types it."""

    def __init__(self, url: str, headers: Mapping[str, str]):
        self._url, self._headers = url, dict(headers)
        self._environment = {**os.environ, "BACKSTAY_TOKEN": headers["authorization"].removeprefix("Bearer ")}

    def run(self, *words: str) -> dict[str, int]:
        command = [*backstay(), *words, "--json", "--url", self._url]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=self._environment)
        if done.returncode:
            raise BenchError(f"backstay {' '.join(words)} failed: {done.stderr or done.stdout}")
        return json.loads(done.stdout)

    def pages(self, collection: str) -> int:
        """Count the pages of a collection's documents."""
        asked = Request(f"{self._url}/v1/collections/{collection}/documents?limit=1000", headers=self._headers)
        with urlopen(asked, timeout=60) as answer:
            return sum(each["pages"] for each in json.load(answer)["documents"])

    def ingest(self, folder: Path, collection: str, *, unchanged: int = 0) -> tuple[float, dict[str, int]]:
        """Ingest a folder, and return how long that took from the command's start to its end, and its figures."""
        began = time.perf_counter()
        told = self.run("ingest", str(folder), "--collection", collection)
        took_s = time.perf_counter() - began
        if told["unchanged"] != unchanged:
            raise BenchError(f"{told['unchanged']} files of {folder.name} were unchanged, not {unchanged}.")
        return took_s, told


def _pace(asking: _Asking, embedder: Embedder, name: str, folder: Path, documents: Sequence[NewDocument]) -> Pace:
    sample = _sample(documents)
    before = _model_per_s(embedder, sample)
    took_s, told = asking.ingest(folder, name)
    model_per_s = statistics.mean((before, _model_per_s(embedder, sample)))
    return Pace(
        name=name, documents=told["added"], chunks=told["embedded"], took_s=took_s, model_per_s=model_per_s
    )  # fmt: skip


def _sample(documents: Sequence[NewDocument]) -> list[str]:
    texts = [
        in_context(document, piece)
        for document in documents
        for piece in cut(
            document.text, Chunking(), media_type=document.media_type, page_starts=document.page_starts
        )
    ]  # fmt: skip
    distinct = list(dict.fromkeys(texts))
    return distinct[:: max(1, len(distinct) // _SAMPLE)][:_SAMPLE]


def _model_per_s(embedder: Embedder, texts: Sequence[str]) -> float:
    began = time.perf_counter()
    embedder.embed(texts)
    return len(texts) / (time.perf_counter() - began)


def _reports(folder: Path, pages: int) -> Path:
    """Put as many PDF files into a folder as have so many pages together, at fifty each."""
    folder.mkdir()
    for file in sorted((DATA / "sec_10q" / "documents").glob("*.pdf"))[: -(-pages // _PAGES_EACH)]:
        (folder / file.name).symlink_to(file)
    return folder


async def _read(files: Sequence[Path]) -> list[NewDocument]:
    """Read files as they are read when they are taken in."""
    parser, read = Parser(), list[NewDocument]()
    try:
        for file in files:
            parsed = await parser.parse_file(file.name, file)
            told = NewDocument(
                external_id=file.name, text=parsed.text, title=parsed.title or file.stem,
                media_type=parsed.media_type, page_starts=parsed.page_starts,
            )  # fmt: skip
            read.append(told)
    finally:
        await parser.close()
    return read


def _texts() -> Iterator[tuple[str, str]]:
    for line in (DATA / "cranfield" / "corpus.jsonl").read_text().splitlines():
        told = json.loads(line)
        if told["text"].strip():
            yield told["_id"], told["text"]


def _abstracts(folder: Path, share: float) -> list[NewDocument]:
    """Write the abstracts of a labelled set, each into a file."""
    folder.mkdir()
    texts = list(_texts())
    few = texts[: int(share * len(texts))]
    read = [NewDocument(external_id=f"{name}.txt", text=text, title=name) for name, text in few]
    for each in read:
        (folder / each.external_id).write_text(each.text)
    return read


def _notes(folder: Path, share: float) -> int:
    """Write files of a sentence each, and return how many."""
    folder.mkdir()
    sentences = (told for _, text in _texts() for told in re.split(r"(?<= \.) ", text) if len(told) > 20)
    few = list(islice(dict.fromkeys(sentences), int(share * _NOTES)))
    for number, sentence in enumerate(few):
        (folder / f"{number:05d}.txt").write_text(sentence)
    return len(few)


def _warm(folder: Path) -> Path:
    """Write a file by which the model is loaded."""
    folder.mkdir()
    (folder / "warm.txt").write_text("The model is loaded.")
    return folder


def _lines(paces: Sequence[Pace], sizes: Sizes, pages: int, notes: int, per_s: float) -> Iterator[str]:
    yield f"{'ingest, chunks/s':<34}{'model':>10}{'ingest':>10}{'ratio':>10}{'target':>10}"
    for each in paces:
        name = f"{each.name}: {each.documents:,} files, {each.chunks:,} chunks"
        verdict = "" if each.ratio >= RATIO else "  misses its target"
        yield f"  {name:<32}{each.model_per_s:>10.1f}{each.per_s:>10.1f}{each.ratio:>10.2f}{RATIO:>10.2f}{verdict}"
    yield f"\n{f'memory over {pages:,} PDF pages, MiB':<34}{'early':>10}{'late':>10}{'growth':>10}{'target':>10}"
    for role in _ROLES:
        first, last = sizes.peaks(role)
        verdict = "" if last - first <= GROWTH_MIB else "  misses its target"
        yield f"  {role:<32}{first:>10.0f}{last:>10.0f}{last - first:>10.0f}{GROWTH_MIB:>10.0f}{verdict}"
    verdict = "" if per_s >= UNCHANGED_PER_S else "  misses its target"
    yield f"\n{'unchanged files/s':<34}{'':>20}{per_s:>10.0f}{UNCHANGED_PER_S:>10.0f}{verdict}"
    yield f"  {notes:,} files, from the start of `backstay ingest` to its end"
