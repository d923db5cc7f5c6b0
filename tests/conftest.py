"""Owns what all tests share: a real Postgres, a fresh database for each test, and a closed network."""

import asyncio
import gc
import ipaddress
import os
import shutil
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, LiteralString, cast
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from hypothesis import settings

from backstay.store import Database, EmbeddedPostgres, migrate

# No deadlines: how long an example takes says more about the machine than about the code.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("other", print_blob=True, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
"""The same examples every time, so that a failure is its change's own; ``make fuzz`` looks for others."""

gc.disable()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse tests of one name, of which pytest-xdist would run a single one; look for garbage only in what tests make.

    Collection makes millions of objects that stay to the end. To walk them while they are made, and again with every
    look for garbage later, takes a good part of a session's time.
    """
    gc.freeze()
    gc.enable()
    names = Counter(item.nodeid for item in session.items)
    if twice := [name for name, tests in names.items() if tests > 1]:
        raise pytest.UsageError(f"several tests have the name of another: {', '.join(twice)}")


_TEMPLATE = "backstay_template"
_MEMORY = Path("/dev/shm")
"""Copying a database there takes a tenth of the time that it takes on a disk."""
_MEMORY_BYTES = 2 * 1024**3


@pytest.fixture(scope="session")
def new_data_dir() -> Iterator[Callable[[], Path]]:
    """Make data folders that an embedded server can live in; they are gone after the session.

    They are not pytest's own: another session of the same user closes those to all others, the server's account too.
    """
    base = _MEMORY if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _MEMORY_BYTES else None
    with ExitStack() as folders:
        yield lambda: Path(folders.enter_context(TemporaryDirectory(prefix="backstay-", dir=base)))


@pytest.fixture(scope="session")
def postgres_url(new_data_dir: Callable[[], Path]) -> Iterator[str]:
    """The URL of an embedded server that lives as long as the session; its database is not migrated."""
    server = EmbeddedPostgres(new_data_dir())
    url = asyncio.run(server.start())
    try:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("alter system set fsync = off")
            connection.execute("select pg_reload_conf()")
        yield url
    finally:
        asyncio.run(server.stop())


@pytest.fixture(scope="session")
def template_database(postgres_url: str) -> str:
    """The name of a migrated database that others are cloned from."""
    _execute(postgres_url, f"create database {_TEMPLATE}")
    asyncio.run(migrate(_with_database(postgres_url, _TEMPLATE)))
    return _TEMPLATE


@pytest.fixture(scope="session")
def _database_names() -> Iterator[str]:
    return (f"test_{number}" for number in count(1))


@pytest.fixture
def database_url(postgres_url: str, template_database: str, _database_names: Iterator[str]) -> Iterator[str]:
    """The URL of a fresh, migrated database, dropped after the test."""
    name = next(_database_names)
    _execute(postgres_url, f"create database {name} template {template_database}")
    yield _with_database(postgres_url, name)
    _execute(postgres_url, f"drop database {name} with (force)")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A fresh, migrated database, open."""
    database = Database(database_url)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def tenant(database: Database) -> str:
    """The tenant ``acme``, beside ``default``."""
    async with database.system() as connection:
        await connection.execute("insert into tenants (tenant_id) values ('acme')")
    return "acme"


def _execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(cast(LiteralString, statement))


def _with_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


class _Network:
    """Refuses each connection of this process that leaves the machine, and remembers it."""

    def __init__(self) -> None:
        self.refused: list[str] = []

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.sendto") and not _is_here(arguments[1]):
            self._refuse(arguments[1])
        elif event == "socket.getaddrinfo" and not _is_here((arguments[0], arguments[1])):
            self._refuse(arguments[0])

    def _refuse(self, address: object) -> None:
        self.refused.append(repr(address))
        raise PermissionError(f"tests stay on this machine, and this goes to {address!r}")


def _is_here(address: object) -> bool:
    if not isinstance(address, tuple):
        return True  # the path of a unix socket
    host: object = cast(tuple[object, ...], address)[0]
    if isinstance(host, bytes):
        host = host.decode()
    if not host or host == "localhost":
        return True
    try:
        parsed = ipaddress.ip_address(str(host).partition("%")[0])
    except ValueError:
        return False
    return parsed.is_loopback or parsed.is_unspecified


@pytest.fixture(scope="session")
def _network() -> _Network:
    network = _Network()
    sys.addaudithook(network.audit)
    return network


@pytest.fixture(autouse=True)
def closed_network(_network: _Network) -> Iterator[None]:
    """Fail a test that tries to reach another machine, even where the code under test swallows the refusal."""
    _network.refused.clear()
    yield
    assert _network.refused == []


@pytest.fixture
def journal_root(tmp_path: Path) -> Path:
    """The folder of the workers' journals."""
    return tmp_path / "journal"
