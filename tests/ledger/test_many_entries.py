"""What an export holds in memory does not grow with the ledger, and reports by user are exact whatever they skip."""

import importlib
import io
import json
import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backstay.ledger import LedgerStore
from backstay.ledger.export import Format, LedgerExport
from backstay.store import Database

parquet: Any = importlib.import_module("pyarrow.parquet")
"""It has no types."""

AT = datetime(2026, 11, 20, 9, tzinfo=UTC)
WINDOW: dict[str, Any] = {"since": AT, "until": AT + timedelta(hours=1)}
FEW, MANY = 5_000, 35_000
BLOCK_BYTES = {"csv": 256 * 1024, "focus": 256 * 1024, "parquet": 8 * 1024 * 1024}
"""Of what Postgres writes, of which each block that is passed on is made."""
ROW_BYTES = 2_000
LINES = json.dumps(
    [
        {"unit": unit, "quantity": 100, "usd_per_million": "0.15", "amount_nanousd": 15_000}
        for unit in ("input_mtok", "cache_read_mtok", "output_mtok", "output_reasoning_mtok")
    ]
)


async def fill(database: Database, tenant_id: str, entries: int) -> None:
    """Make entries of less than an hour, of sixty users whose costs fall with their number, one of them unnamed."""
    async with database.system(timeout_s=60) as connection:
        await connection.execute("select ensure_partitions(%s::date)", [AT])
        await connection.execute(
            """
            insert into ledger_entries (tenant_id, at, call_id, attempt, trace_id, user_id, model, target, input_tokens,
                                        output_tokens, cost_nanousd, lines)
            select %s, %s::timestamptz + number * interval '50 milliseconds', lpad(to_hex(number), 16, '0'), 0,
                   md5(number::text), nullif('u-' || number %% 60, 'u-3'), 'model-' || number / 60 %% 2, 'acme/model',
                   100, 10, 1000000 / (1 + number %% 60), %s
            from generate_series(1, %s) as number
            """,
            [tenant_id, AT, LINES, entries],
        )


async def read_export(database: Database, form: Format) -> tuple[list[int], int]:
    """Read an export to its end: the lengths of its blocks, and the most bytes of Python's that were held at once."""
    blocks = await LedgerExport(database).stream("acme", form, **WINDOW)
    tracemalloc.start()
    try:
        lengths = [len(block) async for block in blocks]
        return lengths, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", ["csv", "focus", "parquet"])
async def test_an_export_holds_no_more_of_a_longer_ledger(database: Database, tenant: str, form: Format) -> None:
    """It is passed on in blocks of one size: ten times the rows are more blocks, and held are some of them at most."""
    bound = BLOCK_BYTES[form] + ROW_BYTES
    await fill(database, tenant, MANY)
    lengths, held_bytes = await read_export(database, form)
    assert len(lengths) >= (2 if form == "parquet" else 20)
    assert max(lengths) <= bound
    assert held_bytes < 4 * bound
    if form != "parquet":
        assert sum(lengths) > 10 * held_bytes


async def test_parquet_of_several_row_groups_is_whole(database: Database, tenant: str) -> None:
    """Row groups that were passed on before the file was whole are found again by its end."""
    await fill(database, tenant, MANY)
    blocks = await LedgerExport(database).stream("acme", "parquet", **WINDOW)
    file: Any = parquet.ParquetFile(io.BytesIO(b"".join([block async for block in blocks])))
    assert file.num_row_groups > 1
    assert file.read(columns=["call_id"]).num_rows == file.metadata.num_rows == MANY


@pytest.mark.parametrize("limit", [1, 7, 40])
async def test_the_dearest_users_have_the_dearest_groups(database: Database, tenant: str, limit: int) -> None:
    """A report of so many rows is the beginning of the whole one, though it looks at some users alone."""
    await fill(database, tenant, FEW)
    ledger = LedgerStore(database)
    whole = await ledger.costs("acme", by=("user", "model"), **WINDOW)
    assert len(whole) == 120
    assert await ledger.costs("acme", by=("user", "model"), limit=limit, **WINDOW) == whole[:limit]
