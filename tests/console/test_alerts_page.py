"""The pages of alerts: what is open first, who was told, and that somebody looks after it."""

from collections.abc import Awaitable, Callable

import pytest
from console_site import TENANT, Browser, Site
from test_pages import address, chromium, needs_chromium, sign_in, visiting  # pyright: ignore[reportUnusedImport]

from backstay.access import AuditLog
from backstay.access.types import Role
from backstay.alerts import AlertConfig, AlertRules, Alerts, ChannelConfig, Finding, Key

Enter = Callable[[Role], Awaitable[Browser]]

__all__ = ["address", "chromium"]

_LOOP = Key(kind="loop", subject="key:key_01k8zq5h3v")
_FALL = Key(kind="anomaly", subject="feature:invoice-agent")


@pytest.fixture
async def open_id(site: Site) -> str:
    """Two alerts are open in the tenant, one of which is returned, a third is over, and another tenant has one."""
    channels = {"ops": ChannelConfig(kind="email", to=["ops@example.org"])}
    rules = AlertRules({"all": AlertConfig(on=["loop", "anomaly", "target_down"], channels=["ops"])}, channels)
    alerts = Alerts(site.database, lambda: rules)
    over = Key(kind="target_down", subject="target:acme/gpt-4o-mini")
    await alerts.raise_alert(TENANT, Finding(key=over, severity="critical", title="acme/gpt-4o-mini is down"))
    await alerts.resolve(TENANT, over, "It is in use again.")
    found = Finding(
        key=_LOOP,
        severity="critical",
        title="nightly jobs makes nearly the same call again and again",
        details=("42 calls in two minutes differ in 3 characters.", "They cost $1.2034 so far."),
        numbers={"calls": 42, "spent_usd": "1.2034"},
        link="/traces?range=1h",
    )
    await alerts.raise_alert(TENANT, Finding(key=_FALL, severity="warning", title="invoice-agent costs twice as much"))
    alert_id = await alerts.raise_alert(TENANT, found)
    await alerts.raise_alert("default", Finding(key=_LOOP, severity="critical", title="somebody else's"))
    assert alert_id is not None
    return alert_id


async def test_what_is_open_stands_first(enter: Enter, open_id: str) -> None:
    """The gravest above, with a count in the navigation; another tenant's is not there."""
    browser = await enter("viewer")
    page = await browser.get("/alerts")
    order = ["nightly jobs makes", "invoice-agent costs twice", "acme/gpt-4o-mini is down"]
    assert sorted(order, key=page.index) == order
    assert "somebody else" not in page
    assert '<span class="badge wrong">2</span>' in await browser.get("/")
    one = await browser.get(f"/alerts/{open_id}")
    assert "42 calls in two minutes" in one and 'href="/traces?range=1h"' in one and "not yet" in one
    assert "I look after it" not in one
    assert (await browser.http.get("/alerts/alert_none")).status_code == 404


async def test_an_editor_looks_after_it(site: Site, enter: Enter, open_id: str) -> None:
    """With the page's token, once; who did stands there and in the audit log. A guessed token is refused."""
    browser = await enter("editor")
    place = f"/alerts/{open_id}/acknowledge"
    assert (await browser.http.post(place, data={"csrf": "guessed"})).status_code == 403
    for _ in range(2):
        assert (await browser.send("/keys", place)).status_code == 303
    page = await browser.get(f"/alerts/{open_id}")
    assert "editor@acme.example" in page and "I look after it" not in page
    (record,) = await AuditLog(site.database).list(site.operator(), subject=open_id)
    assert record.action == "alert.acknowledge"
    assert "looks after the alert" in await browser.get("/audit")


async def test_a_viewer_may_only_look(enter: Enter, open_id: str) -> None:
    """The role viewer cannot acknowledge."""
    browser = await enter("viewer")
    assert (await browser.send("/account", f"/alerts/{open_id}/acknowledge")).status_code == 403


async def test_other_tenants_alerts_are_not_there(site: Site, browser: Browser, open_id: str) -> None:
    """Neither shown nor acknowledged."""
    await browser.sign_in(await site.link_for("admin", tenant_id="default"))
    assert (await browser.http.get(f"/alerts/{open_id}")).status_code == 404
    assert (await browser.send("/keys", f"/alerts/{open_id}/acknowledge")).status_code == 404


@needs_chromium
async def test_an_empty_page_teaches(site: Site, address: str, chromium: object) -> None:
    """It says what will appear, and how to be told."""
    async with visiting(chromium, address) as visitor:  # pyright: ignore[reportArgumentType]
        await sign_in(visitor, site)
        await visitor.open("/alerts")
        await visitor.page.get_by_text("No alerts yet").wait_for()
        await visitor.inspect("alerts-empty")
        assert visitor.complaints == []


@needs_chromium
@pytest.mark.timeout(300)
async def test_alerts_look_right(site: Site, open_id: str, address: str, chromium: object) -> None:
    """Tidy and accessible in each of its looks; `g` and `l` lead here; an alert is acknowledged by keys."""
    async with visiting(chromium, address) as visitor:  # pyright: ignore[reportArgumentType]
        page = visitor.page
        await sign_in(visitor, site)
        await page.keyboard.press("g")
        await page.keyboard.press("l")
        await page.wait_for_url("**/alerts")
        await visitor.inspect("alerts")
        await visitor.open(f"/alerts/{open_id}")
        await visitor.inspect("alert")
        await page.get_by_role("button", name="I look after it").press("Enter")
        await page.get_by_text("admin@acme.example,").wait_for()
        assert visitor.complaints == []
