"""Owns a large ledger for reports to read: ten million entries of ninety days that Postgres makes, with their sums."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from backstay.ledger.sealing import seal_due
from backstay.store import Database, EmbeddedPostgres, load_queries, migrate
from bench.machine import BenchError

DAYS = 90
_QUERIES = load_queries("bench", "ledger.sql")


async def fill_ledger(data_dir: Path, entries: int) -> None:
    """Fill a data folder's ledger through the triggers that keep its sums, unless it is full already.

    Raises ``BenchError`` if the sums are not what the entries add up to.
    """
    server = EmbeddedPostgres(data_dir)
    url = await server.start()
    try:
        await migrate(url)
        database = Database(url)
        async with database.system(timeout_s=600) as connection:
            found = await (await connection.execute(_QUERIES["count"])).fetchall()
        if found[0]["entries"] < entries:
            await _make(url, database, entries)
        await seal_due(database)
        await _compare(database)
        await database.close()
    finally:
        await server.stop()


async def _make(url: str, database: Database, entries: int) -> None:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    calls = -(-entries // DAYS)  # two in a hundred have two entries, so that there are rather more than asked for
    async with database.system() as connection:
        await connection.execute(_QUERIES["tenants"])
    for day in range(DAYS):
        since = midnight - timedelta(days=DAYS - 1 - day)
        window = {"since": since, "until": min(since + timedelta(days=1), datetime.now(UTC))}
        async with database.system(timeout_s=3600) as connection:
            await connection.execute(_QUERIES["hurry"])
            await connection.execute(_QUERIES["partitions"], window)
            await connection.execute(_QUERIES["entries"], {**window, "first": 1 + day * calls, "calls": calls})
        print(f"  {(day + 1) * calls:,} of {entries:,} calls", file=sys.stderr, flush=True)
    await _spend_budgets(database, midnight)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(_QUERIES["settle"])


async def _spend_budgets(database: Database, midnight: datetime) -> None:
    """Charge what calls cost to budgets, through the trigger that keeps their burns."""
    async with database.system(timeout_s=3600) as connection:
        await connection.execute(_QUERIES["hurry"])
        await connection.execute(_QUERIES["partitions"], {"since": midnight, "until": datetime.now(UTC)})
        for query in ("budgets", "windows", "opened", "allotments"):
            await connection.execute(_QUERIES[query])
    for day in range(DAYS):
        since = midnight - timedelta(days=DAYS - 1 - day)
        async with database.system(timeout_s=3600) as connection:
            await connection.execute(_QUERIES["hurry"])
            await connection.execute(_QUERIES["charges"], {"since": since, "until": since + timedelta(days=1)})
    print("  three budgets were charged", file=sys.stderr, flush=True)


async def _compare(database: Database) -> None:
    async with database.system(timeout_s=3600) as connection:
        rows = await (await connection.execute(_QUERIES["sums"])).fetchall()
    for row in rows:
        if row.pop("differing"):
            raise BenchError(f"Sums are not what the ledger adds up to: {row}")
