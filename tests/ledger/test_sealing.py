"""Reports that are read from sealed stretches of time are exact, and late entries open these again."""

import random
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from backstay.ledger import Dimension, LedgerEntry, LedgerStore
from backstay.ledger.proof import Proof
from backstay.ledger.sealing import SETTLED, seal_due
from backstay.store import Database
from backstay.testing import FixedClock
from rollup_books import DAY, Document, make_documents, ship
from test_rollups import add_up, at_of

DAYS = 64
NOW = DAY + timedelta(days=60, hours=5, minutes=7)
REPORTS: tuple[tuple[Dimension, ...], ...] = (
    ("user",), ("user", "day"), ("tag", "user"), ("user", "tag", "day"), ("user", "model"), ("user", "target", "key"),
    ("user", "feature", "day"), ("user", "hour"), ("tag", "user", "model"),
)  # fmt: skip


@pytest.fixture
async def books(database: Database, tenant: str, tmp_path: Path) -> list[Document]:
    """Two months of calls, sealed up to now but for the last four days."""
    documents = make_documents(random.Random(3), 300, days=DAYS)
    await ship(database, tmp_path, documents, batch=250)
    assert await seal_due(database, now=NOW + SETTLED) > 300
    return documents


def clocked(database: Database) -> LedgerStore:
    return LedgerStore(database, clock=FixedClock(int(NOW.timestamp()) * 1_000_000_000))


def entries_of(documents: list[Document]) -> list[LedgerEntry]:
    return [entry for document in documents if document.tenant_id == "acme" for entry in document.entries]


def spans_of_time(rng: random.Random, count: int) -> list[tuple[datetime, datetime]]:
    """Choose spans of time within the books: whole ones, up to now, and anywhere."""
    found = [(DAY, NOW), (DAY - timedelta(days=30), DAY + timedelta(days=90)), (NOW - timedelta(days=30), NOW)]
    while len(found) < count:
        grain_us = rng.choice((1, 3_600_000_000, 86_400_000_000))
        length_us = DAYS * 86_400_000_000
        ends = sorted(DAY + timedelta(microseconds=rng.randrange(length_us) // grain_us * grain_us) for _ in range(2))
        if ends[0] < ends[1]:
            found.append((ends[0], ends[1]))
    return found


async def check_reports(database: Database, documents: list[Document], rng: random.Random, count: int) -> None:
    """Compare reports with plain sums, the first few rows of each with the whole."""
    ledger, ours = clocked(database), entries_of(documents)
    for number, (since, until) in enumerate(spans_of_time(rng, count)):
        by = REPORTS[number % len(REPORTS)]
        key_id = rng.choice((None, None, "key_1"))
        wanted = [entry for entry in ours if since <= at_of(entry) < until and key_id in (None, entry.key_id)]
        rows = await ledger.costs("acme", by=by, since=since, until=until, key_id=key_id)
        expected = add_up(wanted, by)
        found = {tuple(getattr(row, name) for name in by): row for row in rows[: len(expected)]}
        if len(expected) <= 1000:
            assert found == expected, (by, since, until)
        limit = rng.randrange(1, 4)
        whole = await ledger.costs("acme", by=by, since=since, until=until)
        assert await ledger.costs("acme", by=by, since=since, until=until, limit=limit) == whole[:limit], (by, since)


async def test_reports_from_sealed_stretches_are_exact(database: Database, books: list[Document]) -> None:
    """By users and all else, over any span of time, some of it sealed and some not."""
    await check_reports(database, books, random.Random(4), 36)
    async with database.system() as connection:
        cursor = await connection.execute(
            "select count(*) as early from sealed_stretches where is_sealed and at + grain_s * interval '1 s' > %s",
            (NOW,),
        )
        assert (await cursor.fetchall())[0]["early"] == 0
    assert await Proof(database).compare_all("acme") == 0


async def test_a_late_entry_opens_what_was_sealed(database: Database, books: list[Document], tmp_path: Path) -> None:
    """It counts at once, in its hour, day and weeks alone, and again once these are sealed anew."""
    late = make_documents(random.Random(5), 12, days=DAYS)
    await ship(database, tmp_path, late)
    rng = random.Random(6)
    await check_reports(database, books + late, rng, 9)
    assert await Proof(database).compare_all("acme") == 0
    assert 12 < await seal_due(database, now=NOW + SETTLED) < 80
    await check_reports(database, books + late, rng, 9)
    assert await Proof(database).compare_all("acme") == 0
    assert await seal_due(database, now=NOW + SETTLED) == 0


async def test_a_wrong_sealed_sum_is_found(database: Database, books: list[Document]) -> None:
    """A sum of any kind that was changed by hand differs, and one that is gone does."""
    changes = 0
    async with database.system() as connection:
        for kind, shorter_s, longer_s in (
            ("user", 604_800, 2_419_200),
            ("user_alone", 86_400, 2_419_200),
            ("tag_user", 3600, 604_800),
        ):
            wrong = await connection.execute(
                "update sealed_sums set cost_nanousd = cost_nanousd + 1"
                " where kind = %s and tenant_id = 'acme' and grain_s = %s", (kind, shorter_s)
            )  # fmt: skip
            gone = await connection.execute(
                "delete from sealed_sums where kind = %s and tenant_id = 'acme' and grain_s = %s", (kind, longer_s)
            )
            assert wrong.rowcount > 0 and gone.rowcount > 0
            changes += wrong.rowcount + gone.rowcount
    assert await Proof(database).compare_all("acme") == changes
