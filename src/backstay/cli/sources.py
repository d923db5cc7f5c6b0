"""Owns what a command line names as documents: files, folders, lines of a file, and addresses."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backstay.core.errors import InvalidRequest


@dataclass(frozen=True)
class Source:
    """A document before it is read: a file, or a line of one."""

    external_id: str
    content_hash: str
    path: Path
    line: dict[str, Any] | None = None


def is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


class Sources:
    """Finds documents, and remembers files' hashes as long as these have neither another size nor another time."""

    def __init__(self, paths: Sequence[Path], principals: Sequence[str]):
        """Look at these paths. Who may read a document is part of what it is known by."""
        self._paths = paths
        self._salt = json.dumps(sorted(principals)).encode() if principals else b""
        self._hashes: dict[Path, tuple[tuple[int, int], str]] = {}

    def files(self) -> Iterator[tuple[Path, str]]:
        """Find files with their external ids: their names, or their paths in a folder; hidden ones are left out."""
        for path in self._paths:
            if path.is_dir():
                for file in sorted(path.rglob("*")):
                    inner = file.relative_to(path)
                    if file.is_file() and not any(part.startswith(".") for part in inner.parts):
                        yield file, inner.as_posix()
            else:
                yield path, path.name

    def state(self) -> dict[Path, tuple[int, int]]:
        """Return time and size of each file, by which it is seen that something changed."""
        found: dict[Path, tuple[int, int]] = {}
        for file, _ in self.files():
            try:
                told = file.stat()
            except FileNotFoundError:
                continue  # it went while it was looked for
            found[file] = (told.st_mtime_ns, told.st_size)
        return found

    def documents(self) -> list[Source]:
        """Find all documents. Raises ``InvalidRequest`` where a line is none, or two have one id."""
        return _distinct([source for file, external_id in self.files() for source in self._of(file, external_id)])

    def _of(self, path: Path, external_id: str) -> Iterator[Source]:
        if path.suffix.lower() == ".jsonl":
            yield from self._of_lines(path)
            return
        try:
            told = path.stat()
            signature = (told.st_mtime_ns, told.st_size)
            known = self._hashes.get(path)
            if known is None or known[0] != signature:
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256")
                digest.update(self._salt)
                known = self._hashes[path] = (signature, digest.hexdigest())
        except FileNotFoundError:
            return
        yield Source(external_id=external_id, content_hash=known[1], path=path)

    def _of_lines(self, path: Path) -> Iterator[Source]:
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
                content_hash = hashlib.sha256(line.strip() + self._salt).hexdigest()
                yield Source(external_id=str(external_id), content_hash=content_hash, path=path, line=told)


def _distinct(sources: list[Source]) -> list[Source]:
    """Hold that no two documents have one id."""
    seen: dict[str, Path] = {}
    for source in sources:
        if source.external_id in seen:
            where = f"in {seen[source.external_id]} and in {source.path}"
            raise InvalidRequest(
                f"Two documents have the id {source.external_id!r}: {where}. Name one folder above both."
            )
        seen[source.external_id] = source.path
    return sources
