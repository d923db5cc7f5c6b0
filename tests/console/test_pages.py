"""The pages in a real browser: no error, nothing beyond the edge, and nothing that axe-core complains of.

With ``BACKSTAY_TEST_SCREENSHOTS=1`` each look leaves a picture in ``tests/screenshots``, for a person to look at. No
check looks at the pictures, and without a graphics card they cost more than all checks together.
"""

import asyncio
import os
import random
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import pytest
import uvicorn
from console_seed import HOSTILE, chat_answer, hostile_request, make_call, ship
from console_site import TENANT, Site
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SCREENSHOTS = Path(__file__).parents[1] / "screenshots" if os.environ.get("BACKSTAY_TEST_SCREENSHOTS") else None
PLACES = (
    "/",
    "/traces",
    "/costs",
    "/costs/savings",
    "/budgets",
    "/collections",
    "/routes",
    "/models",
    "/keys",
    "/people",
    "/audit",
    "/account",
)
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
ALL_RULES = {
    "resultTypes": ["violations"],
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]},
}
CONTRAST = {"resultTypes": ["violations"], "runOnly": {"type": "rule", "values": ["color-contrast"]}}
BEYOND = """() => {
    const page = document.documentElement;
    const wide = page.scrollWidth > page.clientWidth ? ["page"] : [];
    for (const card of document.querySelectorAll(".card"))
        for (const part of card.querySelectorAll("table, dl, form, p, pre"))
            if (!part.closest("details:not([open])")
                && part.getBoundingClientRect().right > card.getBoundingClientRect().right + 1)
                wide.push(part.outerHTML.slice(0, 80));
    return wide;
}"""
"""Finds what sticks out of the page, or out of its card, where it would be cut off."""

LOOKS: tuple[tuple[int, Literal["light", "dark"], dict[str, Any]], ...] = (
    (1440, "light", ALL_RULES),
    (1440, "dark", CONTRAST),
    (860, "light", {}),
    (390, "dark", {}),
    (390, "light", ALL_RULES),
)
"""Widths and colours, with the rules of axe-core that are worth their time there."""

needs_chromium = pytest.mark.skipif(
    not CHROMIUM.exists() and os.environ.get("CI") != "true",
    reason="Debian's chromium is not installed: apt-get install chromium",
)

pytestmark = needs_chromium


@pytest.fixture
async def address(site: Site) -> AsyncIterator[str]:
    """The site on a port of this machine."""
    server = uvicorn.Server(uvicorn.Config(site.app, port=0, log_level="warning", lifespan="off", ws="none"))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


class Visitor:
    """A page of the browser, and what went wrong on it."""

    def __init__(self, page: Page, address: str):
        self.page = page
        self.address = address
        self.complaints: list[str] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url}: {error}"))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{self.page.url}: {message.text}")

    async def open(self, path: str) -> None:
        response = await self.page.goto(self.address + path, wait_until="load")
        assert response is not None
        if response.status >= 400:
            self.complaints.append(f"{path}: status {response.status}")

    async def inspect(self, name: str) -> None:
        """Look for what a person would stumble over, in each width and colours."""
        for width, scheme, rules in LOOKS:
            look = f"{name}-{width}-{scheme}"
            await self.page.set_viewport_size({"width": width, "height": 900 if width > 720 else 844})
            await self.page.emulate_media(color_scheme=scheme)
            await self.page.evaluate("Promise.all(document.getAnimations().map(one => one.finished))")
            if SCREENSHOTS is not None:
                await self.page.screenshot(path=SCREENSHOTS / f"{look}.png", full_page=True)
            beyond = await self.page.evaluate(BEYOND)
            if beyond:
                self.complaints.append(f"{look}: beyond the edge: {beyond}")
            if rules:
                await self._inspect_with_axe(look, rules)
        await self.page.set_viewport_size({"width": 1440, "height": 900})

    async def _inspect_with_axe(self, look: str, rules: dict[str, Any]) -> None:
        if not await self.page.evaluate("'axe' in window"):
            await self.page.evaluate(AXE)
        for violation in await self.page.evaluate("rules => axe.run(document, rules).then(r => r.violations)", rules):
            nodes = [node["html"][:160] for node in violation["nodes"][:3]]
            self.complaints.append(f"{look}: {violation['id']}: {violation['help']}: {nodes}")


@asynccontextmanager
async def visiting(chromium: Browser, address: str, **options: Any) -> AsyncGenerator[Visitor]:
    """Open a page of the browser, in another time zone than UTC."""
    context = await chromium.new_context(
        viewport={"width": 1440, "height": 900},
        timezone_id="Europe/Berlin",
        **options,
    )
    context.set_default_timeout(20_000)
    yield Visitor(await context.new_page(), address)
    await context.close()


async def sign_in(visitor: Visitor, site: Site, role: Literal["admin", "viewer"] = "admin") -> None:
    await visitor.open(f"/login?token={await site.link_for(role)}")
    await visitor.page.get_by_role("button", name="Sign in").click()
    await visitor.page.wait_for_url(visitor.address + "/")


@pytest.mark.timeout(300)
async def test_pages_with_books(site: Site, month: list[str], address: str, chromium: Browser) -> None:
    """Every page, full, is without error, fits its width and is accessible, in each of its looks."""
    async with visiting(chromium, address) as visitor:
        await sign_in(visitor, site)
        for place in PLACES:
            await visitor.open(place)
            await visitor.inspect(place.strip("/") or "overview")
        await visitor.open(f"/keys/{month[0]}/revoke")
        await visitor.inspect("key-revoke")
        for name, query in (("trace", "feature=invoice-agent"), ("trace-error", "status=error")):
            await visitor.open(f"/traces?{query}")
            await visitor.page.locator("a.whole").nth(1).click()
            await visitor.page.wait_for_load_state()
            await visitor.inspect(name)
        assert visitor.complaints == []


@pytest.mark.timeout(300)
async def test_pages_without_books(site: Site, address: str, chromium: Browser) -> None:
    """Every page, empty, teaches what will appear, and is as tidy."""
    async with visiting(chromium, address) as visitor:
        await visitor.open("/login")
        await visitor.inspect("login")
        await sign_in(visitor, site)
        for place in PLACES:
            await visitor.open(place)
            await visitor.inspect(f"{place.strip('/') or 'overview'}-empty")
        await visitor.open("/traces#nav")
        await visitor.page.set_viewport_size({"width": 390, "height": 844})
        await visitor.page.get_by_role("link", name="Audit log").click()
        await visitor.page.wait_for_url("**/audit")
        assert visitor.complaints == []


async def test_a_model_cannot_run_anything(site: Site, address: str, chromium: Browser, month: list[str]) -> None:
    """Markup in messages, tools, users, features and errors is shown as text; pictures are shown as pictures."""
    call = make_call(random.Random(1), datetime.now(UTC), month[0], feature=HOSTILE, user_id=HOSTILE, status="ok")
    call.input, call.output = hostile_request(), chat_answer("gpt-4o-mini", (1, 1), HOSTILE)
    await ship(site.database, TENANT, [call])
    async with visiting(chromium, address) as visitor:
        visitor.page.on("dialog", lambda dialog: visitor.complaints.append(f"a dialog: {dialog.message}"))
        await sign_in(visitor, site)
        for place in PLACES:
            await visitor.open(place)
        await visitor.open(f"/traces/{call.spans[0].trace_id}")
        assert await visitor.page.locator("main script, main img[onerror]").count() == 0
        assert await visitor.page.get_by_text(HOSTILE).count() >= 4
        picture = visitor.page.locator(".message img")
        assert await picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1
        await visitor.inspect("trace-hostile")
        assert visitor.complaints == []


async def test_keys_of_the_keyboard(site: Site, address: str, chromium: Browser, month: list[str]) -> None:
    """g t goes, j and k move, Enter opens, j and k walk from trace to trace, / searches, ? lists, c copies."""
    async with visiting(chromium, address, permissions=["clipboard-read", "clipboard-write"]) as visitor:
        page = visitor.page
        await sign_in(visitor, site)
        await page.keyboard.press("g")
        await page.keyboard.press("t")
        await page.wait_for_url("**/traces")
        links = await page.locator("a.whole").evaluate_all("links => links.map(link => link.href)")
        for key in "jjjk":
            await page.keyboard.press(key)
        await page.keyboard.press("Enter")
        await page.wait_for_url(links[1])
        await page.keyboard.press("j")
        await page.wait_for_url(links[2])
        await page.keyboard.press("k")
        await page.wait_for_url(links[1])
        await page.keyboard.press("c")
        await page.locator("#said.shown").wait_for()
        assert (await page.evaluate("navigator.clipboard.readText()")).startswith(f"curl {address}/v1/")
        await page.keyboard.press("Shift+?")
        await page.get_by_text("next and previous row or trace").wait_for()
        await page.keyboard.press("Escape")
        await page.go_back()
        await page.keyboard.press("g")
        await page.keyboard.press("t")
        await page.wait_for_url("**/traces")
        await page.keyboard.press("/")
        await page.keyboard.type("no such text anywhere")
        await page.keyboard.press("Enter")
        await page.get_by_role("heading", name="No call fits").wait_for()
        assert page.url.endswith("/traces?q=no+such+text+anywhere&range=24h")
        assert visitor.complaints == []


async def test_live_rows_arrive(site: Site, address: str, chromium: Browser) -> None:
    """A call that is shipped while the page is open appears at the top, once, in local time, without a reload."""
    async with visiting(chromium, address) as visitor:
        page = visitor.page
        await sign_in(visitor, site)
        await visitor.open("/traces?live=1")
        await page.locator("#live-state", has_text="live").wait_for()
        for number in range(2):
            call = make_call(random.Random(number), datetime.now(UTC), "key_x", feature=f"live-{number}")
            await ship(site.database, TENANT, [call, make_call(random.Random(9), datetime.now(UTC), "key_x")][:1])
            await page.locator("tbody tr").first.get_by_text(f"live-{number}").wait_for()
        assert await page.locator("tbody tr").count() == 2
        shown = await page.locator("tbody time").first.inner_text()
        assert re.fullmatch(r"\d\d:\d\d:\d\d", shown)
        await visitor.inspect("traces-live")
        assert visitor.complaints == []


async def test_it_works_without_javascript(site: Site, address: str, chromium: Browser, month: list[str]) -> None:
    """Signing in, filtering, opening a trace, making a key and signing out need no script."""
    async with visiting(chromium, address, java_script_enabled=False) as visitor:
        page = visitor.page
        await sign_in(visitor, site)
        await visitor.open("/traces")
        await page.get_by_label("Status").select_option("interrupted")
        await page.get_by_role("button", name="Filter").click()
        await page.locator("a.whole").click()
        await page.get_by_text("interrupted").first.wait_for()
        await visitor.open("/keys")
        await page.get_by_label("Name", exact=True).fill("by hand")
        await page.get_by_role("button", name="Make the key").click()
        assert re.fullmatch(r"bs_[a-z2-7]{10}_[0-9A-Za-z]{32}", await page.locator("#key").inner_text())
        await page.locator("summary", has_text="acme").click()
        await page.get_by_role("button", name="Dark").click()
        assert await page.locator("html").get_attribute("data-theme") == "dark"
        await page.locator("summary", has_text="acme").click()
        await page.get_by_role("button", name="Sign out").click()
        await page.wait_for_url("**/login")
        assert visitor.complaints == []
