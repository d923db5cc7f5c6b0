"""Owns the schema's history: forward-only migrations, each applied once, in order, in a transaction of its own."""

import hashlib
import re
from importlib.resources import files
from typing import LiteralString, cast

import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row

from backstay.core.errors import ConfigError, StoreUnavailable
from backstay.store.pool import Connection
from backstay.store.queries import load_queries

_FILE = re.compile(r"^\d{4}_[a-z0-9_]+\.sql$")
_OLDEST_SERVER = 160000
_CONNECT_S = 10


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the schema. ``checksum``: SHA-256 of its text, hexadecimal."""

    name: str
    text: LiteralString
    checksum: str


def read_migrations() -> list[Migration]:
    """Read the migrations that this code brings, in order."""
    folder = files("backstay.store").joinpath("migrations")
    texts = {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir() if _FILE.match(file.name)}
    return [
        Migration(
            name=name.removesuffix(".sql"),
            text=cast(LiteralString, text),
            checksum=hashlib.sha256(text.encode()).hexdigest(),
        )
        for name, text in sorted(texts.items())
    ]


async def migrate(url: str) -> list[str]:
    """Bring a database's schema up to this code and return the names of what was applied now.

    Processes that start together take turns. A worker of an older version that runs already goes on meanwhile.

    Raises:
        ConfigError: The URL is none, the server is too old, the user has too few rights, a file was changed after it
            was applied, or the database was migrated by a newer Backstay. What was applied before stays applied.
        StoreUnavailable: Postgres does not answer.
    """
    queries = load_queries("backstay.store", "migrate.sql")
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:  # its text repeats the URL, which may hold a password
        raise ConfigError("BACKSTAY_DATABASE_URL must look like postgresql://user:password@host/database.") from None
    try:
        async with await Connection.connect(
            url, autocommit=True, row_factory=dict_row, connect_timeout=_CONNECT_S
        ) as connection:
            if connection.info.server_version < _OLDEST_SERVER:
                raise ConfigError("Backstay needs PostgreSQL 16 or newer. Upgrade the server, or use the embedded one.")
            await connection.execute(queries["lock"])
            return await _apply(connection, queries, read_migrations())
    except psycopg.errors.InsufficientPrivilege as error:
        raise ConfigError(
            f"Postgres refused a migration: {error.diag.message_primary}. The user of BACKSTAY_DATABASE_URL must own "
            "the database and be allowed to create roles: `alter role … createrole; alter database … owner to …`."
        ) from error
    except psycopg.OperationalError as error:
        raise StoreUnavailable(f"Postgres cannot be reached to migrate it: {error}") from error


async def _apply(
    connection: Connection,
    queries: dict[str, LiteralString],
    migrations: list[Migration],
) -> list[str]:
    await connection.execute(queries["prepare"])
    cursor = await connection.execute(queries["applied"])
    applied = {row["name"]: row["checksum"] for row in await cursor.fetchall()}
    _refuse_foreign(applied, migrations)
    missing = [migration for migration in migrations if migration.name not in applied]
    for migration in missing:
        async with connection.transaction():
            await connection.execute(migration.text)
            await connection.execute(queries["record"], {"name": migration.name, "checksum": migration.checksum})
    await connection.execute(queries["finish"])
    return [migration.name for migration in missing]


def _refuse_foreign(applied: dict[str, str], migrations: list[Migration]) -> None:
    ours = {migration.name: migration.checksum for migration in migrations}
    for name, checksum in applied.items():
        if name not in ours:
            raise ConfigError(
                f"The database has the migration {name}, which is newer than this code. Upgrade Backstay."
            )
        if ours[name] != checksum:
            raise ConfigError(
                f"The migration {name} was changed after it was applied to this database. Restore the file as it was, "
                "and put the change into a new migration."
            )
