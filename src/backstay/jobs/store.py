"""Owns the SQL of running jobs: what is to be done, who does it, and what came of it."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from backstay.jobs.batches import CANCELLED, read_batch
from backstay.jobs.lines import BadLine, Line
from backstay.jobs.totals import Totals
from backstay.jobs.types import FAILED_LINES_KEPT, Answered, Backlog, Batch, Failure, Job, line_id, trace_of
from backstay.store import Database, load_queries

_QUERIES = load_queries("backstay.jobs")

MERGE_JOBS = _QUERIES["merge_jobs"]
"""What the shipper runs on a batch to bring answers to their jobs. Run again, it changes nothing."""

SILENCE_S = 300.0
"""After which what belongs to a runner that is not heard of goes to the others."""

_LONG_S = 60.0
_EXPIRED = Failure(code="batch_expired", message="The batch's time was over before this request was made.")


class JobStore:
    """What one installation's runner does with the jobs of all tenants.

    Every method raises ``StoreUnavailable`` where Postgres does not answer.
    """

    def __init__(self, database: Database, owner: str):
        self._database = database
        self.owner = owner
        """The installation whose runner this is."""

    async def beat(self) -> None:
        """Say that this runner is there, take over from those that are not, and let go of what is old.

        A runner that was not heard of itself, as Postgres was away, takes nothing: the others may be about to speak.
        """
        async with self._database.system(timeout_s=_LONG_S) as connection:
            before = await (await connection.execute(_QUERIES["last_beat"], {"owner": self.owner})).fetchone()
            await connection.execute(_QUERIES["beat"], {"owner": self.owner})
            if before is not None and before["ago_s"] < SILENCE_S / 2:
                await connection.execute(_QUERIES["take_over"], {"silence_s": SILENCE_S})
            await connection.execute(_QUERIES["sweep_calls"])
            await connection.execute(_QUERIES["sweep_lines"])
            await connection.execute(_QUERIES["sweep_files"])
            await connection.execute(_QUERIES["sweep_expired_files"])

    async def take_back(self) -> int:
        """Let the calls that were under way here before be made again; return how many those are."""
        async with self._database.system(timeout_s=_LONG_S) as connection:
            row = await (await connection.execute(_QUERIES["take_back"], {"owner": self.owner})).fetchone()
        assert row is not None
        return row["calls"]

    async def claim_batch(self) -> Batch | None:
        """Take a batch whose file is to be read, or whose results are to be written."""
        async with self._database.system() as connection:
            row = await (await connection.execute(_QUERIES["claim_batch"], {"owner": self.owner})).fetchone()
        return None if row is None else read_batch(row)

    async def add_lines(self, batch: Batch, lines: Sequence[Line | BadLine]) -> None:
        """Write lines of a batch down, good and bad; those that are there already stay."""
        errors = [msgspec.json.encode(each.failure).decode() if isinstance(each, BadLine) else None for each in lines]
        job_ids = [line_id(batch.batch_id, each.number) for each in lines]
        values = {
            **_of(batch),
            "key_id": batch.key_id,
            "path": batch.endpoint,
            "expires_at": batch.expires_at,
            "job_ids": job_ids,
            "lines": [each.number for each in lines],
            "custom_ids": [_text(each.custom_id) for each in lines],
            "bodies": [each.body if isinstance(each, Line) else None for each in lines],
            "errors": errors,
            "trace_ids": [trace_of(job_id) for job_id in job_ids],
        }
        async with self._database.system(timeout_s=_LONG_S) as connection:
            await connection.execute(_QUERIES["add_lines"], values)

    async def start(self, batch: Batch, total: int) -> None:
        """Let the lines of a batch be run; of one that was cancelled meanwhile, none."""
        async with self._database.system(timeout_s=_LONG_S) as connection:
            cursor = await connection.execute(_QUERIES["start_batch"], {**_of(batch), "total": total})
            if cursor.rowcount == 0:
                await connection.execute(_QUERIES["drop_waiting"], {**_of(batch), "error": _json(CANCELLED)})

    async def refuse(self, batch: Batch, failure: Failure) -> None:
        """End a batch of which no line is run."""
        errors = msgspec.json.encode([{**msgspec.to_builtins(failure), "param": "input_file_id"}]).decode()
        async with self._database.system(timeout_s=_LONG_S) as connection:
            await connection.execute(_QUERIES["drop_lines"], _of(batch))
            await connection.execute(_QUERIES["refuse_batch"], {**_of(batch), "errors": errors})

    async def close_batches(self) -> int:
        """Let batches be written that are run through, or whose time is over; return how many are open."""
        async with self._database.system(timeout_s=_LONG_S) as connection:
            await connection.execute(_QUERIES["expire_batches"])
            errors = {"cancelled": _json(CANCELLED), "expired": _json(_EXPIRED)}
            await connection.execute(_QUERIES["drop_unwanted"], errors)
            await connection.execute(_QUERIES["close_batches"])
            row = await (await connection.execute(_QUERIES["open_batches"])).fetchone()
        assert row is not None
        return row["batches"]

    async def results(self, batch: Batch, after: int, limit: int) -> list[dict[str, Any]]:
        """Read some lines of a batch with what came of them, in order."""
        async with self._database.system(timeout_s=_LONG_S) as connection:
            values = {**_of(batch), "after": after, "limit": limit}
            return await (await connection.execute(_QUERIES["read_results"], values)).fetchall()

    async def finish(
        self,
        batch: Batch,
        *,
        output_file_id: str | None,
        error_file_id: str | None,
        completed: int,
        failed: int,
        totals: Totals,
    ) -> None:
        """End a batch whose results are written. Its lines go, all but some that failed: they are in the files."""
        usage = totals.usage
        values = {
            **_of(batch),
            "output_file_id": output_file_id,
            "error_file_id": error_file_id,
            "completed": completed,
            "failed": failed,
            "model": _text(totals.model),
            "usage": None if usage is None else msgspec.json.encode(usage).decode(),
        }
        async with self._database.system(timeout_s=_LONG_S) as connection:
            await connection.execute(_QUERIES["finish_batch"], values)
            await connection.execute(_QUERIES["keep_failed_lines"], {**_of(batch), "most": FAILED_LINES_KEPT})

    async def backlog(self) -> Backlog:
        """Count what is open, of all tenants."""
        async with self._database.system(timeout_s=_LONG_S) as connection:
            row = await (await connection.execute(_QUERIES["backlog"])).fetchone()
        return msgspec.convert(row, Backlog)

    async def claim_calls(self, most: int, paused: Iterable[str]) -> list[Job]:
        """Take up to so many calls that are due; ``paused`` are keys, as ``tenant/key``, of which none is."""
        values = {"owner": self.owner, "most": most, "paused": list(paused)}
        async with self._database.system() as connection:
            rows = await (await connection.execute(_QUERIES["claim_calls"], values)).fetchall()
        return msgspec.convert(rows, list[Job])

    async def next_due_s(self) -> float | None:
        """Say when the next call is due, in seconds from now; ``None``: none waits."""
        async with self._database.system() as connection:
            row = await (await connection.execute(_QUERIES["next_due"])).fetchone()
        assert row is not None
        return row["in_s"]

    async def put_back(self, job: Job, after_s: float, *, counts: bool = True) -> None:
        """Let a call be tried again; ``counts``: whether this was a try."""
        values = {**_of_job(job), "owner": self.owner, "after_s": after_s, "uncounted": 0 if counts else 1}
        async with self._database.system() as connection:
            await connection.execute(_QUERIES["put_back"], values)

    async def fail(self, job: Job, answered: Answered | None, failure: Failure | None = None) -> None:
        """End a call that has no good answer, with the last bad one or with a reason."""
        values = {
            **_of_job(job),
            "owner": self.owner,
            "http_status": None if answered is None else answered.http_status,
            "answer": None if answered is None else answered.body,
            "error": None if failure is None else _json(failure),
        }
        async with self._database.system() as connection:
            await connection.execute(_QUERIES["fail_call"], values)
            await connection.execute(_QUERIES["notify"])


def _of(batch: Batch) -> dict[str, Any]:
    return {"tenant_id": batch.tenant_id, "batch_id": batch.batch_id}


def _of_job(job: Job) -> dict[str, Any]:
    return {"tenant_id": job.tenant_id, "job_id": job.job_id}


def _json(value: Failure) -> str:
    return msgspec.json.encode(value).decode()


def _text(value: str | None) -> str | None:
    """Make text that Postgres takes: NUL is none."""
    return None if value is None else value.replace("\0", "�")
