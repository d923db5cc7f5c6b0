"""Who makes which calls, on a real Postgres with several runners."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from backstay.core.caller import Caller
from backstay.jobs import Batches, Files, Job, JobStore, Later
from backstay.jobs.later import Bounds, NewCall, TooManyUnfinished
from backstay.jobs.lines import Line
from backstay.jobs.totals import Totals
from backstay.jobs.types import Backlog, Batch, Terms
from backstay.records import MERGES, CallDocument, JobEnd
from backstay.store import Database
from backstay.store.backlog import Entry
from backstay.store.shipment import Shipment

CHAT = "/v1/chat/completions"


def caller(key_id: str = "key_1", tenant_id: str = "acme") -> Caller:
    return Caller(tenant_id=tenant_id, kind="key", id=key_id, name=key_id, rights=frozenset({"call"}))


async def batch_of(database: Database, store: JobStore, lines: int, key_id: str = "key_1") -> Batch:
    """Make a batch whose lines wait to be run."""
    files = Files(database)
    writer = await files.begin(caller(key_id), "batch")
    await writer.write(b"x")
    file = await writer.end("lines")
    batches = Batches(database, files, [CHAT])
    batch = await batches.create(
        caller(key_id), endpoint=CHAT, input_file_id=file.file_id, completion_window="24h", metadata=None
    )
    found = await store.claim_batch()
    assert found is not None and found.batch_id == batch.batch_id
    await store.add_lines(found, [Line(number=n, custom_id=str(n), body=b"{}") for n in range(1, lines + 1)])
    await store.start(found, lines)
    return found


async def run(database: Database, statement: Any, **values: Any) -> None:
    async with database.system() as connection:
        await connection.execute(statement, values)


async def ship(database: Database, tmp_path: Any, jobs: Sequence[Job]) -> None:
    """Bring answers to jobs by way of a journal's entries."""
    entries = [
        Entry.of(
            number.to_bytes(8),
            [
                msgspec.json.encode(
                    CallDocument(
                        tenant_id=job.tenant_id, spans=(), entries=(), job=JobEnd(job_id=job.job_id, answer=b'{"a":1}')
                    )
                )
            ],
        )
        for number, job in enumerate(jobs, 1)
    ]
    assert await Shipment(database, MERGES, tmp_path).ship(entries) == len(entries)


async def test_two_runners_never_have_the_same_call(database: Database) -> None:
    """And each takes evenly of the batches that are open."""
    first, second = JobStore(database, "first"), JobStore(database, "second")
    for key_id in ("key_1", "key_2"):
        await batch_of(database, first, 10, key_id)
    ours, theirs = await first.claim_calls(8, []), await second.claim_calls(8, [])
    assert sorted(job.key_id for job in ours) == ["key_1"] * 4 + ["key_2"] * 4
    assert not {job.job_id for job in ours} & {job.job_id for job in theirs}
    assert {job.key_id for job in await first.claim_calls(8, ["acme/key_1"])} == {"key_2"}


async def test_a_silent_runners_calls_go_to_another(database: Database) -> None:
    """But not to one that was silent itself: then it was Postgres that was away."""
    dead, heir = JobStore(database, "dead"), JobStore(database, "heir")
    await batch_of(database, dead, 3)
    await dead.beat()
    await heir.beat()
    assert len(await dead.claim_calls(3, [])) == 3
    await run(database, "update job_runners set seen_at = now() - interval '1 hour'")
    await heir.beat()
    assert await heir.claim_calls(3, []) == []
    await heir.beat()
    assert len(await heir.claim_calls(3, [])) == 3


async def test_an_answer_is_kept_once(database: Database, tmp_path: Any) -> None:
    """Shipped twice it changes nothing; and what was answered is not made again after a restart."""
    store = JobStore(database, "one")
    batch = await batch_of(database, store, 3)
    jobs = await store.claim_calls(3, [])
    for _ in range(2):
        await ship(database, tmp_path, jobs[:2])
    assert await store.take_back() == 1
    assert [job.job_id for job in await store.claim_calls(3, [])] == [jobs[2].job_id]
    rows = await store.results(batch, 0, 10)
    assert sorted((row["state"], row["answer"]) for row in rows if row["state"] == "done") == [("done", b'{"a":1}')] * 2


async def test_a_late_batch_ends(database: Database, tmp_path: Any) -> None:
    """Calls under way are waited for; those that wait are never made."""
    store = JobStore(database, "one")
    batch = await batch_of(database, store, 3)
    under_way = await store.claim_calls(1, [])
    await run(database, "update batches set expires_at = now() - interval '1 second'")
    assert await store.close_batches() == 1
    assert await store.claim_batch() is None
    await ship(database, tmp_path, under_way)
    await store.close_batches()
    late = await store.claim_batch()
    assert late is not None and late.status == "finalizing"
    rows = await store.results(batch, 0, 10)
    assert [row["state"] for row in rows] == ["done", "cancelled", "cancelled"]
    assert [row["error"]["code"] for row in rows if row["error"]] == ["batch_expired"] * 2
    await store.finish(late, output_file_id=None, error_file_id=None, completed=1, failed=0, totals=Totals())
    ended = await Batches(database, Files(database), [CHAT]).find(caller(), batch.batch_id)
    assert (ended.status, ended.total, ended.completed) == ("expired", 3, 1)


async def test_lines_are_written_once(database: Database) -> None:
    """A file that is read again, after a kill, adds nothing."""
    store = JobStore(database, "one")
    batch = await batch_of(database, store, 3)
    await store.add_lines(batch, [Line(number=n, custom_id=str(n), body=b"{}") for n in range(1, 4)])
    assert len(await store.results(batch, 0, 10)) == 3


async def test_a_file_goes_when_its_time_is_over(database: Database) -> None:
    """It is not found any more at once, and upkeep lets go of it; but not before a batch of it is read."""
    files, store = Files(database), JobStore(database, "one")
    writer = await files.begin(caller(), "batch")
    await writer.write(b"x")
    file = await writer.end("lines", expires_after_s=3600)
    batches = Batches(database, files, [CHAT])
    await batches.create(caller(), endpoint=CHAT, input_file_id=file.file_id, completion_window="24h", metadata=None)
    await run(database, "update files set expires_at = now() - interval '1 second'")
    assert await files.list(caller(), purpose=None, after=None, limit=5, order="desc") == []
    await store.beat()
    assert [piece async for piece in files.read("acme", file.file_id)] == [b"x"]
    await run(database, "update batches set status = 'in_progress'")
    await store.beat()
    assert [piece async for piece in files.read("acme", file.file_id)] == []


async def test_what_is_open_is_counted(database: Database) -> None:
    """Lines and single calls apart, waiting and running, and for how long one was due."""
    store = JobStore(database, "ours")
    assert await store.backlog() == Backlog(
        waiting_lines=0, waiting_calls=0, running_lines=0, running_calls=0, overdue_s=0, waiting_webhooks=0
    )
    await batch_of(database, store, 5)
    for tenant_id in ("acme", "other"):
        await Later(database).take(caller(tenant_id=tenant_id), new_call(), Bounds(per_key=1, per_tenant=1))
    await run(database, "update job_calls set due_at = now() - interval '90 seconds' where line = 5")
    await run(database, "update job_calls set webhook_state = 'waiting' where line = 4")
    assert len(await store.claim_calls(4, ["other/key_1"])) == 3
    backlog = await store.backlog()
    assert 90 <= backlog.overdue_s < 110
    assert msgspec.structs.replace(backlog, overdue_s=0) == Backlog(
        waiting_lines=3, waiting_calls=1, running_lines=2, running_calls=1, overdue_s=0, waiting_webhooks=1
    )


def new_call(repeat_key: str | None = None) -> NewCall:
    """A call that is to be made later."""
    return NewCall(path=CHAT, body=b"{}", terms=Terms(), trace_id="00", within_s=60, repeat_key=repeat_key)


async def test_unfinished_calls_are_bounded_exactly(database: Database) -> None:
    """However many are sent at once: so many of a key, so many of its tenant, and nothing of another's."""
    later, bounds = Later(database), Bounds(per_key=7, per_tenant=10)

    async def take(key_id: str, tenant_id: str = "acme") -> str:
        try:
            return (await later.take(caller(key_id, tenant_id), new_call(), bounds)).state
        except TooManyUnfinished as error:
            return error.message.split(" has ")[0]

    assert Counter(await asyncio.gather(*(take("key_1") for _ in range(20)))) == {"waiting": 7, "This key": 13}
    assert Counter(await asyncio.gather(*(take("key_2") for _ in range(9)))) == {"waiting": 3, "This tenant": 6}
    assert await take("key_1", "other") == "waiting"
    await JobStore(database, "ours").claim_calls(20, [])
    assert await take("key_1") == "This key", "those under way count, too"
    await run(database, "update job_calls set state = 'done' where key_id = 'key_2'")
    assert await take("key_2") == "waiting"


async def test_a_repeat_is_not_one_more(database: Database) -> None:
    """Where there is no room for another, it is the same call still."""
    later, bounds = Later(database), Bounds(per_key=1, per_tenant=1)
    first, again = [await later.take(caller(), new_call("order-17"), bounds) for _ in range(2)]
    assert first.job_id == again.job_id and again.is_same
    with pytest.raises(TooManyUnfinished):
        await later.take(caller(), new_call("order-18"), bounds)
