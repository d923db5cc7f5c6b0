"""Tests of migrations."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from backstay.core.errors import ConfigError, StoreUnavailable
from backstay.store import Database, migrate
from backstay.store.migrate import read_migrations


@pytest.fixture
async def empty_url(postgres_url: str) -> AsyncIterator[str]:
    """The URL of a database without a schema."""
    name = f"empty_{uuid4().hex}"
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection:
        await connection.execute(SQL("create database {}").format(Identifier(name)))
        yield postgres_url.replace("/backstay?", f"/{name}?")
        await connection.execute(SQL("drop database {} with (force)").format(Identifier(name)))


async def run(url: str, statement: SQL) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(statement)


async def test_a_database_is_migrated_once(empty_url: str) -> None:
    """The first time applies every migration and makes the tenant ``default``; the second nothing."""
    names = [migration.name for migration in read_migrations()]
    assert names
    assert await migrate(empty_url) == names
    assert await migrate(empty_url) == []
    database = Database(empty_url)
    async with database.system() as connection:
        cursor = await connection.execute("select tenant_id from tenants")
        assert await cursor.fetchall() == [{"tenant_id": "default"}]
    await database.close()


async def test_processes_take_turns(empty_url: str) -> None:
    """Of several that start together, one applies each migration."""
    applied = await asyncio.gather(*(migrate(empty_url) for _ in range(4)))
    assert sorted(name for names in applied for name in names) == [item.name for item in read_migrations()]


async def test_a_changed_migration_is_refused(database_url: str) -> None:
    """A file that was changed after it was applied stops the start, and names itself."""
    await run(database_url, SQL("update schema_migrations set checksum = 'other' where name = '0001_foundation'"))
    with pytest.raises(ConfigError, match="0001_foundation was changed"):
        await migrate(database_url)


async def test_a_newer_database_is_refused(database_url: str) -> None:
    """Code that is older than the schema does not start on it."""
    await run(database_url, SQL("insert into schema_migrations (name, checksum) values ('9999_later', '')"))
    with pytest.raises(ConfigError, match="Upgrade Backstay"):
        await migrate(database_url)


async def test_a_failed_migration_leaves_nothing(empty_url: str) -> None:
    """A migration that fails halfway is rolled back whole, and can be tried again."""
    await run(empty_url, SQL("create table spans ()"))
    with pytest.raises(psycopg.errors.DuplicateTable):
        await migrate(empty_url)
    await run(empty_url, SQL("drop table spans"))
    assert await migrate(empty_url) == [item.name for item in read_migrations()]


async def test_the_roles_cannot_bypass_row_level_security(database: Database) -> None:
    """Neither role may log in, is a superuser, or is exempt from row-level security."""
    async with database.system() as connection:
        cursor = await connection.execute(
            "select rolname from pg_roles where rolname like 'backstay\\_%' "
            "and not (rolcanlogin or rolsuper or rolbypassrls or rolcreaterole or rolcreatedb) order by rolname"
        )
        assert [row["rolname"] for row in await cursor.fetchall()] == ["backstay_app", "backstay_system"]


async def test_a_user_without_rights_is_told_what_is_missing(empty_url: str) -> None:
    """Where the user may not make what a migration makes, the sentence says which rights to give."""
    await run(empty_url, SQL("create role weak"))
    try:
        with pytest.raises(ConfigError, match="must own"):
            await migrate(f"{empty_url}&options=-c%20role%3Dweak")
    finally:
        await run(empty_url, SQL("drop role weak"))


async def test_an_owner_who_is_no_superuser_can_migrate(empty_url: str) -> None:
    """The owner of a database who may create roles needs no more rights than that."""
    name = empty_url.rpartition("/")[2].partition("?")[0]
    await run(empty_url, SQL("create role owner_of_it createrole; alter role owner_of_it nosuperuser"))
    await run(empty_url, SQL("grant backstay_app, backstay_system to owner_of_it with admin option"))
    async with await psycopg.AsyncConnection.connect(empty_url, autocommit=True) as connection:
        await connection.execute(SQL("alter database {} owner to owner_of_it").format(Identifier(name)))
    try:
        url = f"{empty_url}&options=-c%20role%3Downer_of_it"
        assert await migrate(url) == [item.name for item in read_migrations()]
        assert await migrate(url) == []
    finally:
        await run(empty_url, SQL("drop owned by owner_of_it cascade"))
        await run(empty_url, SQL("reassign owned by owner_of_it to backstay; drop role owner_of_it"))


async def test_a_postgres_that_is_away_is_told_as_such() -> None:
    """Nothing listens there: the error says that Postgres cannot be reached."""
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await migrate("postgresql://somebody@127.0.0.1:1/none")


async def test_a_url_that_is_none_is_named_without_being_repeated():
    """Nonsense in BACKSTAY_DATABASE_URL is a sentence that says what it should look like."""
    with pytest.raises(ConfigError, match="must look like postgresql://") as caught:
        await migrate("no url: hunter2")
    assert "hunter2" not in str(caught.value)
