"""Tests of the shipper, with a table and a merge of their own: exactly once, through every kind of trouble."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import msgspec
import psutil
import psycopg
import pytest

from backstay.core.errors import StoreUnavailable
from backstay.store import Database, EmbeddedPostgres, Journal, Shipper, migrate
from backstay.store.folders import journals, segment_numbers, segment_path
from backstay.store.frames import encode_frame, read_frame
from backstay.store.postmaster import find_postmaster

NOW_NS = 1_767_323_045 * 1_000_000_000
"""2026-01-02 03:04:05 UTC."""
SINK = """
create table sink (entry_id text primary key, tenant_id text, input text, output text, copies int not null default 1);
grant select, insert on sink to backstay_system;
"""
MERGE = """
insert into sink (entry_id, tenant_id, input, output)
select entry_id, doc ->> 'tenant_id', input, output from shipment on conflict do nothing
"""


class Row(msgspec.Struct):
    entry_id: str
    tenant_id: str | None
    input: str | None
    output: str | None


@pytest.fixture
async def sink(database: Database, database_url: str) -> Database:
    """The database, with the table that the tests ship into."""
    await make_sink(database_url)
    return database


@pytest.fixture
def journal(journal_root: Path) -> Iterator[Journal]:
    journal = Journal.open(journal_root / "0")
    yield journal
    journal.close()


async def make_sink(url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(SINK)


def id_of(number: int) -> bytes:
    return number.to_bytes(8, "big")


def call(tenant_id: str = "acme", text: bytes = b"{}", at_ns: int = NOW_NS) -> list[bytes]:
    doc = {"tenant_id": tenant_id, "spans": [{"started_at_ns": at_ns}], "entries": [{"at_ns": at_ns}]}
    return [msgspec.json.encode(doc), text, text]


def interrupted(intent: bytes) -> Sequence[bytes]:
    if intent == b"unreadable":
        raise ValueError("this intent cannot be read")
    return [msgspec.json.encode({"tenant_id": intent.decode()}), b"interrupted"]


async def rows_in(database: Database) -> list[Row]:
    async with database.system() as connection:
        cursor = await connection.execute("select entry_id, tenant_id, input, output from sink order by entry_id")
        return msgspec.convert(await cursor.fetchall(), list[Row])


async def numbers_in(database: Database) -> list[int]:
    return [int(row.entry_id, 16) for row in await rows_in(database)]


async def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@asynccontextmanager
async def shipping(root: Path, database: Database) -> AsyncGenerator[Shipper]:
    shipper = Shipper(root, database, [MERGE], interrupted)
    task = asyncio.create_task(shipper.run())
    try:
        yield shipper
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def folders_left(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.name.startswith("left-"))


async def test_entries_arrive_as_they_were_written(sink: Database, journal: Journal, journal_root: Path) -> None:
    """Text arrives to the byte, whatever the format of the transport makes of it; an empty part is null."""
    text = 'tab\there, line\nbreak\r\n, back\\slash, \\N, \\., "quotes", \u00e9\U0001f600'
    journal.append("call", id_of(1), call(text=text.encode()))
    journal.append("call", id_of(2), call("other")[:1])
    async with shipping(journal_root, sink) as shipper:
        assert await shipper.drain(10)
        assert (shipper.shipped, shipper.rejected, shipper.backlog_bytes) == (2, 0, 0)
    assert await rows_in(sink) == [
        Row(entry_id="0000000000000001", tenant_id="acme", input=text, output=text),
        Row(entry_id="0000000000000002", tenant_id="other", input=None, output=None),
    ]


async def test_a_new_entry_arrives_soon(sink: Database, journal: Journal, journal_root: Path) -> None:
    """Without load an entry is in Postgres within a fraction of a second."""
    async with shipping(journal_root, sink) as shipper:
        await asyncio.sleep(0.25)
        began = time.monotonic()
        journal.append("call", id_of(1), call())
        await until(lambda: shipper.shipped == 1)
        assert time.monotonic() - began < 1.0


async def test_days_get_their_partitions(sink: Database, journal: Journal, journal_root: Path) -> None:
    """Each day that a span or an entry falls on has its partitions before the merges run."""
    journal.append("call", id_of(1), call(at_ns=NOW_NS))
    journal.append("call", id_of(2), call(at_ns=NOW_NS + 40 * 86_400 * 10**9))
    async with shipping(journal_root, sink) as shipper:
        assert await shipper.drain(10)
    async with sink.system() as connection:
        cursor = await connection.execute(
            "select inhrelid::regclass::text as name from pg_inherits "
            "where inhrelid::regclass::text like '%\\_2026____' order by name"
        )
        names = [row["name"] for row in await cursor.fetchall()]
    days = ("20260102", "20260211")
    assert names == [f"{table}_{day}" for table in ("budget_postings", "ledger_entries", "spans") for day in days]


async def test_many_entries_of_all_sizes(sink: Database, journal: Journal, journal_root: Path) -> None:
    """More than a batch holds, some of them large: all arrive, once."""
    for number in range(2500):
        journal.append("call", id_of(number), call(text=b'"%s"' % (b"x" * (2_000_000 if number % 500 == 0 else 10))))
    async with shipping(journal_root, sink) as shipper:
        assert await shipper.drain(30)
    assert await numbers_in(sink) == list(range(2500))


async def test_shipping_twice_changes_nothing(sink: Database, journal: Journal, journal_root: Path) -> None:
    """A batch whose checkpoint was lost is shipped again, and is there once."""
    for number in range(10):
        journal.append("call", id_of(number), call())
    for _ in range(2):
        async with shipping(journal_root, sink) as shipper:
            assert await shipper.drain(10)
            assert shipper.shipped == 10
        (journal.folder / "shipped").unlink()
    assert await numbers_in(sink) == list(range(10))


async def test_a_poisoned_entry_holds_up_nothing(sink: Database, journal: Journal, journal_root: Path) -> None:
    """What Postgres refuses is put aside, or shipped without its messages; all others arrive whole."""
    for number in range(300):
        journal.append("call", id_of(number), call())
    journal.append("call", id_of(1003), [b"no json", b"in", b"out"])
    journal.append("call", id_of(1004), [])
    journal.append("call", id_of(1005), call(at_ns=10**30))
    for number in range(2000, 2300):
        journal.append("call", id_of(number), call())
    async with shipping(journal_root, sink) as shipper:
        assert await shipper.drain(20)
        assert (shipper.shipped, shipper.rejected) == (600, 3)
    assert await numbers_in(sink) == [*range(300), *range(2000, 2300)]
    aside = journal_root / "rejected" / f"{id_of(1003).hex()}.frame"
    assert read_frame(aside.read_bytes(), 0).parts == (b"no json", b"", b"")


async def test_what_is_no_text_is_kept_as_far_as_it_is(
    sink: Database, journal: Journal, journal_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """NUL and bytes that are not UTF-8 become U+FFFD; all else of such a call is there, and it is no error."""
    for number, text in enumerate((b'"a\x00b"', b"a\xffb \xc3\xa4", b'{"a": "\\u0000"}', b"\xff\xfe\x00")):
        journal.append("call", id_of(number), call(text=text))
    journal.append("call", id_of(4), call(tenant_id="nul\0 \\u0000 \\\0"))
    async with shipping(journal_root, sink) as shipper:
        assert await shipper.drain(20)
        assert (shipper.shipped, shipper.rejected) == (5, 0)
    rows = await rows_in(sink)
    assert [row.input for row in rows[:4]] == ['"a\ufffdb"', "a\ufffdb \xe4", '{"a": "\\u0000"}', "\ufffd\ufffd\ufffd"]
    assert (rows[4].tenant_id, rows[4].input) == ("nul\ufffd \\u0000 \\\ufffd", "{}")
    assert "refuses" not in caplog.text


async def test_what_callers_wrote_reaches_no_log(
    outage: tuple[EmbeddedPostgres, Database],
    outage_dir: Path,
    journal: Journal,
    journal_root: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Neither our log nor the server's quotes an entry that Postgres refuses."""
    _, database = outage
    for part in (b"no json: canary", b'{"tenant_id": canary}', b'{"spans": "canary \\ud800"}'):
        journal.append("call", id_of(journal.position.offset), [part, b"canary \x00", b"canary \xff"])
    async with shipping(journal_root, database) as shipper:
        assert await shipper.drain(10)
        assert shipper.rejected == 3
    assert "cannot be shipped" in caplog.text
    assert "canary" not in caplog.text
    assert "canary" not in (outage_dir / "pg" / "server.log").read_text()


async def test_a_missing_table_rejects_nothing(database: Database, journal: Journal, journal_root: Path) -> None:
    """A fault of the schema is not the entries' fault: they wait until it is mended."""
    journal.append("call", id_of(1), call())
    async with shipping(journal_root, database) as shipper:
        assert not await shipper.drain(0.5)
        assert (shipper.shipped, shipper.rejected) == (0, 0)
        assert shipper.backlog_bytes > 0


async def test_segments_go_when_they_are_shipped(sink: Database, journal_root: Path) -> None:
    """A journal does not grow beyond what is not shipped yet."""
    journal = Journal.open(journal_root / "0", segment_bytes=1000)
    for number in range(50):
        journal.append("intent", id_of(number), [b"acme"])
        journal.append("call", id_of(number), call())
    async with shipping(journal_root, sink) as shipper:
        assert await shipper.drain(10)
    assert segment_numbers(journal.folder) == [journal.position.segment]
    journal.close()


async def test_parked_outcomes_are_shipped(sink: Database, journal: Journal, journal_root: Path) -> None:
    """What a full disk did not take is written and shipped once there is room."""
    journal.full = True
    journal.append("call", id_of(1), call())
    keeping = asyncio.create_task(journal.keep())
    async with shipping(journal_root, sink) as shipper:
        await until(lambda: shipper.shipped == 1)
    keeping.cancel()
    assert not journal.full
    assert await numbers_in(sink) == [1]


async def test_a_dead_workers_journal_is_adopted(sink: Database, journal: Journal, journal_root: Path) -> None:
    """Its entries arrive, its unfinished calls are settled as interrupted, and its folder goes."""
    dead = Journal.open(journal_root / "1")
    dead.append("intent", id_of(1), [b"acme"])
    dead.append("intent", id_of(2), [b"other"])
    dead.append("intent", id_of(3), [b"unreadable"])
    dead.append("call", id_of(1), call())
    dead.close()
    async with shipping(journal_root, sink) as shipper:
        await until(lambda: not (journal_root / "1").exists() and not folders_left(journal_root))
        assert (shipper.shipped, shipper.rejected) == (2, 1)
    assert [(row.tenant_id, row.input) for row in await rows_in(sink)] == [("acme", "{}"), ("other", "interrupted")]
    assert sorted(os.listdir(journal_root)) == ["0", "lock", "rejected"]


async def test_living_journals_are_shipped_and_stay(sink: Database, journal: Journal, journal_root: Path) -> None:
    """Each worker's journal is shipped as it grows; a call that is open is not settled while its worker lives."""
    other = Journal.open(journal_root / "1")
    other.append("intent", id_of(9), [b"acme"])
    async with shipping(journal_root, sink) as shipper:
        for number in range(3):
            journal.append("call", id_of(2 * number), call())
            other.append("call", id_of(2 * number + 1), call())
            assert await shipper.drain(10)
            assert shipper.shipped == 2 * number + 2
        other.append("call", id_of(9), call())
        assert await shipper.drain(10)
        assert shipper.backlog_bytes == 0
    assert [row.input for row in await rows_in(sink)] == ["{}"] * 7
    assert folders_left(journal_root) == []
    other.close()


async def test_a_worker_that_starts_anew_is_followed(sink: Database, journal_root: Path) -> None:
    """Journals are set aside and begun anew under the shipper's eyes: every call arrives once, no folder is left."""
    async with shipping(journal_root, sink) as shipper:
        for life in range(10):
            journal = Journal.open(journal_root / "0")
            journal.append("intent", id_of(100 * life), [b"other"])
            for number in range(1, 100):
                journal.append("call", id_of(100 * life + number), call())
                if number % 20 == 0:
                    await asyncio.sleep(0.02)
            journal.close()
        assert await shipper.drain(20)
        assert (shipper.shipped, shipper.backlog_bytes) == (1000, 0)
        assert [path.name for _, path in journals(journal_root)] == []
    rows = await rows_in(sink)
    assert [int(row.entry_id, 16) for row in rows] == list(range(1000))
    assert [int(row.entry_id, 16) for row in rows if row.input == "interrupted"] == list(range(0, 1000, 100))


async def test_a_frame_in_two_halves_arrives_whole(sink: Database, journal: Journal, journal_root: Path) -> None:
    """A writer seen in the middle of each of its writes loses nothing, and nothing of it is taken for damage."""
    frames = [encode_frame("call", id_of(number), call(text=b'"%s"' % (b"x" * 3000))) for number in range(60)]
    done = threading.Event()

    def write_in_halves() -> None:
        with open(segment_path(journal.folder, 1), "ab", buffering=0) as file:
            for frame in frames:
                file.write(frame[: len(frame) // 2])
                time.sleep(0.01)
                file.write(frame[len(frame) // 2 :])
        done.set()

    writer = threading.Thread(target=write_in_halves)
    async with shipping(journal_root, sink) as shipper:
        writer.start()
        while not done.is_set():
            await shipper.drain(10)
        assert await shipper.drain(10)
        assert (shipper.shipped, shipper.rejected) == (60, 0)
    writer.join()
    assert await numbers_in(sink) == list(range(60))


async def test_of_two_shippers_one_ships(sink: Database, journal: Journal, journal_root: Path) -> None:
    """The second says at once that it ships nothing, and takes over when the first is gone."""
    first, second = (Shipper(journal_root, sink, [MERGE], interrupted) for _ in range(2))
    running = [asyncio.create_task(each.run()) for each in (first, second)]
    journal.append("call", id_of(1), call())
    assert await first.drain(10)
    began = time.monotonic()
    assert not await second.drain(10)
    assert time.monotonic() - began < 5
    assert (first.shipped, second.shipped, second.backlog_bytes) == (1, 0, 0)
    running[0].cancel()
    journal.append("call", id_of(2), call())
    await until(lambda: second.shipped == 1)
    running[1].cancel()
    await asyncio.gather(*running, return_exceptions=True)
    assert await numbers_in(sink) == [1, 2]


async def test_a_fault_in_one_journal_holds_up_no_other(
    sink: Database, journal: Journal, journal_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A journal that cannot be read is told and tried again; the others are shipped meanwhile."""
    broken = Journal.open(journal_root / "1")
    segment_path(broken.folder, 2).mkdir()
    async with shipping(journal_root, sink) as shipper:
        journal.append("call", id_of(1), call())
        await until(lambda: shipper.shipped == 1)
        assert not await shipper.drain(0.2)
        assert "is tried again" in caplog.text
        segment_path(broken.folder, 2).rmdir()
        broken.append("call", id_of(2), call())
        assert await shipper.drain(10)
    assert await numbers_in(sink) == [1, 2]
    broken.close()


_WORKER = """
import sys
from pathlib import Path
from backstay.store import Journal
journal = Journal.open(Path(sys.argv[1]), segment_bytes=100_000)
for number in range(1, 1_000_000):
    entry_id = number.to_bytes(8, "big")
    journal.append("intent", entry_id, [b"acme"])
    if number == 700:
        print("begun", flush=True)
    journal.append("call", entry_id, [b'{"tenant_id": "acme"}', b"x" * 300])
"""


def run_until_killed(folder: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _WORKER, str(folder)], stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"begun\n"
        worker.send_signal(signal.SIGKILL)


async def test_a_killed_worker_loses_no_call(sink: Database, journal_root: Path) -> None:
    """After kill -9 in the middle of writing, its successor ships every call once, the interrupted one included."""
    await asyncio.to_thread(run_until_killed, journal_root / "0")
    successor = Journal.open(journal_root / "0")
    async with shipping(journal_root, sink):
        await until(lambda: not folders_left(journal_root), 60)
    numbers = await numbers_in(sink)
    assert len(numbers) >= 700
    assert numbers == list(range(1, len(numbers) + 1))
    successor.close()


@pytest.fixture(scope="module")
def outage_dir(new_data_dir: Callable[[], Path]) -> Iterator[Path]:
    """The data folder of a server that tests may stop: stopped at the end."""
    folder = new_data_dir()

    async def prepare() -> None:
        url = await server.start()
        await migrate(url)
        await make_sink(url)

    server = EmbeddedPostgres(folder)
    asyncio.run(prepare())
    yield folder
    asyncio.run(server.stop())


@pytest.fixture
async def outage(outage_dir: Path) -> AsyncIterator[tuple[EmbeddedPostgres, Database]]:
    """A server that the test may stop, running, and its database with an empty sink."""
    server = EmbeddedPostgres(outage_dir)
    database = Database(await server.start())
    async with await psycopg.AsyncConnection.connect(await server.start(), autocommit=True) as connection:
        await connection.execute("truncate sink")
    yield server, database
    await database.close()
    await server.stop()


@contextmanager
def frozen(data_dir: Path) -> Generator[None]:
    """Stop every process of a server, as SIGSTOP does, for the time of the block."""
    postmaster = find_postmaster(data_dir / "pg" / "data")
    assert postmaster is not None
    server = psutil.Process(postmaster.pid)
    processes = [server, *server.children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


async def test_a_hanging_postgres_is_bounded(outage: tuple[EmbeddedPostgres, Database], outage_dir: Path) -> None:
    """While Postgres hangs, each caller is told in time, on old and on new connections; then it goes on."""
    _, database = outage
    await database.open()
    with frozen(outage_dir):
        for _ in range(2):
            began = time.monotonic()
            assert not await database.is_ready()
            assert time.monotonic() - began < 3.0
    assert await database.is_ready()


async def test_a_server_frozen_in_a_query_is_bounded(
    outage: tuple[EmbeddedPostgres, Database], outage_dir: Path
) -> None:
    """A server that hangs in the middle of a transaction does not hold its caller either."""
    _, database = outage
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        async with database.system(timeout_s=1.0) as connection:
            with frozen(outage_dir):
                await connection.execute("select 1")
    assert time.monotonic() - began < 3.0


async def test_shipping_outlives_a_stopped_postgres(
    outage: tuple[EmbeddedPostgres, Database], journal: Journal, journal_root: Path
) -> None:
    """Postgres stopped and started again under load: nothing is lost, nothing doubled, and it recovers by itself."""
    server, database = outage
    number = 0
    async with shipping(journal_root, database) as shipper:
        for phase in ("before", "stopped", "after"):
            if phase == "stopped":
                await server.stop()
            elif phase == "after":
                await server.start()
            for _ in range(20):
                for _ in range(10):
                    journal.append("call", id_of(number), call())
                    number += 1
                await asyncio.sleep(0.02)
        assert await shipper.drain(15)
    assert await numbers_in(database) == list(range(600))


async def test_shipping_outlives_a_killed_postgres(
    outage: tuple[EmbeddedPostgres, Database], outage_dir: Path, journal: Journal, journal_root: Path
) -> None:
    """After kill -9 of the server, what it had confirmed is there, and the rest arrives."""
    server, database = outage
    async with shipping(journal_root, database) as shipper:
        for number in range(200):
            journal.append("call", id_of(number), call())
        await until(lambda: shipper.shipped > 0)
        death = asyncio.create_task(server.wait())
        await asyncio.sleep(0)
        postmaster = find_postmaster(outage_dir / "pg" / "data")
        assert postmaster is not None
        os.kill(postmaster.pid, signal.SIGKILL)
        await asyncio.wait_for(death, 5)
        for number in range(200, 400):
            journal.append("call", id_of(number), call())
        await server.start()
        assert await shipper.drain(15)
    assert await numbers_in(database) == list(range(400))


async def test_drain_says_what_it_could_not_do(
    outage: tuple[EmbeddedPostgres, Database], journal: Journal, journal_root: Path
) -> None:
    """With Postgres away, draining ends in time and says that something is left; the next start ships it."""
    server, database = outage
    await server.stop()
    journal.append("call", id_of(1), call())
    async with shipping(journal_root, database) as shipper:
        began = time.monotonic()
        assert not await shipper.drain(0.5)
        assert 0.4 < time.monotonic() - began < 2.0
    await server.start()
    async with shipping(journal_root, database) as shipper:
        assert await shipper.drain(10)
    assert await numbers_in(database) == [1]
