"""Tests of transactions, isolation between tenants, and notifications."""

import asyncio
import time
from collections.abc import Callable

import psycopg
import pytest

from backstay.core.errors import StoreUnavailable
from backstay.store import Database
from backstay.store.database import is_about_data

AUDIT = "insert into audit_log (tenant_id, actor, action, subject) values (%s, 'test', 'look', 'nothing')"


async def tenants_seen(database: Database, tenant_id: str) -> list[str]:
    async with database.tenant(tenant_id) as connection:
        cursor = await connection.execute("select tenant_id from tenants order by tenant_id")
        return [row["tenant_id"] for row in await cursor.fetchall()]


async def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_tenant_sees_its_own_rows(database: Database, tenant: str) -> None:
    """Without any where clause, a tenant's transaction sees its own rows only, and an unknown tenant's none."""
    assert await tenants_seen(database, tenant) == ["acme"]
    assert await tenants_seen(database, "default") == ["default"]
    assert await tenants_seen(database, "nobody") == []
    assert await tenants_seen(database, "") == []
    assert await tenants_seen(database, "' or true --\\") == []


async def test_the_system_sees_all_tenants(database: Database, tenant: str) -> None:
    """A system transaction sees every tenant's rows."""
    async with database.system() as connection:
        cursor = await connection.execute("select count(*) as count from tenants")
        assert await cursor.fetchall() == [{"count": 2}]


@pytest.mark.parametrize("table", ["tenants", "keys", "people", "login_links", "sessions", "audit_log"])
async def test_each_table_is_bound(database: Database, tenant: str, table: str) -> None:
    """Each table of state has row-level security that binds its owner too."""
    async with database.system() as connection:
        cursor = await connection.execute(
            "select relrowsecurity and relforcerowsecurity as bound from pg_class where relname = %s", (table,)
        )
        assert await cursor.fetchall() == [{"bound": True}]


async def test_a_tenant_cannot_write_for_another(database: Database, tenant: str) -> None:
    """A row of another tenant is refused, and nothing of the transaction stays."""
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with database.tenant(tenant) as connection:
            await connection.execute(AUDIT, (tenant,))
            await connection.execute(AUDIT, ("default",))
    async with database.system() as connection:
        cursor = await connection.execute("select count(*) as count from audit_log")
        assert await cursor.fetchall() == [{"count": 0}]


async def test_a_tenant_cannot_read_partitions_directly(database: Database, tenant: str) -> None:
    """A partition by its own name, where no policy stands, is closed to the app role."""
    async with database.system() as connection:
        await connection.execute("select ensure_partitions('2026-01-02')")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with database.tenant(tenant) as connection:
            await connection.execute("select * from spans_20260102")


async def test_role_and_tenant_end_with_the_transaction(database_url: str) -> None:
    """The next user of a connection inherits neither role nor tenant of the one before."""
    database = Database(database_url, max_connections=1)
    for _ in range(12):  # more often than the driver waits before it prepares a statement
        assert await tenants_seen(database, "default") == ["default"]
        assert await tenants_seen(database, "other") == []
        async with database.system() as connection:
            cursor = await connection.execute("select current_user::text as name, backstay_tenant() as tenant")
            assert await cursor.fetchall() == [{"name": "backstay_system", "tenant": None}]
    await database.close()


async def test_an_error_rolls_back(database: Database) -> None:
    """What a failed transaction wrote is gone, and the connection is good for the next."""
    with pytest.raises(RuntimeError):
        async with database.tenant("default") as connection:
            await connection.execute(AUDIT, ("default",))
            raise RuntimeError
    async with database.tenant("default") as connection:
        cursor = await connection.execute("select count(*) as count from audit_log")
        assert await cursor.fetchall() == [{"count": 0}]


async def test_a_swallowed_error_does_not_pass_for_a_commit(database: Database) -> None:
    """Postgres turns the commit of a failed transaction into a rollback; the caller gets an error instead."""
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        async with database.system() as connection:
            with pytest.raises(psycopg.errors.UndefinedTable):
                await connection.execute("select * from nowhere")


async def test_a_part_of_a_transaction_can_fail_alone(database: Database) -> None:
    """A savepoint keeps what was written before it."""
    async with database.tenant("default") as connection:
        await connection.execute(AUDIT, ("default",))
        with pytest.raises(psycopg.errors.UndefinedTable):
            async with connection.transaction():
                await connection.execute("select * from nowhere")
    async with database.tenant("default") as connection:
        cursor = await connection.execute("select count(*) as count from audit_log")
        assert await cursor.fetchall() == [{"count": 1}]


async def test_connections_are_bounded(database_url: str) -> None:
    """When all connections are busy, the next caller waits as long as it said, and then hears of it."""
    database = Database(database_url, max_connections=1)
    async with database.system():
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="busy"):
            async with database.system(timeout_s=0.2):
                pass
        assert 0.15 < time.monotonic() - began < 1.0
    assert await database.is_ready()
    await database.close()


async def test_a_slow_query_ends(database: Database) -> None:
    """A query that takes longer than the transaction may is stopped by the server, and told as such."""
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"within 0\.5 s"):
        async with database.system(timeout_s=0.5) as connection:
            await connection.execute("select pg_sleep(30)")
    assert time.monotonic() - began < 2.0


async def test_a_full_disk_is_told(database: Database) -> None:
    """With what to do; it is no fault of what was asked."""
    with pytest.raises(StoreUnavailable, match=r"The disk of Postgres is full, .* Make room"):
        async with database.system() as connection:
            await connection.execute("do $$ begin raise exception 'no space' using errcode = 'disk_full'; end $$")


async def test_a_cancelled_caller_gives_its_connection_back(database_url: str) -> None:
    """A task that is cancelled within a query holds nothing: the only connection serves the next."""
    database = Database(database_url, max_connections=1)

    async def sleep() -> None:
        async with database.system() as connection:
            await connection.execute("select pg_sleep(30)")

    task = asyncio.create_task(sleep())
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await database.is_ready()
    await database.close()


async def test_a_connection_that_died_is_replaced(database_url: str) -> None:
    """A free connection that the server has closed costs the next caller nothing but a moment."""
    database = Database(database_url, max_connections=1)
    await database.open()
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as other:
        await other.execute(
            "select pg_terminate_backend(pid, 1000) from pg_stat_activity "
            "where pid <> pg_backend_pid() and datname = current_database()"
        )
    assert await tenants_seen(database, "default") == ["default"]
    await database.close()


async def test_a_connection_that_dies_in_use_is_unavailability(database: Database) -> None:
    """A connection lost within a transaction is told as a store that is unavailable."""
    with pytest.raises(StoreUnavailable):
        async with database.system() as connection:
            await connection.execute("select set_config('role', 'none', true)")
            await connection.execute("select pg_terminate_backend(pg_backend_pid())")
    assert await database.is_ready()


async def test_nothing_listens_there() -> None:
    """A Postgres that refuses is known at once, not after a time-out; ``open`` raises, ``is_ready`` says no."""
    database = Database("postgresql://somebody@127.0.0.1:1/none")
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await database.open()
    assert not await database.is_ready()
    assert time.monotonic() - began < 2.0
    await database.close()


async def test_notifications_arrive(database: Database, database_url: str) -> None:
    """A listener hears what is sent after it has begun, and after a lost connection it is told to read anew."""
    heard: list[str] = []
    gaps: list[float] = []
    database.listen("news", heard.append, on_gap=lambda: gaps.append(time.monotonic()))
    await until(lambda: len(gaps) == 1)
    async with database.system() as connection:
        await connection.execute("notify news, 'first'")
    await until(lambda: heard == ["first"])
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as other:
        await other.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'backstay listen'"
        )
    await until(lambda: len(gaps) == 2)
    async with database.system() as connection:
        await connection.execute("notify news, 'second'")
    await until(lambda: heard == ["first", "second"])


async def test_a_faulty_listener_is_told_and_goes_on(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """A callback that raises does not end listening: the fault is logged and it begins anew."""
    heard: list[str] = []
    gaps: list[str] = []

    def hear(payload: str) -> None:
        if payload == "bad":
            raise ValueError(payload)
        heard.append(payload)

    database.listen("news", hear, on_gap=lambda: gaps.append("gap"))
    await until(lambda: len(gaps) == 1)
    for payload, rounds in (("bad", 2), ("good", 2)):
        async with database.system() as connection:
            await connection.execute("select pg_notify('news', %s)", (payload,))
        await until(lambda rounds=rounds: len(gaps) == rounds)
    await until(lambda: heard == ["good"])
    assert "a listener to news failed" in caplog.text


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (psycopg.errors.InvalidTextRepresentation(), True),
        (psycopg.errors.CheckViolation(), True),
        (psycopg.errors.ProgramLimitExceeded(), True),
        (psycopg.errors.StatementTooComplex(), True),
        (psycopg.errors.UndefinedTable(), False),
        (psycopg.errors.AdminShutdown(), False),
        (psycopg.errors.DiskFull(), False),
        (psycopg.OperationalError("connection lost"), False),
    ],
)
def test_errors_about_data_are_told_from_outages(error: psycopg.Error, expected: bool) -> None:
    """Only what would fail again with the same data counts as a fault of the data."""
    assert is_about_data(error) == expected
