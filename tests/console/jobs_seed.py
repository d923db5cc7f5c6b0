"""Owns batches and later calls to look at, for the console's tests, by the statements of a runner and a shipper."""

import time
from datetime import UTC, datetime

import msgspec

from backstay.console import ConsoleDeps
from backstay.core.caller import Caller
from backstay.core.money import NanoUSD
from backstay.jobs import MERGE_JOBS, Answered, Files, Job, JobEnd, JobStore
from backstay.jobs.later import Bounds, NewCall
from backstay.jobs.lines import BadLine, Line
from backstay.jobs.totals import Totals
from backstay.jobs.types import Batch, Failure, Terms
from backstay.ledger import MERGE_ENTRIES, LedgerEntry
from backstay.records import CallDocument
from backstay.store import Database

CHAT = "/v1/chat/completions"
HOOK = "https://hooks.example.com/answers/of/a/rather/long/path?team=care"
REFUSED = b'{"error": {"message": "The image is larger than this model takes.", "code": "invalid_image"}}'
LINE_NANOUSD = NanoUSD(412_000)


async def seed_batch(deps: ConsoleDeps, database: Database, by: Caller, *, good: int, bad: int, waiting: int) -> Batch:
    """Make a batch of which so many lines are answered, refused or no requests, and still to be made."""
    store = JobStore(database, "seed")
    writer = await Files(database).begin(by, "batch")
    file = await writer.end("lines.jsonl")
    await deps.batches.create(
        by, endpoint=CHAT, input_file_id=file.file_id, completion_window="24h", metadata={"run": "nightly"}
    )
    batch = await store.claim_batch()
    assert batch is not None
    failure = Failure(code="invalid_line", message="Line 1: it is not a request: no `url`.", line=1)
    lines = [Line(number=n, custom_id=f"document-{n:05}", body=b"{}") for n in range(2, good + bad + waiting + 1)]
    await store.add_lines(batch, [BadLine(number=1, custom_id=None, failure=failure), *lines])
    await store.start(batch, len(lines) + 1)
    jobs = list[Job]()
    while len(jobs) < good + bad - 1:  # a runner takes evenly of the batches that are open
        claimed = await store.claim_calls(good + bad - 1 - len(jobs), [])
        jobs += [job for job in claimed if job.batch_id == batch.batch_id]
    for job in jobs[: bad - 1]:
        await store.fail(job, Answered(http_status=400, body=REFUSED, is_good=False))
    await ship_answers(database, jobs[bad - 1 :])
    return batch


async def finish(database: Database) -> None:
    """Write what came of the batches that are run through."""
    store = JobStore(database, "seed")
    await store.close_batches()
    while (batch := await store.claim_batch()) is not None:
        rows = await store.results(batch, 0, 1000)
        done, failed = (sum(row["state"] == state for row in rows) for state in ("done", "failed"))
        await store.finish(
            batch, output_file_id="file-out", error_file_id="file-err", completed=done, failed=failed, totals=Totals()
        )


async def seed_calls(deps: ConsoleDeps, database: Database, by: Caller) -> None:
    """Make single calls: answered and told, answered and not to be told, failed, and one that waits."""
    for number, hook in enumerate((HOOK, HOOK, None, HOOK)):
        new = NewCall(path=CHAT, body=b"{}", terms=Terms(), trace_id=f"{number:032x}", within_s=3600, webhook_url=hook)
        await deps.later.take(by, new, Bounds(per_key=100, per_tenant=100))
    store = JobStore(database, "seed")
    jobs = list[Job]()
    while len(jobs) < 3:
        jobs += await store.claim_calls(3 - len(jobs), [])
    await ship_answers(database, jobs[:2])
    await store.fail(jobs[2], Answered(http_status=400, body=REFUSED, is_good=False))
    told = {0: ("delivered", 1, None), 1: ("waiting", 3, "The receiver answered 503.")}
    async with database.system() as connection:
        for number, (state, tries, problem) in told.items():
            await connection.execute(
                "update job_calls set webhook_state = %s, webhook_tries = %s, webhook_error = %s where job_id = %s",
                (state, tries, problem, jobs[number].job_id),
            )


async def ship_answers(database: Database, jobs: list[Job]) -> None:
    """Bring answers to jobs, each with what it cost."""
    documents = [
        CallDocument(
            tenant_id=job.tenant_id, spans=(), entries=(_entry(job),), job=JobEnd(job_id=job.job_id, answer=b"{}")
        )
        for job in jobs
    ]
    async with database.system(timeout_s=60) as connection, connection.cursor() as cursor:
        await cursor.execute(
            "create temp table shipment (entry_id text, doc jsonb, input text, output text) on commit drop"
        )
        await cursor.execute("select ensure_partitions(%s)", (datetime.now(UTC).date(),))
        for document in documents:
            text = msgspec.json.encode(document).decode()
            await cursor.execute("insert into shipment (doc) values (%s::jsonb)", (text,))
        for merge in (MERGE_ENTRIES, MERGE_JOBS):
            await cursor.execute(merge)


def _entry(job: Job) -> LedgerEntry:
    return LedgerEntry(
        call_id=job.job_id[-16:], attempt=0, at_ns=time.time_ns(), trace_id=job.trace_id, key_id=job.key_id,
        user_id=None, feature=None, tags=(), model="m", target="t/m", input_tokens=10, output_tokens=20,
        cost_nanousd=LINE_NANOUSD,
    )  # fmt: skip
