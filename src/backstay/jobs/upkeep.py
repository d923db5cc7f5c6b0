"""Owns the two ends of a batch: its file is read into calls, and their answers are written into files."""

import logging
from collections.abc import AsyncIterator
from typing import Literal

from backstay.jobs.files import Files, FileWriter
from backstay.jobs.lines import BadLine, Line, LineCutter, LineReader
from backstay.jobs.results import write_result
from backstay.jobs.store import JobStore
from backstay.jobs.totals import Totals
from backstay.jobs.types import MAX_LINES, Batch, Failure, result_file_id

_LINES_AT_ONCE = 500
_BYTES_AT_ONCE = 4 * 1024 * 1024
_RESULTS_AT_ONCE = 200

_log = logging.getLogger(__name__)


class Upkeep:
    """Reads and writes batches, one at a time. What a killed process began is begun anew, to the same end."""

    def __init__(self, store: JobStore, files: Files, *, longest_line_bytes: int):
        self._store = store
        self._files = files
        self._longest_line_bytes = longest_line_bytes

    async def run_once(self) -> bool:
        """Do the next thing that is to be done; ``False`` if there is none."""
        batch = await self._store.claim_batch()
        if batch is None:
            return False
        if batch.status == "validating":
            await self._read(batch)
        else:
            await self._write(batch)
        return True

    async def _read(self, batch: Batch) -> None:
        """Make calls of a batch's lines. A bad line fails by itself; the others are run."""
        total, waiting, size_bytes = 0, list[Line | BadLine](), 0
        async for line in self._lines(batch):
            total += 1
            if total > MAX_LINES:
                await self._store.refuse(
                    batch, Failure(code="too_many_lines", message=f"The file has more than {MAX_LINES:,} lines.")
                )
                return
            waiting.append(line)
            size_bytes += len(line.body) if isinstance(line, Line) else 0
            if len(waiting) >= _LINES_AT_ONCE or size_bytes >= _BYTES_AT_ONCE:
                await self._store.add_lines(batch, waiting)
                waiting, size_bytes = [], 0
        if waiting:
            await self._store.add_lines(batch, waiting)
        if total == 0:
            await self._store.refuse(
                batch, Failure(code="empty_file", message="The file has no line, or was deleted before it was read.")
            )
            return
        await self._store.start(batch, total)
        _log.info("batch %s has %d calls to make", batch.batch_id, total)

    async def _lines(self, batch: Batch) -> AsyncIterator[Line | BadLine]:
        cutter = LineCutter(self._longest_line_bytes)
        reader = LineReader(batch.endpoint, self._longest_line_bytes)
        async for piece in self._files.read(batch.tenant_id, batch.input_file_id):
            for text in cutter.feed(piece):
                if (line := reader.read(text)) is not None:
                    yield line
        for text in cutter.end():
            if (line := reader.read(text)) is not None:
                yield line

    async def _write(self, batch: Batch) -> None:
        """Write what came of a batch's lines, in their order: answers into one file, the others into another."""
        output, errors = _Result(self._files, batch, "output"), _Result(self._files, batch, "error")
        completed = failed = after = 0
        totals = Totals()
        while rows := await self._store.results(batch, after, _RESULTS_AT_ONCE):
            for row in rows:
                completed += row["state"] == "done"
                failed += row["state"] == "failed"
                if row["state"] == "done":
                    totals.add(row["answer"])
                await (output if row["state"] == "done" else errors).write(write_result(row))
            after = rows[-1]["line"]
        await self._store.finish(
            batch,
            output_file_id=await output.end(),
            error_file_id=await errors.end(),
            completed=completed,
            failed=failed,
            totals=totals,
        )
        _log.info("batch %s has ended: %d calls answered, %d failed", batch.batch_id, completed, failed)


class _Result:
    """A result file, begun with its first line: there is none where there is nothing to tell."""

    def __init__(self, files: Files, batch: Batch, kind: Literal["output", "error"]):
        self._files = files
        self._batch = batch
        self._kind: Literal["output", "error"] = kind
        self._writer: FileWriter | None = None

    async def write(self, line: bytes) -> None:
        if self._writer is None:
            batch = self._batch
            file_id = result_file_id(batch.batch_id, self._kind)
            self._writer = await self._files.writer(batch.tenant_id, batch.key_id, file_id, "batch_output")
        await self._writer.write(line)

    async def end(self) -> str | None:
        if self._writer is None:
            return None
        name = f"{self._batch.batch_id}_{self._kind}.jsonl"
        return (await self._writer.end(name, expires_after_s=self._batch.output_expires_after_s)).file_id
