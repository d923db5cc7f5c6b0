"""The pages of batches and of calls made later: progress, costs, failures, webhooks, and a batch that is cancelled."""

from collections.abc import Awaitable, Callable

import pytest
from console_site import TENANT, Browser, Site
from jobs_seed import finish, seed_batch, seed_calls
from test_pages import address, chromium, needs_chromium, sign_in, visiting  # pyright: ignore[reportUnusedImport]

from backstay.access import AuditLog
from backstay.access.types import NewKey, Role
from backstay.console import ConsoleDeps
from backstay.core.caller import Caller
from backstay.jobs import JobStore

Enter = Callable[[Role], Awaitable[Browser]]

__all__ = ["address", "chromium"]


@pytest.fixture
async def nightly(site: Site) -> Caller:
    """A key that makes calls for later."""
    key = await site.keys.create(site.operator(), NewKey(name="nightly jobs"))
    return Caller(tenant_id=TENANT, kind="key", id=key.id, name=key.name, rights=frozenset({"call"}))


async def test_a_batch_shows_how_far_it_is_and_what_failed(
    site: Site, deps: ConsoleDeps, enter: Enter, nightly: Caller
) -> None:
    """Counts, cost so far, who made it; the lines that failed have numbers, reasons and traces, to the end."""
    batch = await seed_batch(deps, site.database, nightly, good=8, bad=3, waiting=0)
    open_one = await seed_batch(deps, site.database, nightly, good=5, bad=1, waiting=4)
    browser = await enter("viewer")
    listed = await browser.get("/batches")
    assert "nightly jobs" in listed and listed.count("/batches/batch_") == 2
    assert "2 batches are open. 0 calls are under way, 4 wait." in listed
    page = await browser.get(f"/batches/{open_one.batch_id}")
    assert f'href="/traces?batch={open_one.batch_id}&amp;since=' in page and "&amp;charged=1" in page
    assert "cost so far" in page and "$0.00206" in page
    await finish(site.database)
    page = await browser.get(f"/batches/{batch.batch_id}")
    assert "completed" in page and "file-err" in page and "$0.0033" in page
    assert "Line 1: it is not a request: no `url`." in page
    assert page.count("400: The image is larger than this model takes.") == 2
    assert page.count('href="/traces/') == 2 and page.count("not made") == 1
    assert "/cancel" not in page
    assert (await browser.http.get(f"/batches/{open_one.batch_id}/cancel")).status_code == 403
    assert (await browser.http.get("/batches/batch_none")).status_code == 404


async def test_a_batch_is_cancelled_by_an_editor(site: Site, deps: ConsoleDeps, enter: Enter, nightly: Caller) -> None:
    """The page that asks has numbers; what waits is not made, and who said so is in the audit log, once."""
    batch = await seed_batch(deps, site.database, nightly, good=5, bad=1, waiting=4)
    browser = await enter("editor")
    place = f"/batches/{batch.batch_id}/cancel"
    assert "4 of its 10 calls are not made yet" in await browser.get(place)
    assert (await browser.http.post(place, data={"csrf": "guessed"})).status_code == 403
    assert (await browser.send(place, place)).status_code == 303
    assert "being cancelled" in await browser.get(f"/batches/{batch.batch_id}")
    assert await JobStore(site.database, "seed").claim_calls(10, []) == []
    assert (await browser.send("/keys", place)).status_code == 303
    (record,) = await AuditLog(site.database).list(site.operator(), subject=batch.batch_id)
    assert (record.action, record.detail["by"]) == ("batch.cancel", "editor@acme.example")
    assert "cancelled the batch" in await browser.get("/audit")
    await finish(site.database)
    assert (await browser.send("/keys", place)).status_code == 303
    assert "4" in await browser.get(f"/batches/{batch.batch_id}")


async def test_other_tenants_batches_are_not_there(site: Site, deps: ConsoleDeps, browser: Browser) -> None:
    """Neither listed, nor shown, nor cancelled."""
    other = Caller(tenant_id="default", kind="key", id="key_x", name="x", rights=frozenset({"call"}))
    await seed_calls(deps, site.database, other)
    batch = await seed_batch(deps, site.database, other, good=2, bad=1, waiting=1)
    await browser.sign_in(await site.link_for("admin"))
    assert "No batches yet" in await browser.get("/batches")
    assert "No calls made later" in await browser.get("/batches/calls")
    assert (await browser.http.get(f"/batches/{batch.batch_id}")).status_code == 404
    assert (await browser.send("/keys", f"/batches/{batch.batch_id}/cancel")).status_code == 404


async def test_later_calls_show_their_webhooks(site: Site, deps: ConsoleDeps, enter: Enter, nightly: Caller) -> None:
    """Delivered, tried again with why, or sent once the call ends; failures say what was answered."""
    await seed_calls(deps, site.database, nightly)
    browser = await enter("viewer")
    page = await browser.get("/batches/calls")
    for words in ("delivered", "The receiver answered 503.", "once it ends", "400: The image is larger"):
        assert words in page
    assert "<b>1 webhook</b> could not be delivered yet" in page
    assert "1 webhook" in await browser.get("/batches")


@needs_chromium
@pytest.mark.timeout(300)
async def test_it_looks_right(site: Site, deps: ConsoleDeps, nightly: Caller, address: str, chromium: object) -> None:
    """Tidy and accessible in each of its looks, empty and full; `g b` leads here; a batch is cancelled by keys."""
    async with visiting(chromium, address) as visitor:  # pyright: ignore[reportArgumentType]
        page = visitor.page
        await sign_in(visitor, site)
        for place in ("/batches", "/batches/calls"):
            await visitor.open(place)
            await visitor.inspect(f"{place.strip('/').replace('/', '-')}-empty")
        await seed_calls(deps, site.database, nightly)
        ended = await seed_batch(deps, site.database, nightly, good=170, bad=14, waiting=0)
        await finish(site.database)
        running = await seed_batch(deps, site.database, nightly, good=90, bad=6, waiting=300)
        await visitor.open("/")
        await page.keyboard.press("g")
        await page.keyboard.press("b")
        await page.wait_for_url("**/batches")
        await visitor.inspect("batches")
        await visitor.open("/batches/calls")
        await visitor.inspect("batches-calls")
        await visitor.open(f"/batches/{ended.batch_id}")
        await visitor.inspect("batch-ended")
        await visitor.open(f"/batches/{running.batch_id}")
        await visitor.inspect("batch-running")
        await page.get_by_role("link", name="Cancel").press("Enter")
        await page.get_by_role("button", name="Cancel 300 calls").wait_for()
        await visitor.inspect("batch-cancel")
        await page.get_by_role("button", name="Cancel 300 calls").press("Enter")
        await page.get_by_text("being cancelled").wait_for()
        assert visitor.complaints == []
