"""Traces in Postgres: spans arrive once, lists filter and page exactly, figures add up, tenants stay apart."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trace_shipping import Ship, attempt, call

from backstay.core.errors import InvalidRequest, NotFound
from backstay.core.ids import new_span_id
from backstay.core.money import NanoUSD
from backstay.store import Database
from backstay.tracing import CallFilter, Span, TraceStore
from backstay.tracing.views import Bucket, Facets, Figures, ModelFigures, Sums

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class Clock:
    """Stands at one o'clock in the afternoon of the tests' day."""

    def now_ns(self) -> int:
        return int((NOON + timedelta(hours=1)).timestamp()) * 1_000_000_000

    def monotonic_ns(self) -> int:
        return 0


@pytest.fixture
async def traces(database: Database) -> AsyncIterator[TraceStore]:
    yield TraceStore(database, clock=Clock())


async def _listed(traces: TraceStore, **conditions: Any) -> list[str]:
    """List the span ids that a filter lets through."""
    page = await traces.list_calls("acme", CallFilter(**conditions))
    return [found.span_id for found in page.calls]


async def test_a_span_comes_back_as_it_was(traces: TraceStore, ship: Ship, tenant: str):
    """Every field survives, to the microsecond, and the call's own span has the texts of the wire."""
    root = call(
        NOON + timedelta(microseconds=123_457),
        parent_id="00000000000000ff",
        duration_ns=1_234_567_891,
        status="error",
        error_code="provider_error",
        error_message="Overloaded\nnow",
        key_id="key_1",
        user_id="jo",
        feature="search",
        tags=("a", "ü"),
        http_status=529,
        stream=True,
        first_token_ns=5,
        input_tokens=3,
        output_tokens=4,
        cost_nanousd=NanoUSD(12),
        attributes={"gen_ai.request.model": "fast", "nested": {"list": [1, 2.5, None]}},
        input_dialect="openai",
        output_dialect="openai",
    )
    child = attempt(root)
    await ship(tenant, [root, child], input='{"a": "\\u0000 \\ud800"}', output="not json\t\\x\n")
    trace = await traces.get_trace(tenant, root.trace_id)
    stored_root, stored_child = trace.spans
    assert (stored_root.input, stored_root.output) == ('{"a": "\\u0000 \\ud800"}', "not json\t\\x\n")
    assert (stored_child.input, stored_child.output) == (None, None)
    assert msgspec.to_builtins(stored_root) == msgspec.to_builtins(root) | {
        "input": stored_root.input,
        "output": stored_root.output,
    }
    assert msgspec.to_builtins(stored_child) == msgspec.to_builtins(child)


async def test_a_call_without_texts_has_none(traces: TraceStore, ship: Ship, tenant: str):
    """Where only figures are captured, input and output are None, not empty."""
    root = call(NOON)
    await ship(tenant, root)
    (stored,) = (await traces.get_trace(tenant, root.trace_id)).spans
    assert (stored.input, stored.output) == (None, None)


async def test_a_call_that_comes_twice_is_listed_once(traces: TraceStore, ship: Ship, tenant: str):
    """Shipping the same spans again changes nothing."""
    root = call(NOON)
    await ship(tenant, [root, attempt(root)])
    await ship(tenant, [root, attempt(root, span_id="00000000000000aa")], [root])
    assert await _listed(traces) == [root.span_id]


async def test_an_attempt_after_midnight_is_kept_with_its_call(traces: TraceStore, ship: Ship, tenant: str):
    """Spans of one call may fall on two days."""
    midnight = NOON + timedelta(hours=12)
    root = call(midnight - timedelta(microseconds=1))
    await ship(tenant, [root, attempt(root)])
    assert len((await traces.get_trace(tenant, root.trace_id)).spans) == 2


async def test_each_filter_lets_its_own_calls_through(traces: TraceStore, ship: Ship, tenant: str):
    """A condition on any field finds the call that meets it and leaves out the one that does not."""
    plain = call(NOON)
    special = call(
        NOON + SECOND,
        model="smart",
        target="other/big",
        user_id="jo",
        feature="search",
        tags=("blue", "green"),
        key_id="key_1",
        status="cancelled",
    )
    await ship(tenant, plain, special)
    assert await _listed(traces) == [special.span_id, plain.span_id]
    for condition in (
        {"model": "smart"},
        {"target": "other/big"},
        {"user": "jo"},
        {"feature": "search"},
        {"tag": "green"},
        {"key_id": "key_1"},
        {"status": "cancelled"},
        {"trace_id": special.trace_id},
        {"since": NOON + SECOND},
        {"model": "smart", "user": "jo", "tag": "blue"},
    ):
        assert await _listed(traces, **condition) == [special.span_id], condition
    assert await _listed(traces, until=NOON + SECOND) == [plain.span_id]
    assert await _listed(traces, model="smart", user="mo") == []


async def test_text_is_found_wherever_it_stands(traces: TraceStore, ship: Ship, tenant: str):
    """Search reads input, output, errors and the beginnings of ids, whatever the case; wildcards are plain text."""
    asked, answered = call(NOON), call(NOON + SECOND)
    failed = call(NOON + 2 * SECOND, status="error", error_message="quota of 100% used", trace_id="abcdef12" + 24 * "0")
    await ship(tenant, asked, input='{"content": "Where is the Blue_Whale?"}')
    await ship(tenant, answered, output='{"content": "In the back\\\\slash sea"}')
    await ship(tenant, failed)
    assert await _listed(traces, q="blue_whale") == [asked.span_id]
    assert await _listed(traces, q="blue%whale") == []
    assert await _listed(traces, q="100%") == [failed.span_id]
    assert await _listed(traces, q="back\\\\slash") == [answered.span_id]
    assert await _listed(traces, q="ABCDEF12") == [failed.span_id]
    assert await _listed(traces, q=asked.span_id) == [asked.span_id]


async def test_text_is_searched_in_the_last_day_unless_told_otherwise(traces: TraceStore, ship: Ship, tenant: str):
    """A search has a bounded time to look through; an older beginning must be asked for."""
    old = call(NOON - timedelta(days=2))
    await ship(tenant, old, input="needle")
    assert await _listed(traces, q="needle") == []
    assert await _listed(traces, q="needle", until=NOON - timedelta(days=1, hours=12)) == [old.span_id]
    assert await _listed(traces, q="needle", since=NOON - timedelta(days=3)) == [old.span_id]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    offsets=st.lists(st.integers(-3, 3).map(lambda step: step * 43_200), min_size=1, max_size=12),
    limit=st.integers(1, 5),
)
async def test_pages_hold_every_call_once_newest_first(database: Database, ship: Ship, offsets: list[int], limit: int):
    """Walking the pages gives all calls in order, also where many began in the same microsecond, days apart or not."""
    traces = TraceStore(database, clock=Clock())
    async with database.system() as connection:
        await connection.execute("insert into tenants (tenant_id) values ('acme') on conflict do nothing")
    user = new_span_id()
    calls = [call(NOON + timedelta(seconds=offset), user_id=user) for offset in offsets]
    await ship("acme", *calls)
    walked: list[str] = []
    before = None
    while True:
        page = await traces.list_calls("acme", CallFilter(user=user), limit=limit, before=before)
        assert len(page.calls) == limit or page.next is None
        walked += [found.span_id for found in page.calls]
        if page.next is None:
            break
        before = page.next
    expected = sorted(calls, key=lambda made: (made.started_at_ns, made.span_id), reverse=True)
    assert walked == [made.span_id for made in expected]


@pytest.mark.parametrize(
    ("limit", "before"), [(0, None), (501, None), (10, "yesterday"), (10, "1-xyz"), (10, "9" * 30)]
)
async def test_a_page_that_cannot_be_is_refused(traces: TraceStore, limit: int, before: str | None):
    """Limits have bounds, and a cursor is one that a page gave."""
    with pytest.raises(InvalidRequest):
        await traces.list_calls("acme", limit=limit, before=before)


@pytest.mark.parametrize("text", ["\0", "a\0b", "\ud800"])
@pytest.mark.parametrize("field", ["q", "user", "model"])
async def test_text_that_cannot_be_stored_is_refused(traces: TraceStore, field: str, text: str):
    """Characters that Postgres does not take give a clear error that names the filter."""
    with pytest.raises(InvalidRequest) as caught:
        await traces.list_calls("acme", msgspec.convert({field: text}, CallFilter))
    assert caught.value.param == field


async def test_neighbours_are_the_calls_beside_one_in_the_list(traces: TraceStore, ship: Ship, tenant: str):
    """Newer and older are those of the filtered list, days apart or in the same instant, and None at its ends."""
    first = call(NOON - timedelta(days=9), user_id="jo")
    twins = sorted((call(NOON, user_id="jo") for _ in range(2)), key=lambda made: made.span_id)
    other = call(NOON + SECOND)
    await ship(tenant, first, *twins, other)
    jo = CallFilter(user="jo")

    def ids(*found: Span | None) -> list[str | None]:
        return [span and span.span_id for span in found]

    beside = await traces.neighbours(tenant, twins[0], jo)
    assert ids(beside.newer, beside.older) == [twins[1].span_id, first.span_id]
    assert ids((await traces.neighbours(tenant, twins[1], jo)).newer) == [None]
    assert ids((await traces.neighbours(tenant, twins[1])).newer) == [other.span_id]
    assert ids((await traces.neighbours(tenant, first, jo)).older) == [None]


async def test_a_trace_is_found_by_the_beginning_of_its_id(traces: TraceStore, ship: Ship, tenant: str):
    """Eight digits suffice where they are unique, whatever their case; else the error says what to do."""
    one, two = call(NOON, trace_id="abcdef0123" + 22 * "a"), call(NOON, trace_id="abcdef0124" + 22 * "b")
    await ship(tenant, one, two)
    assert (await traces.get_trace(tenant, "ABCDEF0123")).trace_id == one.trace_id
    with pytest.raises(InvalidRequest, match="more digits"):
        await traces.get_trace(tenant, "abcdef01")
    with pytest.raises(InvalidRequest, match="first 8"):
        await traces.get_trace(tenant, "abcdef0")
    with pytest.raises(InvalidRequest, match="hexadecimal"):
        await traces.get_trace(tenant, "abcdef0123%")
    with pytest.raises(NotFound):
        await traces.get_trace(tenant, "abcdef0125")


async def test_a_reader_of_one_key_sees_its_calls_and_their_attempts_only(traces: TraceStore, ship: Ship, tenant: str):
    """In a trace that two keys share, and in every list and figure, a key's reader finds its own calls."""
    own = call(NOON, key_id="key_1", trace_id=32 * "a")
    foreign = call(NOON, key_id="key_2", trace_id=32 * "a")
    hidden = call(NOON, key_id="key_2")
    mine = attempt(own)
    await ship(tenant, [own, mine], [foreign, attempt(foreign)], [hidden])
    trace = await traces.get_trace(tenant, 32 * "a", key_id="key_1")
    assert {span.span_id for span in trace.spans} == {own.span_id, mine.span_id}
    with pytest.raises(NotFound):
        await traces.get_trace(tenant, hidden.trace_id, key_id="key_1")
    window: dict[str, Any] = {"since": NOON - SECOND, "until": NOON + SECOND, "key_id": "key_1"}
    assert (await traces.overview(tenant, step=SECOND, **window)).total.calls == 1
    assert [row.calls for row in await traces.models(tenant, **window)] == [1]
    assert (await traces.facets(tenant, key_id="key_1")).keys == ("key_1",)


async def test_an_overview_adds_up_stretches_totals_and_the_time_before(traces: TraceStore, ship: Ship, tenant: str):
    """Stretches without calls are zeros; percentiles are of calls that took place; cancelled calls are no errors."""
    hour = timedelta(hours=1)
    quick = {"duration_ns": 10, "first_token_ns": 1, "input_tokens": 5, "output_tokens": 2}
    await ship(
        tenant,
        call(NOON - hour, cost_nanousd=NanoUSD(1_000)),
        call(NOON, cost_nanousd=NanoUSD(100), **quick),
        call(NOON + timedelta(minutes=14), cost_nanousd=NanoUSD(20), status="error", duration_ns=30),
        call(NOON + timedelta(minutes=45), status="interrupted", duration_ns=50),
        call(NOON + timedelta(minutes=59, seconds=59), status="cancelled", duration_ns=70, cost_nanousd=NanoUSD(3)),
        call(NOON + hour, cost_nanousd=NanoUSD(9_999)),
    )
    overview = await traces.overview(tenant, since=NOON, until=NOON + hour, step=hour / 4)
    quarters = [NOON + timedelta(minutes=15) * number for number in range(4)]
    assert overview.buckets == (
        Bucket(
            at=quarters[0],
            calls=2,
            errors=1,
            cost_nanousd=NanoUSD(120),
            input_tokens=5,
            output_tokens=2,
            p50_ns=10,
            p95_ns=30,
            first_token_p95_ns=1,
        ),
        Bucket(at=quarters[1]),
        Bucket(at=quarters[2]),
        Bucket(
            at=quarters[3],
            calls=2,
            errors=1,
            cost_nanousd=NanoUSD(3),
            unknown_cost_calls=1,
            p50_ns=50,
            p95_ns=70,
        ),
    )
    assert overview.total == Figures(
        calls=4,
        errors=2,
        cost_nanousd=NanoUSD(123),
        unknown_cost_calls=1,
        input_tokens=5,
        output_tokens=2,
        p50_ns=30,
        p95_ns=70,
        first_token_p95_ns=1,
    )
    assert (overview.previous.calls, overview.previous.cost_nanousd) == (1, 1_000)


async def test_an_overview_of_nothing_is_zeros(traces: TraceStore, tenant: str):
    """Before the first call there is an overview all the same."""
    overview = await traces.overview(tenant, since=NOON, until=NOON + SECOND, step=SECOND / 2)
    assert [bucket.calls for bucket in overview.buckets] == [0, 0]
    assert (overview.total, overview.previous) == (Figures(), Sums())
    with pytest.raises(InvalidRequest, match="later than"):
        await traces.overview(tenant, since=NOON, until=NOON, step=SECOND)


async def test_models_are_told_apart_by_target(traces: TraceStore, ship: Ship, tenant: str):
    """One row for each model on each target, the busiest first; calls that reached none are one row, whatever named."""
    await ship(
        tenant,
        call(NOON, duration_ns=10),
        call(NOON, duration_ns=20, status="error"),
        call(NOON, target=None, status="error", cost_nanousd=NanoUSD(0), duration_ns=1),
        call(NOON, model="fats", target=None, status="error", cost_nanousd=NanoUSD(0), duration_ns=1),
    )
    first, second = await traces.models(tenant, since=NOON, until=NOON + SECOND)
    assert first == ModelFigures(
        model="fast", target="acme/gpt", calls=2, errors=1, unknown_cost_calls=2, p50_ns=10, p95_ns=20
    )
    assert (second.model, second.target, second.calls) == (None, None, 2)


async def test_facets_are_what_recent_calls_have(traces: TraceStore, ship: Ship, tenant: str):
    """Filter menus list each value once, the most frequent first, and no empty ones."""
    await ship(
        tenant,
        call(NOON, user_id="jo", tags=("x", "y")),
        call(NOON, user_id="mo", tags=("y",), feature="search", key_id="key_1"),
        call(NOON, user_id="mo", model="smart"),
        call(NOON, model="smart"),
        call(NOON - timedelta(days=8), model="forgotten"),
    )
    assert await traces.facets(tenant) == Facets(
        models=("fast", "smart"),
        targets=("acme/gpt",),
        users=("mo", "jo"),
        features=("search",),
        keys=("key_1",),
        tags=("y", "x"),
    )


async def test_another_tenants_traces_are_not_seen(traces: TraceStore, ship: Ship, tenant: str):
    """Whatever is asked of one tenant, nothing of another's comes back."""
    root = call(NOON, user_id="jo")
    await ship(tenant, [root, attempt(root)], input="secret")
    for wanted in (CallFilter(), CallFilter(q="secret"), CallFilter(user="jo"), CallFilter(trace_id=root.trace_id)):
        assert (await traces.list_calls("default", wanted)).calls == ()
    with pytest.raises(NotFound):
        await traces.get_trace("default", root.trace_id)
    assert await traces.facets("default") == Facets()
    window: dict[str, Any] = {"since": NOON - SECOND, "until": NOON + SECOND}
    assert (await traces.overview("default", step=SECOND, **window)).total.calls == 0
    assert await traces.models("default", **window) == []
    beside = await traces.neighbours("default", call(NOON - SECOND))
    assert (beside.newer, beside.older) == (None, None)
