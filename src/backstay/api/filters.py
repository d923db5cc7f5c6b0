"""Owns which calls a caller may read, and the filter that their query describes."""

import datetime as dt

from backstay.api.answers import moment
from backstay.api.shapes import CallQuery
from backstay.core.caller import Caller
from backstay.core.errors import Forbidden
from backstay.tracing import CallFilter


def own_key(caller: Caller) -> str | None:
    """Return the key whose calls alone the caller may read; ``None`` for all of the tenant."""
    return caller.id if caller.kind == "key" and not caller.may("admin") else None


def call_filter(caller: Caller, query: CallQuery) -> CallFilter:
    now = dt.datetime.now(dt.UTC)
    own = own_key(caller)
    if own is not None and query.key not in (None, own):
        raise Forbidden("This key reads its own calls only. Leave `key` out, or use a key with the right `admin`.")
    return CallFilter(
        since=None if query.since is None else moment(query.since, now, "since"),
        until=None if query.until is None else moment(query.until, now, "until"),
        model=query.model,
        target=query.target,
        tried=query.tried,
        user=query.user,
        feature=query.feature,
        tag=query.tag,
        key_id=own or query.key,
        batch_id=query.batch,
        status=query.status,
        q=query.q,
    )


def window(since: str, until: str | None) -> tuple[dt.datetime, dt.datetime]:
    """Read a stretch of time; without an end it ends now."""
    now = dt.datetime.now(dt.UTC)
    return moment(since, now, "since"), now if until is None else moment(until, now, "until")
