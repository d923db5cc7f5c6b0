"""A number on a page leads to just the calls that it counts, however late it is followed."""

import html
import random
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest
from console_seed import Call, make_call, ship
from console_site import TENANT, Browser, Site
from jobs_seed import seed_batch

from backstay.access.types import NewKey, Role
from backstay.console import ConsoleDeps
from backstay.console.traces import read_filter
from backstay.console.window import read_window
from backstay.core.caller import Caller
from backstay.core.money import NanoUSD
from backstay.jobs.types import Batch
from backstay.tracing import Span, TraceStore
from backstay.tracing.types import BATCH_ID

Enter = Callable[[Role], Awaitable[Browser]]

ROW = re.compile(r"<tr[ >].*?</tr>", re.DOTALL)
LINK = re.compile(r'href="(/traces\?[^"]+)"')
LATER = timedelta(minutes=90)
"""How long somebody looks at a page before they follow its links: the ranges of a day have moved on by then."""


def bare(call: Call, **fields: object) -> Call:
    """Make a call of which nothing stands in the books."""
    (root, *_) = call.spans
    return msgspec.structs.replace(call, spans=[msgspec.structs.replace(root, **fields)], entries=[])


def fallen_back(call: Call) -> Call:
    """Make a call that was charged by two targets."""
    (entry, *_) = call.entries
    first = msgspec.structs.replace(entry, attempt=0, target="acme/first", cost_nanousd=NanoUSD(1000), unused="failed")
    return msgspec.structs.replace(call, entries=[first, msgspec.structs.replace(entry, attempt=1)])


@pytest.fixture
async def booked(site: Site) -> datetime:
    """Ship calls of every kind, among them some that a range of 24 hours loses in the next 90 minutes."""
    now = datetime.now(UTC)
    rng = random.Random(8)
    calls = [make_call(rng, now - timedelta(minutes=20 * n + 1), f"key_{n % 2}", status="ok") for n in range(75)]
    at = now - timedelta(minutes=30)
    fresh = [make_call(rng, at, "key_0", status=status) for status in ("error", "interrupted", "cancelled", "ok")]
    calls += fresh
    calls += [fallen_back(make_call(rng, at, "key_1", status="ok", feature="product-copy")) for _ in range(2)]
    hit, refused, odd, gone = (make_call(rng, at, "key_0", status="ok") for _ in range(4))
    calls += [
        bare(hit, target=None, cost_nanousd=NanoUSD(0)),
        bare(refused, target=None, status="error", model="no such model"),
        bare(odd, target=None, status="interrupted", feature=None, tags=()),
        bare(gone, target=None, status="cancelled", feature=None, user_id=None),
    ]
    await ship(site.database, TENANT, calls)
    return now


async def behind(site: Site, link: str) -> list[Span]:
    """Read all calls that an address of the list shows to somebody who follows it later."""
    query = dict(parse_qsl(urlsplit(html.unescape(link)).query, keep_blank_values=True))
    wanted = read_filter(query, read_window(query, datetime.now(UTC) + LATER))
    page = await TraceStore(site.database).list_calls(TENANT, wanted, limit=500)
    assert page.next is None
    return list(page.calls)


async def come_later(site: Site) -> None:
    """Ship calls that were made after the page was shown."""
    late = [make_call(random.Random(9), datetime.now(UTC) + timedelta(seconds=5), "key_0") for _ in range(5)]
    await ship(site.database, TENANT, late)


async def test_costs_lead_to_the_calls_that_were_charged(site: Site, enter: Enter, booked: datetime) -> None:
    """By every dimension, with what names nothing; hits and refusals, which cost nothing, are not among them."""
    browser = await enter("viewer")
    pages = {by: await browser.get(f"/costs?range=24h&by={by}") for by in ("model", "feature", "user", "target", "tag")}
    pages |= {"key, model": await browser.get("/costs?range=24h&by=key&then=model"), "overview": await browser.get("/")}
    pages |= {"models": await browser.get("/models")}
    await come_later(site)
    for by, page in pages.items():
        rows = [row for row in ROW.findall(page) if LINK.search(row) and 'data-label="calls"' in row]
        if by == "models":
            rows = [row for row in ROW.findall(page) if LINK.search(row)]
        assert rows, by
        for row in rows:
            link = LINK.search(row)
            said = re.search(r'data-label="calls">\s*(?:<[^>]+>)*([\d,]+)|>([\d,]+) <span class="unit">calls?<', row)
            assert link is not None and said is not None, row
            count = int((said[1] or said[2]).replace(",", ""))
            assert len(await behind(site, link[1])) == count, (by, link[1])
    assert any("acme%2Ffirst" in link for link in LINK.findall(pages["target"]))
    assert any("without=feature" in link for link in LINK.findall(pages["feature"]))


async def test_the_overview_leads_to_what_it_counts(site: Site, enter: Enter, booked: datetime) -> None:
    """All calls, those that failed, those of each target, and those that reached none."""
    store = TraceStore(site.database)
    overview = await store.overview(
        TENANT, since=booked - timedelta(hours=30), until=booked + timedelta(hours=1), step=timedelta(hours=1)
    )
    assert overview.total.errors == 4
    page, shown_at = await (await enter("viewer")).get("/"), datetime.now(UTC)
    await come_later(site)
    cards = re.findall(r'class="card figure" href="(/traces[^"]+)"', page)
    said = re.search(r"([\d,]+) of ([\d,]+) calls", page)
    assert said is not None
    errors, calls = int(said[1]), int(said[2])
    assert [len(await behind(site, card)) for card in cards] == [calls, errors, calls]
    head = re.search(r'<a href="([^"]+)">4 errors</a>', page)
    assert head is not None and len(await behind(site, head[1])) == errors == 4
    targets = page.partition("<h2>Targets</h2>")[2].partition("</table>")[0]
    found = [await behind(site, link) for link in LINK.findall(targets)]
    assert "none reached" in targets
    window = read_window({}, datetime.now(UTC))
    figures = await store.models(TENANT, since=window.since, until=shown_at)
    assert [len(calls_of) for calls_of in found] == [figure.calls for figure in figures[: len(found)]]
    assert len([figure for figure in figures[: len(found)] if figure.target is None]) >= 2
    ids = [call.span_id for calls_of in found for call in calls_of]
    assert len(set(ids)) == len(ids)


async def test_what_was_not_used_leads_to_its_calls(site: Site, enter: Enter, booked: datetime) -> None:
    """By the reason that the books have."""
    page = await (await enter("viewer")).get("/costs?range=24h")
    links = [link for link in LINK.findall(page) if "unused=failed" in link]
    assert len(links) == 1 and len(await behind(site, links[0])) == 2


async def test_keys_lead_to_the_hour_that_they_count(site: Site, enter: Enter) -> None:
    """The number beside a key, and the one in the question whether to revoke it."""
    browser = await enter("admin")
    key = await site.keys.create(site.operator(), NewKey(name="shop"))
    now, rng = datetime.now(UTC), random.Random(4)
    made = [make_call(rng, now - timedelta(minutes=m), key.id, status="ok") for m in (1, 20, 59, 61)]
    hit = bare(make_call(rng, now - timedelta(minutes=2), key.id, status="ok"), target=None)
    await ship(site.database, TENANT, [*made, hit])
    shown = {"/keys": r'href="([^"]+)">3 <span class="unit">calls', f"/keys/{key.id}/revoke": r'href="([^"]+)">3 calls'}
    for path, words in shown.items():
        link = re.search(words, await browser.get(path))
        assert link is not None, path
        assert len(await behind(site, link[1])) == 3


async def test_a_batch_leads_to_the_calls_of_its_lines(site: Site, deps: ConsoleDeps, enter: Enter) -> None:
    """All of them, to those that were paid for; not to what its key, or another batch of it, did meanwhile."""
    key = await site.keys.create(site.operator(), NewKey(name="nightly"))
    by = Caller(tenant_id=TENANT, kind="key", id=key.id, name="nightly", rights=frozenset({"call"}))
    one, other = [await seed_batch(deps, site.database, by, good=1, bad=1, waiting=0) for _ in range(2)]
    now, rng = datetime.now(UTC), random.Random(5)
    calls = [make_call(rng, now, key.id, status="ok") for _ in range(6)]
    mine = [of_batch(call, one) for call in calls[:2]]
    failed = of_batch(bare(calls[2], status="error", target=None), one)
    await ship(site.database, TENANT, [*mine, failed, of_batch(calls[3], other), *calls[4:]])
    page = await (await enter("viewer")).get(f"/batches/{one.batch_id}")
    await come_later(site)
    links = [link for link in LINK.findall(page) if f"batch={one.batch_id}" in link]
    charged, all_calls = sorted(links, key=lambda link: "charged=1" not in link)
    ids = [call.spans[0].span_id for call in (*mine, failed)]
    assert sorted(call.span_id for call in await behind(site, charged)) == sorted(ids[:2])
    assert sorted(call.span_id for call in await behind(site, all_calls)) == sorted(ids)


def of_batch(call: Call, batch: Batch) -> Call:
    """Make it a call for one of a batch's lines."""
    (root, *rest) = call.spans
    marked = msgspec.structs.replace(root, attributes={BATCH_ID: batch.batch_id})
    return msgspec.structs.replace(call, spans=[marked, *rest])


@pytest.mark.parametrize("query", ["without=colour", "without=feature,", "status=ok,fine", "range=6m"])
async def test_a_filter_that_is_none_is_refused(enter: Enter, query: str) -> None:
    """With what there is to choose from."""
    assert "Choose" in await (await enter("viewer")).get(f"/traces?{query}", 400)


async def test_filters_of_links_are_shown_and_can_be_dropped(enter: Enter, booked: datetime) -> None:
    """Each is a button above the list."""
    page = await (await enter("viewer")).get("/traces?charged=1&charged_by=acme/first&unused=failed&without=user,tag")
    for words in ("in the books ×", "charged by acme/first ×", "paid, not used: failed ×", "without user, tag ×"):
        assert words in page
