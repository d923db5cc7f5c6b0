"""Owns what a command line names as documents: files, folders, lines of a file, and addresses."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from backstay.core.errors import InvalidRequest


@dataclass(frozen=True)
class Source:
    """A document before it is read: a file, or a line of one."""

    external_id: str
    content_hash: str
    path: Path
    line: dict[str, Any] | None = None


class Problem(TypedDict):
    """A file that cannot be taken, and what to do."""

    external_id: str
    problem: str


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NO_UTF8 = re.compile(r"[\ud800-\udfff]")
"""As Python has the bytes of names that are no UTF-8. Source: PEP 383."""
_LONGEST_ID = 1000

Note = Callable[[str, str], None]
"""Is told of what cannot be taken: what, and why with what to do."""


def _forget(name: str, reason: str) -> None:
    """Tell nobody."""


def is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))


class Sources:
    """Finds documents, and remembers files' hashes as long as these have neither another size nor another time."""

    def __init__(self, paths: Sequence[Path], principals: Sequence[str]):
        """Look at these paths. Who may read a document is part of what it is known by."""
        self.left_out: list[Problem] = []
        """What the last look found and could not take, with the reason."""
        self._paths = paths
        self._salt = json.dumps(sorted(principals)).encode() if principals else b""
        self._hashes: dict[Path, tuple[tuple[int, int], str]] = {}

    def files(self, note: Note = _forget) -> Iterator[tuple[Path, str]]:
        """Find files with their external ids: their names, or their paths in a folder; hidden ones are left out.

        ``note`` is told of folders and links that lead nowhere. Links to folders are not followed.
        """
        for path in self._paths:
            if not path.is_dir():
                yield path, path.name
                continue
            for folder, inner, names in os.walk(path, onerror=lambda error: note(str(error.filename), _reason(error))):
                inner[:] = sorted(name for name in inner if not name.startswith("."))
                for file in (Path(folder, name) for name in sorted(names) if not name.startswith(".")):
                    if file.is_symlink() and not file.exists():
                        note(
                            file.relative_to(path).as_posix(), "is a link that leads nowhere. Mend it, or take it away."
                        )
                    elif not file.exists() or file.is_file():
                        yield file, file.relative_to(path).as_posix()

    def state(self) -> dict[Path, tuple[int, int]]:
        """Return time and size of each file, by which it is seen that something changed."""
        found: dict[Path, tuple[int, int]] = {}
        for file, _ in self.files():
            try:
                told = file.stat()
            except OSError:
                continue  # it went while it was looked for, or may not be read
            found[file] = (told.st_mtime_ns, told.st_size)
        return found

    def documents(self) -> list[Source]:
        """Find all documents. Raises ``InvalidRequest`` where a line is none, or two have one id."""
        self.left_out = []
        return _distinct(list(self._documents()))

    def _documents(self) -> Iterator[Source]:
        for file, external_id in self.files(self._note):
            is_lines = file.suffix.lower() == ".jsonl"
            if not is_lines and (fault := fault_of_name(external_id)):
                self._note(external_id, fault)
                continue
            try:
                yield from self._of_lines(file) if is_lines else self._of(file, external_id)
            except FileNotFoundError:
                continue  # it went while it was looked for
            except OSError as error:
                self._note(external_id, _reason(error))

    def _note(self, external_id: str, reason: str) -> None:
        shown = speakable(external_id)
        self.left_out.append({"external_id": shown, "problem": f"{shown} {reason}"})

    def _of(self, path: Path, external_id: str) -> Iterator[Source]:
        told = path.stat()
        signature = (told.st_mtime_ns, told.st_size)
        known = self._hashes.get(path)
        if known is None or known[0] != signature:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256")
            digest.update(self._salt)
            known = self._hashes[path] = (signature, digest.hexdigest())
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


def fault_of_name(external_id: str) -> str | None:
    """Say why a file's name cannot be a document's id; ``None``: it can."""
    if _NO_UTF8.search(external_id):
        return "has a name that is not UTF-8. Rename it, and ingest it again."
    if _CONTROL.search(external_id):
        return "has a line break or another control character in its name. Rename it, and ingest it again."
    if external_id != external_id.strip():
        return "has a blank at the beginning or end of its name. Rename it, and ingest it again."
    if len(external_id) > _LONGEST_ID:
        return f"has a path of {len(external_id)} characters, and {_LONGEST_ID} is the most. Shorten it."
    return None


def speakable(name: str) -> str:
    """Return a name with U+FFFD in the place of what is no text, or cannot be shown."""
    return _CONTROL.sub("\ufffd", _NO_UTF8.sub("\ufffd", name))


def _reason(error: OSError) -> str:
    return f"cannot be read: {error.strerror}. Get the right to read it, or leave it out."


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
