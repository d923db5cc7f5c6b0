"""The page of routes: what is wrong is said in words, a target is taken out and put back, and changes come live."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from console_seed import ANSWER, Call, make_call, make_month, ship
from console_site import TENANT, Browser, Site
from health_seed import report_health, state
from test_pages import Visitor, address, chromium, needs_chromium, visiting  # pyright: ignore[reportUnusedImport]

from backstay.access import AuditLog
from backstay.access.types import Role
from backstay.core.caller import DEFAULT_TENANT
from backstay.health import HealthStore
from backstay.tracing import Span

Enter = Callable[[Role], Awaitable[Browser]]

__all__ = ["address", "chromium"]


@pytest.fixture
async def health(site: Site) -> HealthStore:
    store = HealthStore(site.database)
    await report_health(store)
    return store


@pytest.fixture
async def operator(site: Site, browser: Browser) -> Browser:
    """An admin of the installation's own tenant."""
    await browser.sign_in(await site.link_for("admin", tenant_id=DEFAULT_TENANT))
    return browser


async def test_it_says_who_is_ill_and_where_calls_go(health: HealthStore, operator: Browser) -> None:
    """A target that is down is named with why, what it said last, and who takes its calls; so does the overview."""
    page = await operator.get("/routes")
    assert "<b>openai/gpt-4o-mini</b> is left alone since" in page
    assert "most of its tries failed (the last: 529, overloaded)" in page
    assert "Calls for <b>gpt-4o-mini</b> go to azure/gpt-4o-mini." in page
    assert "1 of 2 workers say so" in page
    assert "/traces?range=5m&amp;tried=openai%2Fgpt-4o-mini&amp;tried_failed=1" in page


async def test_taking_out_names_its_effect_and_can_be_undone(
    site: Site, health: HealthStore, operator: Browser
) -> None:
    """The page that asks has numbers; the target is drained with its name in the audit log, and put back."""
    asked = await operator.get("/routes/drain?target=azure%2Fgpt-4o-mini")
    assert "1,200 tries in the last 5 minutes" in asked
    assert "move 14,400 tries an hour" in asked
    assert "has no other target that could take its calls: callers get the route’s fixed message" in asked
    response = await operator.send("/routes", "/routes/drain", target="azure/gpt-4o-mini")
    assert response.status_code == 303
    assert [drain.target for drain in await health.drains()] == ["azure/gpt-4o-mini"]
    page = await operator.get("/routes")
    assert "admin@default.example took it out of use" in page
    assert "<b>gpt-4o-mini</b> has no other target that could take its calls: callers get" in page
    await operator.send("/routes", "/routes/undrain", target="azure/gpt-4o-mini")
    await operator.send("/routes", "/routes/undrain", target="azure/gpt-4o-mini")
    assert await health.drains() == []
    written = await AuditLog(site.database).list(site.operator(DEFAULT_TENANT), subject="azure/gpt-4o-mini")
    assert [record.action for record in written] == ["target.undrain", "target.drain"]


async def test_other_tenants_see_how_targets_stand_and_no_more(health: HealthStore, enter: Enter) -> None:
    """An admin of another tenant sees that a target is down, not how much others use, and cannot take it out."""
    browser = await enter("admin")
    page = await browser.get("/routes")
    assert "<b>openai/gpt-4o-mini</b> is left alone since" in page
    assert "Take out" not in page and ">31 <span" not in page
    response = await browser.send("/routes", "/routes/drain", target="azure/gpt-4o-mini")
    assert response.status_code == 403
    assert await health.drains() == []
    assert (await browser.http.get("/routes/drain?target=no%2Fsuch")).status_code == 404
    assert TENANT != DEFAULT_TENANT


async def _keep_reporting(health: HealthStore) -> None:
    """Report as workers do: what is older than 15 seconds is of a worker that is gone."""
    while True:
        await report_health(health)
        await asyncio.sleep(2)


def broken_call(key_id: str) -> Call:
    """A call whose stream broke after 41 characters and was gone on with by another target."""
    call = make_call(random.Random(3), datetime.now(UTC), key_id, feature="support-answer", status="ok")
    root = call.spans[0]
    reasons: list[dict[str, Any]] = [
        {"backstay.attempt.reason": "first", "backstay.attempt.outcome": "unreachable", "backstay.malformed_events": 2},
        {"backstay.attempt.reason": "continue", "backstay.attempt.seam": 41},
    ]
    call.spans = [msgspec.structs.replace(root, stream=True, target="azure/gpt-4o-mini")]
    for number, known in enumerate(reasons):
        failed = number == 0
        call.spans.append(
            Span(
                span_id=f"{number + 1:016x}", trace_id=root.trace_id, parent_id=root.span_id, kind="attempt",
                name="chat gpt-4o-mini", started_at_ns=root.started_at_ns + number * 900_000_000,
                duration_ns=900_000_000, status="error" if failed else "ok", operation="chat", http_status=200,
                error_code="provider_unreachable" if failed else None, first_token_ns=10_000_000,
                error_message="The connection broke." if failed else None,
                target="openai/gpt-4o-mini" if failed else "azure/gpt-4o-mini", attributes=known,
            )
        )  # fmt: skip
    return call


async def test_a_trace_says_why_each_attempt_was_made_and_shows_the_seam(site: Site, enter: Enter) -> None:
    """Reasons, ends and malformed events stand at the attempts, the seam stands in the answer; and calls are found by
    a target that they only tried.
    """
    call = broken_call("key_a")
    degraded = make_call(random.Random(4), datetime.now(UTC), "key_a", attributes={"backstay.degraded": "message"})
    await ship(site.database, TENANT, [call, degraded])
    browser = await enter("viewer")
    page = await browser.get(f"/traces/{call.spans[0].trace_id}")
    assert "2 malformed events left out; no answer in time, or the connection broke" in page
    assert "goes on where the stream before it broke; the caller had seen 41 characters" in page
    assert f'<div class="text">{ANSWER[:41]}</div>' in page
    assert "azure/gpt-4o-mini went on from here" in page
    assert f'<div class="text">{ANSWER[41:]}</div>' in page
    assert "fixed message" in await browser.get(f"/traces/{degraded.spans[0].trace_id}")
    mark = f"call-{call.spans[0].span_id}"
    assert mark in await browser.get("/traces?tried=openai%2Fgpt-4o-mini&tried_failed=1")
    assert mark in await browser.get("/traces?tried=azure%2Fgpt-4o-mini")
    assert mark not in await browser.get("/traces?tried=azure%2Fgpt-4o-mini&tried_failed=1")
    assert mark not in await browser.get("/traces?target=openai%2Fgpt-4o-mini")


@needs_chromium
@pytest.mark.timeout(300)
async def test_it_looks_right_and_changes_by_itself(
    site: Site, health: HealthStore, address: str, chromium: object
) -> None:
    """Tidy and accessible in each of its looks; a target that gets well says so without a reload; `g r` leads here."""
    await ship(site.database, DEFAULT_TENANT, make_month(datetime.now(UTC), ["key_a", "key_b"])[:300])
    reporting = asyncio.create_task(_keep_reporting(health))
    async with visiting(chromium, address) as visitor:  # pyright: ignore[reportArgumentType]
        page = visitor.page
        await visitor.open(f"/login?token={await site.link_for('admin', tenant_id=DEFAULT_TENANT)}")
        await page.get_by_role("button", name="Sign in").click()
        await page.wait_for_url(visitor.address + "/")
        await visitor.inspect("overview-ill")
        await page.keyboard.press("g")
        await page.keyboard.press("r")
        await page.wait_for_url("**/routes")
        await visitor.inspect("routes-ill")
        await page.get_by_label("Take azure/gpt-4o-mini out of use").click()
        await visitor.inspect("route-drain")
        await page.get_by_role("button", name="Take out").click()
        await page.get_by_label("Put azure/gpt-4o-mini back in use").click()
        await page.get_by_label("Take azure/gpt-4o-mini out of use").wait_for()
        row = page.locator("tr", has_text="openai/gpt-4o-mini").first
        await row.get_by_text("left alone").wait_for()
        await row.get_by_label("Take openai/gpt-4o-mini out of use").focus()
        call = broken_call("key_a")
        await ship(site.database, DEFAULT_TENANT, [call])
        other = await page.context.new_page()
        seen = Visitor(other, address)
        await seen.open(f"/traces/{call.spans[0].trace_id}")
        await seen.inspect("trace-seam")
        assert seen.complaints == []
        reporting.cancel()
        well = [state("openai/gpt-4o-mini")]
        await asyncio.gather(health.report("one", well), health.report("two", well))
        await row.get_by_text("in use").first.wait_for()
        assert await page.evaluate("document.activeElement.ariaLabel") == "Take openai/gpt-4o-mini out of use"
        assert visitor.complaints == []
