"""Owns the data folder of an installation: its lock, its version, its secrets, and the note of where its server is."""

import asyncio
import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from backstay.core.errors import ConfigError, Conflict

LAYOUT = 1
"""Version of the folder's layout: raised when an older Backstay could not read what a newer one has written."""

_JOIN_S = 10.0
"""How long another process may take to make a new folder."""

LEAST_FREE_BYTES = 64 * 1024 * 1024

OPERATOR_TOKEN = "operator-token"
SECRET = "secret"
RUN_FILE = "run.json"
POLICY_IN_FORCE = "policy-in-force.toml"


class RunningServer(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server of a data folder is: ``pid`` of its supervisor, ``url`` for callers on this machine."""

    pid: int
    url: str
    version: str


class DataFolder:
    """A data folder that this process holds alone, with its secrets made."""

    def __init__(self, path: Path):
        self.path = path

    def announce(self, server: RunningServer) -> None:
        """Write down where the server is, for commands on this machine."""
        write_private(self.path / RUN_FILE, msgspec.json.encode(server))

    def retract(self) -> None:
        (self.path / RUN_FILE).unlink(missing_ok=True)


@contextmanager
def open_data_folder(path: Path) -> Generator[DataFolder]:
    """Make the folder where it is missing, lock it, check its version, and make its secrets.

    Raises:
        Conflict: Another Backstay holds it.
        ConfigError: It cannot be written, its disk is full, or another version of Backstay made it.
    """
    with _explained(path):
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(lock, path)
        _check_room(path)
        with _explained(path):
            _check_layout(path)
            for name, make in ((OPERATOR_TOKEN, _new_operator_token), (SECRET, _new_secret)):
                if not (path / name).exists():
                    write_private(path / name, make().encode())
        yield DataFolder(path)
    finally:
        os.close(lock)


async def join_data_folder(path: Path) -> None:
    """Make the folder fit to be used beside the server that may hold it: its version checked, its secrets made.

    Raises:
        ConfigError: As of ``open_data_folder``.
        Conflict: Another process is making it, and takes too long.
    """
    give_up = asyncio.get_running_loop().time() + _JOIN_S
    while not all((path / name).exists() for name in ("VERSION", OPERATOR_TOKEN, SECRET)):
        try:
            with open_data_folder(path):
                return
        except Conflict:
            if asyncio.get_running_loop().time() > give_up:
                raise
            await asyncio.sleep(0.02)
    with _explained(path):
        _check_layout(path)


def is_held(path: Path) -> bool:
    """Return whether a server holds this data folder."""
    try:
        lock = os.open(path / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def running_server(path: Path) -> RunningServer | None:
    """Read where the server of this data folder is; ``None`` if none runs there."""
    try:
        server = msgspec.json.decode((path / RUN_FILE).read_bytes(), type=RunningServer)
        os.kill(server.pid, 0)
    except (OSError, msgspec.MsgspecError):
        return None
    return server


def read_operator_token(path: Path) -> str | None:
    """Read the credential of the command line on this machine; ``None`` where this user has none."""
    try:
        return (path / OPERATOR_TOKEN).read_text().strip()
    except OSError:
        return None


def read_secret(path: Path) -> bytes:
    """Read the key of this installation's keyed hashes: 32 bytes.

    Raises:
        ConfigError: It is missing or damaged.
    """
    try:
        secret = bytes.fromhex((path / SECRET).read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"The installation's secret cannot be read: {error}.", file=str(path / SECRET)) from error
    if len(secret) != 32:
        raise ConfigError("The installation's secret is damaged: restore it from a backup.", file=str(path / SECRET))
    return secret


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _new_operator_token() -> str:
    return "bs_operator_" + secrets.token_urlsafe(32)


def _new_secret() -> str:
    return secrets.token_hex(32)


def _lock(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        server = running_server(path)
        where = f" ({server.url}, pid {server.pid})" if server else ""
        advice = f"Stop it with `kill {server.pid}`" if server else "Stop it"
        raise Conflict(
            f"Backstay already runs on the data folder {path}{where}. {advice}, or choose another one with --data-dir."
        ) from error


def _check_room(path: Path) -> None:
    free = shutil.disk_usage(path).free
    if free < LEAST_FREE_BYTES:
        raise ConfigError(
            f"The disk of {path} is full: {free // 2**20} MiB are left, Backstay needs {LEAST_FREE_BYTES // 2**20}. "
            "Free some space, or choose a folder on another disk with --data-dir."
        )


def _check_layout(path: Path) -> None:
    file = path / "VERSION"
    if not file.exists():
        write_private(file, f"{LAYOUT}\n".encode())
        return
    found = file.read_text().strip()
    if not found.isdecimal():
        raise ConfigError("This is not the version file of a Backstay data folder: remove it.", file=str(file))
    if int(found) != LAYOUT:
        maker = "a newer" if int(found) > LAYOUT else "an older"
        raise ConfigError(
            f"The data folder {path} was made by {maker} Backstay (layout {found}; this one reads {LAYOUT}). "
            "Install the Backstay that fits, or choose another folder with --data-dir."
        )


@contextmanager
def _explained(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise ConfigError(f"The disk of {path} is full. Free some space, or choose another --data-dir.") from error
        raise ConfigError(
            f"The data folder {path} cannot be used: {error.strerror}. Choose another one with --data-dir."
        ) from error
