"""Owns the folders of journals: who holds one, and which were left behind by workers that died.

A folder belongs to whoever holds the lock on its file ``lock``. The kernel drops the lock when the process ends,
however it ends.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

Identity = tuple[int, int]
"""Device and inode of a folder."""

REJECTED = "rejected"
"""Folder beside the workers' own, of entries that Postgres does not take."""
_LEFT = "left-"
_OWNER = "owner"
_LOCK = "lock"
_SUFFIX = ".segment"


class Claim:
    """A journal folder that is ours alone, until ``release``."""

    def __init__(self, path: Path, handle: int):
        self.path = path
        self._handle = handle

    def set_aside(self) -> None:
        """Rename the folder, so that its name is free for a new journal. Does nothing the second time."""
        if not self.path.name.startswith(_LEFT):
            self.path = self.path.rename(self.path.with_name(f"{_LEFT}{time.time_ns()}-{self.path.name}"))

    def release(self) -> None:
        """Let go of the folder. Does nothing the second time."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path)


def claim(folder: Path, *, make: bool = False) -> Claim | None:
    """Take hold of a journal folder; ``None`` if another process holds it or it is no journal's folder.

    ``make`` makes it where it is missing. Only its owner may read it: journals hold what callers wrote.
    """
    if make:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        handle = os.open(folder / _LOCK, os.O_RDWR | (os.O_CREAT if make else 0), 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_in_place(handle, folder / _LOCK):
            return Claim(folder, handle)
    except OSError:
        pass  # another holds it, or it has just been renamed or deleted
    os.close(handle)
    return None


def is_left(root: Path, name: str) -> bool:
    """Tell whether a journal of that name was set aside and is not shipped to its end."""
    return any(root.glob(f"{_LEFT}*-{name}"))


class OpenFolder:
    """A journal's folder that stays at hand whatever it is renamed to: its owner's successor sets it aside.

    ``path`` leads to it by a handle and not by its name; ``identity`` is the same as long as it is open.
    """

    def __init__(self, path: Path):
        """Open a folder. Raises ``OSError`` if that cannot be done."""
        self._handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        self.path = Path(f"/proc/self/fd/{self._handle}")
        self.identity = _identity(os.fstat(self._handle))

    def claim(self) -> Claim | None:
        """Take hold of it; ``None`` while its owner lives."""
        held = claim(self.path)
        if held is not None:
            held.path = self.path.readlink()  # what it is called now: whoever renames it must hold it
        return held

    def close(self) -> None:
        os.close(self._handle)


def journals(root: Path) -> Iterator[tuple[Identity, Path]]:
    """Go through the folders under ``root`` that may hold a journal."""
    with suppress(FileNotFoundError), os.scandir(root) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # it was renamed meanwhile: the next look finds it
                if entry.name != REJECTED and entry.is_dir():
                    yield _identity(entry.stat()), Path(entry.path)


def write_owner(folder: Path, owner: str) -> None:
    """Note whose journal a folder holds. Raises ``OSError`` if that cannot be done."""
    (folder / _OWNER).write_text(owner)


def read_owner(folder: Path) -> str | None:
    """Tell whose journal a folder holds; ``None`` for one of an earlier version, which noted it nowhere."""
    try:
        return (folder / _OWNER).read_text() or None
    except FileNotFoundError:
        return None


def segment_path(folder: Path, number: int) -> Path:
    """Return the path of a segment, a file of frames."""
    return folder / f"{number:08d}{_SUFFIX}"


def segment_numbers(folder: Path) -> list[int]:
    """Return the numbers of a folder's segments, in order."""
    return sorted(int(path.stem) for path in folder.glob(f"*{_SUFFIX}") if path.stem.isdigit())


def _is_in_place(handle: int, path: Path) -> bool:
    return _identity(os.fstat(handle)) == _identity(os.stat(path))


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino
