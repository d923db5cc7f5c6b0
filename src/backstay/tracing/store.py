"""Owns the SQL of traces: spans in; pages of calls, traces and figures out."""

import re
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import msgspec

from backstay.core.clock import Clock, SystemClock
from backstay.core.errors import InvalidRequest, NotFound
from backstay.store import Database, load_queries
from backstay.store.database import TIMEOUT_S
from backstay.store.grains import Cover, cover, floor
from backstay.tracing.tail import Tail
from backstay.tracing.types import Span
from backstay.tracing.views import (
    ALL_CALLS,
    Bucket,
    CallFilter,
    CallPage,
    Facets,
    Figures,
    ModelFigures,
    Neighbours,
    Overview,
    StoredSpan,
    Sums,
    Trace,
)


def _load() -> dict[str, LiteralString]:
    """Read the queries, with their shared parts put in."""
    queries = load_queries("backstay.tracing")
    rolled = queries["rolled_figures"]
    queries["rolled_overview"] = _grouped(rolled, ("stretch", "is_now"), "(stretch), (is_now)", latencies="all")
    queries["rolled_model_figures"] = _grouped(rolled, ("model", "target"), "(model, target)", latencies="target")
    parts: tuple[LiteralString, ...] = ("call_columns", "call_filter", "figures", "place")
    for part in parts:
        for name, text in queries.items():
            queries[name] = text.replace("{" + part + "}", queries[part])
    return queries


def _grouped(
    text: LiteralString, group: tuple[LiteralString, LiteralString], sets: LiteralString, *, latencies: LiteralString
) -> LiteralString:
    """Write the figures of calls for groups of two columns; ``latencies``: which histograms know them."""
    one, two = group
    return (
        text.replace("{group}", f"{one}, {two}")
        .replace("{sets}", sets)
        .replace("{latencies}", latencies)
        .replace("{group_of_counted}", f"counted.{one}, counted.{two}")
        .replace("{group_of_percentiles}", f"percentiles.{one}, percentiles.{two}")
    )


_QUERIES = _load()

MERGE_SPANS = _QUERIES["merge_spans"]
"""What the shipper runs on a batch to write its spans. Run again on the same batch, it changes nothing."""

MAX_CALLS = 500
"""Calls of one page."""

_RECENT = timedelta(days=1)
_SLOW_S = 20.0
"""Time limit, in seconds, of queries that may read a long time's calls; others have the database's own."""
_FACET_SPAN = timedelta(days=7)
_FACET_CALLS = 5_000
_FACET_VALUES = 50
_TRACE_ID_START = re.compile(r"[0-9a-f]{8,32}")


class TraceStore:
    """Reads the traces of one tenant at a time. Every method raises ``StoreUnavailable`` if Postgres does not answer.

    ``key_id`` narrows what is seen to the calls of one key, for callers who may read only their own.
    """

    def __init__(self, database: Database, *, clock: Clock | None = None):
        self._database = database
        self._clock = clock or SystemClock()
        self._tail = Tail(database, self._named_calls)

    async def list_calls(
        self, tenant_id: str, wanted: CallFilter = ALL_CALLS, *, limit: int = 50, before: str | None = None
    ) -> CallPage:
        """List calls, the newest first, without their attributes and texts.

        Args:
            before: Where to begin: ``next`` of the page before. ``None``: at the newest.

        Raises:
            InvalidRequest: The limit or ``before`` is not valid.
        """
        if not 1 <= limit <= MAX_CALLS:
            raise InvalidRequest(f"A page has 1 to {MAX_CALLS} calls.", param="limit")
        at, span_id = _parse_cursor(before) if before else (None, None)
        calls = await self._older(tenant_id, wanted, at=at, span_id=span_id, limit=limit + 1)
        page = calls[:limit]
        return CallPage(calls=tuple(page), next=_cursor(page[-1]) if len(calls) > limit else None)

    async def dearest_calls(self, tenant_id: str, wanted: CallFilter = ALL_CALLS, *, limit: int = 50) -> list[Span]:
        """List the calls that cost most, the dearest first; those of unknown cost are not among them.

        Raises:
            InvalidRequest: The limit is not valid.
        """
        if not 1 <= limit <= MAX_CALLS:
            raise InvalidRequest(f"A list has 1 to {MAX_CALLS} calls.", param="limit")
        return await self._calls("dearest_calls", tenant_id, wanted, limit=limit)

    async def neighbours(self, tenant_id: str, call: Span, wanted: CallFilter = ALL_CALLS) -> Neighbours:
        """Find the calls before and after one in the list that a filter gives."""
        at = _moment(call.started_at_ns)
        newer = await self._calls("newer_calls", tenant_id, wanted, at=at, span_id=call.span_id, limit=1)
        older = await self._older(tenant_id, wanted, at=at, span_id=call.span_id, limit=1)
        return Neighbours(newer=newer[0] if newer else None, older=older[0] if older else None)

    async def get_trace(self, tenant_id: str, id_or_prefix: str, *, key_id: str | None = None) -> Trace:
        """Read one trace whole, by its id or by the beginning of it: 8 digits or more that no other trace begins with.

        Raises:
            InvalidRequest: It is not the beginning of a trace id, or several traces begin so.
            NotFound: No trace begins so.
        """
        prefix = id_or_prefix.lower()
        if not _TRACE_ID_START.fullmatch(prefix):
            raise InvalidRequest(
                "A trace id is 32 hexadecimal digits. Give all, or the first 8 or more.", param="trace_id"
            )
        matches = await self._fetch(_QUERIES["matching_traces"], tenant_id, prefix=prefix, key_id=key_id)
        if not matches:
            raise NotFound(
                f"There is no trace {id_or_prefix}. It may not be shipped yet: calls appear within a second."
            )
        if len(matches) > 1:
            raise InvalidRequest(f"Several traces begin with {id_or_prefix}. Give more digits.", param="trace_id")
        trace_id = matches[0]["trace_id"]
        rows = await self._fetch(_QUERIES["trace"], tenant_id, trace_id=trace_id, key_id=key_id)
        return Trace(trace_id=trace_id, spans=msgspec.convert(rows, tuple[StoredSpan, ...]))

    async def overview(
        self, tenant_id: str, *, since: datetime, until: datetime, step: timedelta, key_id: str | None = None
    ) -> Overview:
        """Add calls up over a time, cut into stretches; stretches without calls are there, as zeros.

        Args:
            step: The length of a stretch. Stretches begin at its multiples since the epoch.

        Raises:
            InvalidRequest: The time or the stretches have no length.
        """
        if until <= since or step <= timedelta():
            raise InvalidRequest("`until` must be later than `since`.", param="until")
        before = since - (until - since)
        covered = cover(before, since, step=step) + cover(since, until, step=step)
        rows = await self._figures(
            "overview", tenant_id, covered, key_id, before=before, since=since, until=until, step=step
        )
        filled = {row.pop("stretch"): row for row in rows if row["stretch"] is not None}
        totals = {row["is_now"]: row for row in rows if row["is_now"] is not None}
        first = floor(since, step)
        return Overview(
            buckets=tuple(
                msgspec.convert({**filled.get(at, {}), "at": at}, Bucket)
                for at in (first + number * step for number in range(-((first - until) // step)))
            ),
            total=msgspec.convert(totals.get(True, {}), Figures),
            previous=msgspec.convert(totals.get(False, {}), Sums),
        )

    async def models(
        self, tenant_id: str, *, since: datetime, until: datetime, key_id: str | None = None
    ) -> list[ModelFigures]:
        """Add calls up by model and the target that served them, the busiest first."""
        covered = cover(since, until)
        rows = await self._figures(
            "model_figures", tenant_id, covered, key_id, since=since, until=until, step=timedelta(days=1)
        )
        return msgspec.convert(rows, list[ModelFigures])

    async def compare_rollups(self, tenant_id: str) -> int:
        """Count the sums kept of calls that are not what the calls add up to: 0 unless something is broken.

        It reads all calls.
        """
        (row,) = await self._fetch(_QUERIES["compare_rollups"], tenant_id, timeout_s=_SLOW_S)
        return row["differing"]

    async def facets(self, tenant_id: str, *, key_id: str | None = None) -> Facets:
        """Tell what the last week's newest 5,000 calls can be filtered by: up to 50 values of each kind."""
        rows = await self._fetch(
            _QUERIES["facets"],
            tenant_id,
            key_id=key_id,
            since=self._now() - _FACET_SPAN,
            calls=_FACET_CALLS,
            values=_FACET_VALUES,
        )
        found: dict[str, list[str]] = {}
        for row in rows:
            found.setdefault(row["facet"], []).append(row["value"])
        return msgspec.convert(found, Facets)

    def tail(
        self, tenant_id: str, wanted: CallFilter = ALL_CALLS, *, heartbeat_s: float = 15.0
    ) -> AsyncIterator[Sequence[Span]]:
        """Follow a tenant's new calls from now on; see ``Tail.follow``."""
        return self._tail.follow(tenant_id, wanted, heartbeat_s=heartbeat_s)

    async def _figures(
        self, query: str, tenant_id: str, covered: Cover, key_id: str | None, **params: Any
    ) -> list[dict[str, Any]]:
        """Read figures from sums where there are any: they do not tell keys apart."""
        if key_id is None and covered.is_rolled:
            text = covered.query(_QUERIES[f"rolled_{query}"], _QUERIES["edge"])
            return await self._fetch(text, tenant_id, timeout_s=_SLOW_S, **covered.params(), **params)
        return await self._fetch(_QUERIES[query], tenant_id, timeout_s=_SLOW_S, key_id=key_id, **params)

    async def _named_calls(
        self, tenant_id: str, wanted: CallFilter, names: Sequence[tuple[datetime, str]]
    ) -> list[Span]:
        starts, span_ids = zip(*names, strict=True)
        calls = await self._calls("named_calls", tenant_id, wanted, starts=list(starts), span_ids=list(span_ids))
        place = {span_id: number for number, span_id in enumerate(span_ids)}
        return sorted(calls, key=lambda call: place[call.span_id])

    async def _older(
        self, tenant_id: str, wanted: CallFilter, *, at: datetime | None, span_id: str | None, limit: int
    ) -> list[Span]:
        """Find calls from a place on, the newest first. The last day is looked at first: mostly that is enough."""
        place = {"at": at, "span_id": span_id, "limit": limit}
        if wanted.since is None and wanted.q is None:
            newest = min(moment for moment in (at, wanted.until, self._now()) if moment is not None)
            recent = msgspec.structs.replace(wanted, since=newest - _RECENT)
            calls = await self._calls("older_calls", tenant_id, recent, **place)
            if len(calls) == limit:
                return calls
        return await self._calls("older_calls", tenant_id, wanted, **place)

    async def _calls(self, query: str, tenant_id: str, wanted: CallFilter, **params: Any) -> list[Span]:
        conditions = {**msgspec.structs.asdict(wanted), "contains": None}
        conditions |= {"statuses": wanted.statuses and list(wanted.statuses), "without": list(wanted.without)}
        for name, value in conditions.items():
            if isinstance(value, str) and not _is_text(value):
                raise InvalidRequest("No call has such text: it holds characters that cannot be stored.", param=name)
        if wanted.q is not None:
            conditions["contains"] = f"%{_escape_like(wanted.q)}%"
            conditions["since"] = wanted.since or (wanted.until or self._now()) - _RECENT
        rows = await self._fetch(
            _QUERIES[query], tenant_id, timeout_s=_SLOW_S if wanted.q else TIMEOUT_S, **conditions, **params
        )
        return msgspec.convert(rows, list[Span])

    async def _fetch(
        self, query: LiteralString, tenant_id: str, *, timeout_s: float = TIMEOUT_S, **params: Any
    ) -> list[dict[str, Any]]:
        async with self._database.tenant(tenant_id, timeout_s=timeout_s) as connection:
            # Unprepared: planned for these very values, so that filters not asked for cost nothing.
            cursor = await connection.execute(query, {"tenant_id": tenant_id, **params}, prepare=False)
            return await cursor.fetchall()

    def _now(self) -> datetime:
        return _moment(self._clock.now_ns())


def _moment(at_ns: int) -> datetime:
    return datetime.fromtimestamp(at_ns // 1_000_000_000, UTC) + timedelta(microseconds=at_ns // 1_000 % 1_000_000)


def _cursor(call: Span) -> str:
    return f"{call.started_at_ns // 1_000}-{call.span_id}"


def _parse_cursor(cursor: str) -> tuple[datetime, str]:
    match = re.fullmatch(r"(\d{1,17})-([0-9a-f]{16})", cursor)
    if match is None:
        raise InvalidRequest("`before` must be the `next` of an earlier page.", param="before")
    return _moment(int(match[1]) * 1_000), match[2]


def _is_text(value: str) -> bool:
    """Return whether Postgres takes a string: it refuses NUL and lone surrogates."""
    return "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)


def _escape_like(text: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", text)
