"""Owns the nouns of jobs: files, batches, calls that are made later, and how each of them ends."""

import datetime as dt
import hashlib
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from backstay.core.money import NanoUSD
from backstay.jobs.totals import BatchUsage

MAX_LINES = 50_000
"""Lines of one batch. Source: OpenAI, Batch API guide (2025-11)."""
COMPLETION_WINDOW = "24h"
"""The one that there is. Source: OpenAI's OpenAPI document, CreateBatchRequest (2025-11)."""
WINDOW_S = 24 * 3600.0
SOONEST_EXPIRY_S, LATEST_EXPIRY_S = 3600, 2_592_000
"""Between which a file may go by itself. Source: OpenAI's OpenAPI document, FileExpirationAfter (2025-11)."""
FAILED_LINES_KEPT = 100
"""Of an ended batch, for people to look at; its error file has all."""
CHUNK_BYTES = 1024 * 1024
"""A file is kept in pieces of this size, and never held whole."""

Purpose = Literal["batch", "batch_output"]
BatchStatus = Literal[
    "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
]
JobState = Literal["waiting", "running", "done", "failed", "cancelled"]
"""``done``: there is a good answer. ``failed``: there will be none. ``cancelled``: it was never made."""


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a tenant; its content is apart, in chunks."""

    file_id: str
    key_id: str
    purpose: str
    filename: str
    size_bytes: int
    created_at: dt.datetime
    expires_at: dt.datetime | None
    """When it is let go of; ``None``: when it is deleted."""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A file of calls, run as the key that asked for it."""

    tenant_id: str
    batch_id: str
    key_id: str
    endpoint: str
    input_file_id: str
    completion_window: str
    metadata: dict[str, str] | None
    status: BatchStatus
    errors: list[dict[str, Any]] | None
    output_file_id: str | None
    error_file_id: str | None
    total: int
    completed: int
    failed: int
    cost_nanousd: NanoUSD | None
    """What is known of it so far; ``None``: the batch ended before sums were kept, or was never begun."""
    unknown_costs: int
    """Attempts of an ended batch of which nobody knows what they cost."""
    created_at: dt.datetime
    expires_at: dt.datetime
    in_progress_at: dt.datetime | None
    finalizing_at: dt.datetime | None
    completed_at: dt.datetime | None
    failed_at: dt.datetime | None
    expired_at: dt.datetime | None
    cancelling_at: dt.datetime | None
    cancelled_at: dt.datetime | None
    output_expires_after_s: int | None
    """How long its result files stay once they are made; ``None``: until they are deleted."""
    model: str | None
    """Which model gave all its answers, once it has ended; ``None``: several did, or none."""
    usage: BatchUsage | None
    """Of its answers, once it has ended; ``None``: there is none, or one does not say."""


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a call was not made."""

    code: str
    message: str
    line: int | None = None
    """Of the batch's file, from 1."""


class FailedLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a batch without a good answer, as people look at it."""

    line: int
    custom_id: str | None
    trace_id: str
    tries: int
    http_status: int | None
    error: Failure | None
    answer: bytes | None
    """``None``: none came, or it is long."""

    @property
    def was_made(self) -> bool:
        """Whether it became a call, which has a trace."""
        return self.tries > 0


class OpenLines(msgspec.Struct, frozen=True, kw_only=True):
    """How many lines of a batch are not made yet, and how many are under way."""

    waiting: int
    running: int


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What of a tenant's is open."""

    batches: int
    waiting: int
    """Calls, of batches and single ones."""
    running: int
    late_webhooks: int
    """Webhooks that a try did not deliver, and that are tried again."""


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """What of all tenants' is open: lines of batches, single calls, and webhooks that are to be delivered."""

    waiting_lines: int
    waiting_calls: int
    running_lines: int
    running_calls: int
    overdue_s: float
    """For how long the call that is due longest has waited to be made; 0: none is due."""
    waiting_webhooks: int


class Terms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came with a call beside its body."""

    forward: Mapping[str, str] = {}
    feature: str | None = None
    tags: tuple[str, ...] = ()
    parent_id: str | None = None
    cache_control: str | None = None
    """The header's text."""
    max_cost_nanousd: NanoUSD | None = None
    """The most that it may cost."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A call to be made now, in its turn."""

    tenant_id: str
    job_id: str
    key_id: str
    batch_id: str | None
    path: str
    body: bytes
    terms: Terms
    trace_id: str
    tries: int
    """This one counted."""
    left_s: float
    """Until it is too late."""


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one try."""

    http_status: int
    body: bytes
    is_good: bool
    """Whether the journal has it, so that nothing is left to do."""
    is_worth_another: bool = False
    retry_after_s: float | None = None
    is_limited: bool = False
    """Whether a limit of the caller was used up: its other calls need not try either."""


class JobEnd(msgspec.Struct, frozen=True, kw_only=True):
    """What a journal says of a job whose call was answered: the answer, beside what it cost."""

    job_id: str
    answer: bytes


def line_id(batch_id: str, line: int) -> str:
    """Return the id of a line's call: the same however often the file is read."""
    return f"batch_req_{_digest(f'{batch_id}:{line}')[:24]}"


def result_file_id(batch_id: str, kind: Literal["output", "error"]) -> str:
    """Return the id of a batch's result: the same however often it is written."""
    return f"file-{_digest(f'{batch_id}:{kind}')[:24]}"


def trace_of(job_id: str) -> str:
    """Return the trace that all tries of a job belong to."""
    return _digest(job_id)[:32]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
