"""The pages of calls and costs: every call is found once, every sum is the ledger's, and only one's own tenant's."""

import csv
import io
import random
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from console_seed import MODELS, Call, chat_answer, hostile_request, make_call, make_month, ship
from console_site import TENANT, Browser, Site

from backstay.access.types import Role
from backstay.core.money import NanoUSD

Enter = Callable[[Role], Awaitable[Browser]]

ROW = re.compile(r'<tr id="call-([0-9a-f]{16})">')


async def test_paging_shows_every_call_once(enter: Enter, month: list[str]) -> None:
    """Older by older, the list holds all 1,201 calls of the month, in order of time."""
    browser = await enter("viewer")
    seen: list[str] = []
    times: list[str] = []
    path: str | None = "/traces?range=30d"
    while path:
        html = await browser.get(path)
        seen += ROW.findall(html)
        times += re.findall(r'<tr id=[^<]+<td[^<]+<time datetime="([^"]+)"', html)
        following = re.search(r'href="([^"]+)" rel="next"', html)
        path = following[1].replace("&amp;", "&") if following else None
    assert len(seen) == len(set(seen)) == 1201
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("field", ["model", "feature", "status", "user", "target", "tag", "key"])
async def test_filters_narrow(site: Site, enter: Enter, field: str) -> None:
    """A filter leaves just the calls that have the value, whatever characters it is made of."""
    value = {"status": "cancelled", "key": "key_50%", "model": "no model's <b> & name"}.get(field, "50%_'\"&<b>")
    fields = {"user": {"user_id": value}, "tag": {"tags": (value, "b")}, "key": {"key_id": value}}
    rng, now = random.Random(3), datetime.now(UTC)
    wanted = make_call(rng, now - timedelta(minutes=5), "key_x")
    from msgspec.structs import replace

    wanted.spans[0] = replace(wanted.spans[0], **fields.get(field, {field: value}))
    others = [make_call(rng, now - timedelta(minutes=5), "key_x") for _ in range(3)]
    await ship(site.database, TENANT, [wanted, *others])
    browser = await enter("viewer")
    response = await browser.http.get("/traces", params={field: value})
    assert ROW.findall(response.text) == [wanted.spans[0].span_id]


async def test_text_is_found(site: Site, enter: Enter, month: list[str]) -> None:
    """In requests and answers, and by the beginning of a trace id; per cent signs are per cent signs."""
    browser = await enter("viewer")
    call = make_call(random.Random(5), datetime.now(UTC) - timedelta(minutes=1), month[0], feature="support-answer")
    call.input = call.input.replace("shoes", "100% pomegranates")
    await ship(site.database, TENANT, [call])
    for text in ("100% POMEGRANATES", call.spans[0].trace_id[:12]):
        response = await browser.http.get("/traces", params={"q": text})
        assert ROW.findall(response.text) == [call.spans[0].span_id]
    assert "No call fits" in await browser.get("/traces?q=%25%25%25")


async def test_overview_counts_what_is_there(enter: Enter, month: list[str]) -> None:
    """Calls of the day, and the dollars that the cost report adds up to."""
    browser = await enter("viewer")
    html = await browser.get("/")
    rows = list(csv.DictReader(io.StringIO(await browser.get("/?format=csv"))))
    calls = sum(int(row["calls"]) for row in rows)
    assert f'<span class="value">{calls}</span>' in html
    spend = sum(Decimal(row["cost_usd"]) for row in rows)
    assert f'<span class="value">${spend:,.2f}</span>' in html


async def test_costs_as_csv_are_exact(enter: Enter, month: list[str]) -> None:
    """By any dimension the file adds up to the same sum; what is unknown is counted, not added."""
    browser = await enter("viewer")
    totals: set[tuple[Decimal, int, int]] = set()
    for by in ("model", "feature", "user", "target", "key", "model&then=feature"):
        text = await browser.get(f"/costs?range=30d&format=csv&by={by}")
        rows = list(csv.DictReader(io.StringIO(text)))
        totals.add(
            (
                sum((Decimal(row["cost_usd"]) for row in rows), Decimal()),
                sum(int(row["calls"]) for row in rows),
                sum(int(row["unknown_cost_calls"]) for row in rows),
            )
        )
    assert len(totals) == 1


async def test_costs_tell_what_moved_and_what_was_lost(site: Site, enter: Enter) -> None:
    """What changed most since the time before comes first, with its sign; what nobody used is added up by why."""
    now, rng, calls = datetime.now(UTC) - timedelta(hours=1), random.Random(3), list[Call]()
    for feature, days in (("fading", 8), ("fading", 8), ("rising", 0)):
        at = now - timedelta(days=days)
        calls.append(make_call(rng, at, "key_x", feature=feature, status="ok", cost_nanousd=NanoUSD(10_000_000)))
    for call, unused in zip(calls, (None, None, "hedge"), strict=True):
        entry = msgspec.structs.replace(call.entries[0], cost_nanousd=NanoUSD(10_000_000), unused=unused)
        call.entries = [entry]
    await ship(site.database, TENANT, calls)
    html = await (await enter("viewer")).get("/costs?by=feature")
    movers = re.findall(r'class="whole" href="([^"]*)">(fading|rising)</a></td>\s*<td class="number main">(.)<', html)
    assert [(name, sign) for _, name, sign in movers] == [("fading", "−"), ("rising", "+")]
    assert "feature=fading" in movers[0][0] and "since=" in movers[0][0], "the calls of the time before"
    assert re.search(r"hedge</a></td>.*?\$0\.01", html, re.DOTALL)


async def test_costs_of_more_users_than_a_report_lists(site: Site, enter: Enter) -> None:
    """A user whom hundreds of others exceed has still cost what they did; the plot adds up those it does not name."""
    now = datetime.now(UTC)
    async with site.database.system(timeout_s=30) as connection:
        for at, user, cost, first, last in (
            (now - timedelta(hours=1), "faded", 10_000_000, 0, 0),
            (now - timedelta(days=8), "faded", 1_000_000_000, 0, 0),
            (now - timedelta(hours=1), "user-", 20_000_000, 1, 1_001),
        ):
            await connection.execute("select ensure_partitions(%s::date)", [at])
            await connection.execute(
                """
                insert into ledger_entries (tenant_id, at, call_id, attempt, trace_id, user_id, model, target,
                                            cost_nanousd)
                select %s, %s, lpad(%s || number, 16, '0'), 0, 'trace', %s || coalesce(nullif(number, 0)::text, ''),
                       'm', 'acme/m', %s
                from generate_series(%s::int, %s) as number
                """,
                [TENANT, at, user[0], user, cost, first, last],
            )
    html = await (await enter("viewer")).get("/costs?by=user&range=7d")
    movers = html[html.index("Top movers") :]
    faded = movers[movers.index(">faded</a>") :]
    assert re.findall(r"\$\d\.\d{6}", faded)[:3] == ["$0.990000", "$1.000000", "$0.010000"]
    assert "others" in html


async def test_savings_lead_to_their_calls(site: Site, enter: Enter) -> None:
    """Equal requests stand there with what the repeats cost, and lead to the calls."""
    at, rng = datetime.now(UTC) - timedelta(hours=1), random.Random(4)
    calls = [make_call(rng, at, "key_x", feature="support-answer", status="ok") for _ in range(3)]
    await ship(site.database, TENANT, calls)
    html = await (await enter("viewer")).get("/costs/savings")
    assert "Equal requests" in html
    assert re.search(r'href="/traces\?[^"]*feature=support-answer', html)


async def test_a_name_cannot_become_a_formula(site: Site, enter: Enter) -> None:
    """A spreadsheet reads it as text."""
    call = make_call(random.Random(1), datetime.now(UTC), "key_x", feature='=HYPERLINK("http://evil")', status="ok")
    await ship(site.database, TENANT, [call])
    text = await (await enter("viewer")).get("/costs?by=feature&format=csv")
    assert text.splitlines()[1].startswith("\"'=HYPERLINK")


async def test_a_trace_tells_what_it_cost(site: Site, enter: Enter) -> None:
    """Each line of the bill, its unit price and source, and the exact total."""
    call = make_call(random.Random(2), datetime.now(UTC), "key_x", feature="support-answer", status="ok")
    await ship(site.database, TENANT, [call])
    html = await (await enter("viewer")).get(f"/traces/{call.spans[0].trace_id}")
    (entry,) = call.entries
    for line in entry.lines:
        assert f'<td class="number">{line.quantity:,}</td><td class="number quiet">{line.usd_per_million}</td>' in html
    assert "genai-prices 0.2.3" in html


@pytest.mark.parametrize("status", ["interrupted", "error", "cancelled"])
async def test_a_call_that_did_not_end_well_opens(site: Site, enter: Enter, status: str) -> None:
    """Its page says what happened, and an unknown cost is unknown, not 0."""
    call = make_call(random.Random(4), datetime.now(UTC), "key_x", feature="support-answer", status=status)
    await ship(site.database, TENANT, [call])
    html = await (await enter("viewer")).get(f"/traces/{call.spans[0].trace_id}")
    assert ("unknown" in html) == (status == "interrupted")


@pytest.mark.parametrize(
    ("input", "output"),
    [("", ""), ("{", "]"), ("null", "17"), ('{"messages": 3}', '{"choices": {}}'), ("[" * 5000, "\x00\x7f")],
)
async def test_damaged_texts_are_shown_as_they_are(site: Site, enter: Enter, input: str, output: str) -> None:
    """Whatever was stored, its page opens."""
    call = make_call(random.Random(6), datetime.now(UTC), "key_x", feature="support-answer", status="ok")
    call.input, call.output = input, output.replace("\x00", "")
    await ship(site.database, TENANT, [call])
    html = await (await enter("viewer")).get(f"/traces/{call.spans[0].trace_id}")
    assert "Messages" in html


async def test_raw_texts_curl_and_pictures(site: Site, enter: Enter) -> None:
    """What went over the wire can be had whole; nothing of it is served as a page."""
    call = make_call(random.Random(8), datetime.now(UTC), "key_x", feature="support-answer", status="ok")
    call.input, call.output = hostile_request(), chat_answer("m", (1, 1), "<script>")
    await ship(site.database, TENANT, [call])
    browser = await enter("viewer")
    path = f"/traces/{call.spans[0].trace_id}"
    for side, text in (("input", call.input), ("output", call.output)):
        response = await browser.http.get(f"{path}/raw?side={side}")
        assert (response.text, response.headers["content-type"]) == (text, "text/plain; charset=utf-8")
    curl = await browser.http.get(f"{path}/curl")
    assert curl.text.startswith("curl http://console.test/v1/chat/completions")
    picture = await browser.http.get(f"{path}/image?place=0.1")
    assert (picture.headers["content-type"], picture.content[:4]) == ("image/png", b"\x89PNG")
    assert "sandbox" in picture.headers["content-security-policy"]
    for place in ("", "0.0", "9.9", "../../etc"):
        await browser.get(f"{path}/image?place={place}", 404)


async def test_calls_of_one_trace_are_told_apart(site: Site, enter: Enter) -> None:
    """A caller's trace may hold several calls: each has its own page, linked from the others."""
    from msgspec.structs import replace

    rng, now = random.Random(11), datetime.now(UTC)
    calls = [make_call(rng, now, "key_x", feature=f"step-{number}", parent_id="ab" * 8) for number in range(2)]
    trace_id = calls[0].spans[0].trace_id
    for call in calls:
        call.spans = [replace(span, trace_id=trace_id) for span in call.spans]
        call.entries = [replace(entry, trace_id=trace_id) for entry in call.entries]
    await ship(site.database, TENANT, calls)
    browser = await enter("viewer")
    links = re.findall(r'class="whole" href="([^"]+)"', await browser.get("/traces"))
    assert sorted(links) == sorted(f"/traces/{trace_id}?call={call.spans[0].span_id}" for call in calls)
    first, second = (call.spans[0].span_id for call in calls)
    assert f"?call={second}" in await browser.get(f"/traces/{trace_id}?call={first}")


async def test_another_tenants_books_stay_closed(site: Site, enter: Enter) -> None:
    """Its calls are in no list, no sum, no search, and its trace's address leads nowhere."""
    call = make_call(random.Random(12), datetime.now(UTC), "key_other", feature="their-secret", status="ok")
    await ship(site.database, "default", [call])
    browser = await enter("admin")
    for path in (
        "/",
        "/traces",
        "/traces?q=shoes",
        "/costs",
        "/costs?by=feature",
        "/costs/savings",
        "/models",
        "/keys",
        "/audit",
    ):
        assert "their-secret" not in await browser.get(path), path
    for tail in ("", "/raw", "/curl", "/image?place=0.1"):
        await browser.get(f"/traces/{call.spans[0].trace_id}{tail}", 404)


async def test_empty_pages_teach(enter: Enter) -> None:
    """Each says what will appear, with the line to paste that makes it appear."""
    browser = await enter("editor")
    for path in ("/", "/traces", "/costs"):
        html = await browser.get(path)
        assert "curl http://console.test/v1/chat/completions" in html, path
        assert 'href="/keys#new"' in html, path


async def test_models_have_targets_prices_and_states(enter: Enter, month: list[str]) -> None:
    """Free is free, unknown is unknown, and what cannot answer says why."""
    html = await (await enter("viewer")).get("/models")
    assert re.findall(r"no key|\$0\.075|>free<|unknown", html) == [
        "$0.075", "no key", "unknown", "unknown", "unknown", "&gt;free&lt;"[:0] or ">free<", ">free<", ">free<",
        ">free<", ">free<", ">free<",
    ]  # fmt: skip


def test_the_month_of_the_tests_is_always_the_same() -> None:
    """Random, but from one seed; every model occurs."""
    now = datetime(2026, 5, 1, tzinfo=UTC)
    first, second = (make_month(now, ["key_a"]) for _ in range(2))
    assert [call.spans for call in first] == [call.spans for call in second]
    assert {call.spans[0].model for call in first} == {model for model, *_ in MODELS}


async def test_a_span_of_its_own_is_kept_in_every_link(site: Site, enter: Enter) -> None:
    """From the overview of any span, targets, features and errors lead to the calls of just that span."""
    now = datetime.now(UTC)
    await ship(site.database, TENANT, [make_call(random.Random(3), now - timedelta(hours=40), "key_x", status="error")])
    since, until = (f"{now - timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}" for hours in (41, 39))
    html = await (await enter("viewer")).get(f"/?since={since}&until={until}")
    links = re.findall(r'href="(/traces\?[^"]+)"', html.partition("<main")[2])
    assert len(links) >= 5
    for link in links:
        assert "since=" in link and "until=" in link, link
