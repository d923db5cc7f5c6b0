"""Owns waiting for the books: a call's trace and cost can be read a moment after its answer has ended."""

import time
from typing import Any

from backstay.cli.http import Client, ServerError

LATEST_S = 5.0
_PAUSE_S = 0.05
_NOT_YET = (404, 503)
"""Not shipped yet, or Postgres is away."""


def recorded_call(client: Client, trace_id: str, *, limit_s: float = LATEST_S) -> dict[str, Any] | None:
    """Return a call's root span as soon as it is in the books; ``None`` if it is not within the limit."""
    give_up = time.monotonic() + limit_s
    while time.monotonic() < give_up:
        try:
            return client.get(f"/v1/traces/{trace_id}")["spans"][0]
        except ServerError as error:
            if error.status not in _NOT_YET:
                raise
        time.sleep(_PAUSE_S)
    return None
