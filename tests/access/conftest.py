"""Owns what the tests of access share: a clock that is set by hand, and callers of each kind."""

import time
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from backstay.access import AuditLog, KeyRing, Keys, People, Sessions
from backstay.access.types import ROLE_RIGHTS, Role
from backstay.core.caller import RIGHTS, Caller
from backstay.store import Database


class HandClock:
    """Moves only by hand. It begins at the real time, since Postgres keeps its own."""

    def __init__(self) -> None:
        self._now_ns = time.time_ns()

    def now_ns(self) -> int:
        return self._now_ns

    def monotonic_ns(self) -> int:
        return self._now_ns

    def advance(self, seconds: float) -> None:
        self._now_ns += int(seconds * 1e9)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def advance(clock: HandClock) -> Callable[[float], None]:
    """Let so many seconds pass on the clock."""
    return clock.advance


@pytest.fixture
def secret() -> bytes:
    """The installation's secret."""
    return bytes(range(32))


@pytest.fixture
def keys(database: Database, secret: bytes, clock: HandClock) -> Keys:
    return Keys(database, secret, clock)


@pytest.fixture
async def ring(database: Database, secret: bytes, clock: HandClock) -> AsyncIterator[KeyRing]:
    """A key ring that has not begun to follow."""
    ring = KeyRing(database, secret, clock)
    yield ring
    await ring.stop()


@pytest.fixture
def people(database: Database, secret: bytes) -> People:
    return People(database, secret, public_url="https://backstay.example/")


@pytest.fixture
def sessions(database: Database, secret: bytes, clock: HandClock) -> Sessions:
    return Sessions(database, secret, clock)


@pytest.fixture
def audit(database: Database) -> AuditLog:
    return AuditLog(database)


@pytest.fixture
def operator() -> Caller:
    """The operator, at work on the tenant ``acme``."""
    return Caller(tenant_id="acme", kind="operator", id="operator", name="operator", rights=frozenset(RIGHTS))


@pytest.fixture
def as_role() -> Callable[[Role], Caller]:
    """Make a caller of a role, in ``acme``."""

    def make(role: Role) -> Caller:
        return Caller(tenant_id="acme", kind="person", id=f"per_{role}", name=role, rights=ROLE_RIGHTS[role], role=role)

    return make


@pytest.fixture
def take_away(postgres_url: str, database_url: str) -> Callable[[], None]:
    """Cut every connection to the test's database and let nobody in again."""

    def cut() -> None:
        name = urlsplit(database_url).path[1:]
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(SQL("alter database {} allow_connections false").format(Identifier(name)))
            connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])

    return cut
