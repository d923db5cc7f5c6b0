"""The book in Postgres does what its model in Python does."""

import itertools
import random
from collections.abc import Iterator

import msgspec
import psycopg
import pytest
from book_model import BookModel

from backstay.limits.store import Book, end_worker
from backstay.limits.types import Ask, Meter, Note, Sync, Terms, Use
from backstay.store import Database

TERMS = Terms(window_us=400_000, lease_us=100_000, gap_us=150_000, dead_us=300_000)
START_US = 1_800_000_000_000_000

_TOLD_CLOCK = """
create table told_clock (now_us bigint not null);
insert into told_clock values (0);
grant select on told_clock to backstay_system;
create or replace function limits_now_us() returns bigint language sql as $$ select now_us from told_clock $$;
"""


class ToldClock:
    """The clock of a database that is told what time it is."""

    def __init__(self, url: str):
        self.now_us = START_US
        self._connection = psycopg.connect(url, autocommit=True)
        self._connection.execute(_TOLD_CLOCK)
        self.advance(0)

    def advance(self, us: int) -> None:
        self.now_us += us
        self._connection.execute("update told_clock set now_us = %s", (self.now_us,))

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def clock(database_url: str) -> Iterator[ToldClock]:
    clock = ToldClock(database_url)
    yield clock
    clock.close()


class Pair:
    """One worker's syncs, to both books."""

    def __init__(self, database: Database, model: BookModel, name: str):
        self.name = name
        self.seq = 0
        self.model = model
        self.book = Book(database, name, TERMS)

    async def sync(self, *asks: Ask, seq: int | None = None) -> None:
        """Sync with both, and hold the answers against each other."""
        if seq is None:
            self.seq += 1
            seq = self.seq
        sync = Sync(seq=seq, sent_us=0, ids=(), asks=asks)
        real = await self.book.sync(sync)
        answers = tuple(sorted(real.answers, key=lambda answer: answer.place))
        assert self.model.sync(self.name, sync, real.at_us) == msgspec.structs.replace(real, answers=answers)


def random_ask(chance: random.Random, meter: Meter, scope: str, seq: int, now_us: int) -> Ask:
    need = chance.choice([0, 0, 1, 3, 9])
    uses = tuple(
        Use(chance.randint(max(1, seq - 1), seq), (now_us + chance.randint(50_000, 400_000)) // 50_000 * 50_000, amount)
        for amount in chance.choices([1, 2, 5], k=chance.randint(0, 2))
    )
    return Ask(
        tenant_id="acme",
        scope=scope,
        meter=meter,
        limit=chance.choice([10, 20]),
        held=chance.randint(0, 4),
        uses=() if meter == "concurrency" else uses,
        need=need,
        unit=min(need, chance.choice([1, 2])),
        wish=chance.choice([0, 40]),
    )


PLACES: list[tuple[Meter, str]] = [("requests", "key:a"), ("tokens", "key:b"), ("concurrency", "user:c")]


def random_notes(chance: random.Random, seq: int, now_us: int) -> list[Note] | None:
    """What a worker may have noted: some of it told, some not, some over, some of a limit that it never asked about."""
    places: list[tuple[Meter, str]] = [*PLACES[:2], ("requests", "key:new")]
    if chance.random() < 0.3:
        return None
    return [
        Note(
            "acme",
            scope,
            meter,
            chance.randint(max(1, seq - 1), seq + 1),
            now_us + chance.randint(-2, 8) * 50_000,
            chance.choice([-1, 1, 2, 5]),
        )
        for meter, scope in chance.choices(places, k=4)
    ]


@pytest.mark.parametrize("seed", range(3))
async def test_postgres_answers_as_the_model(database: Database, clock: ToldClock, seed: int) -> None:
    """Random syncs of three workers, some old, some after a pause, some dead: both books grant the same."""
    chance, model = random.Random(seed), BookModel(TERMS)
    names = (f"w{number}" for number in itertools.count())
    pairs = [Pair(database, model, next(names)) for _ in range(3)]
    for _ in range(100):
        if chance.random() < 0.08:
            dead = pairs.pop(chance.randrange(3))
            notes = random_notes(chance, dead.seq, clock.now_us)
            assert await end_worker(database, dead.name, notes) == model.end(dead.name, notes, clock.now_us)
            assert await end_worker(database, dead.name, notes) == 0
            await dead.sync(random_ask(chance, "requests", "key:a", dead.seq + 1, clock.now_us))
            pairs.append(Pair(database, model, next(names)))
        pair = chance.choice(pairs)
        asks = [
            random_ask(chance, meter, scope, pair.seq + 1, clock.now_us) for meter, scope in chance.sample(PLACES, 2)
        ]
        old = pair.seq - 1 if chance.random() < 0.1 and pair.seq > 1 else None
        await pair.sync(*asks, seq=old)
        clock.advance(chance.choice([0, 1, 20_000, 50_000, 200_000, 370_000]))


async def test_the_book_is_swept(database: Database, clock: ToldClock) -> None:
    """What counts no longer is thrown away, and what counts stays."""
    book = Book(database, "w", TERMS)
    ask = Ask(tenant_id="acme", scope="key:a", meter="requests", limit=9, held=0)
    soon, late = clock.now_us + 100_000, clock.now_us + 100_000_000
    await book.sync(
        Sync(seq=2, sent_us=0, ids=(), asks=(msgspec.structs.replace(ask, uses=(Use(2, soon, 1), Use(2, late, 2))),))
    )
    clock.advance(120_000)
    await book.sweep()
    async with database.system() as connection:
        cursor = await connection.execute("select frees_us, amount from limit_uses")
        assert await cursor.fetchall() == [{"frees_us": late, "amount": 2}]


async def test_a_tenant_sees_its_own_counts_only(database: Database) -> None:
    """The book's tables are bound to tenants as all others."""
    ask = Ask(tenant_id="acme", scope="key:a", meter="requests", limit=9, held=3)
    await Book(database, "w", TERMS).sync(Sync(seq=1, sent_us=0, ids=(), asks=(ask,)))
    for tenant_id, seen in (("acme", 1), ("rival", 0)):
        async with database.tenant(tenant_id) as connection:
            cursor = await connection.execute("select count(*) as seen from limit_leases")
            assert await cursor.fetchone() == {"seen": seen}
