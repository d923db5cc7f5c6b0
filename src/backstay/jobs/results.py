"""Owns the lines of a batch's results, in OpenAI's shape. Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec


class _Response(msgspec.Struct, frozen=True):
    status_code: int
    request_id: str
    body: msgspec.Raw


class _Result(msgspec.Struct, frozen=True):
    id: str
    custom_id: str | None
    response: _Response | None
    error: dict[str, Any] | None


def write_result(row: Mapping[str, Any]) -> bytes:
    """Write one line of the output or error file: what was answered, or why nothing was."""
    response = None
    if row["answer"] is not None:
        response = _Response(row["http_status"], row["trace_id"], msgspec.Raw(_one_line(row["answer"])))
    result = _Result(row["job_id"], row["custom_id"], response, row["error"])
    return msgspec.json.encode(result) + b"\n"


def _one_line(answer: bytes) -> bytes:
    """Put an answer on one line: providers may write JSON over several."""
    return msgspec.json.format(answer, indent=-1) if b"\n" in answer else answer
