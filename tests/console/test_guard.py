"""What stands before every page: sessions, roles, tokens, headers, and errors in words."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from console_site import BASE_URL, Browser, Site
from psycopg.sql import SQL, Identifier

import backstay
from backstay.access.types import Role
from backstay.console import audit
from backstay.console.app import PAGES
from backstay.console.desk import Page
from backstay.console.visit import ROLES

Enter = Callable[[Role], Awaitable[Browser]]

READS = [page for page in PAGES if page.method == "GET"]
WRITES = [page for page in PAGES if page.method == "POST"]


def path_of(page: Page) -> str:
    return re.sub(r"\{\w+(:path)?\}", "0123456789abcdef", page.path)


def name_of(page: Page) -> str:
    return f"{page.method} {page.path}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
async def test_nobody_gets_in_without_a_session(browser: Browser, page: Page) -> None:
    """Each page sends strangers to sign in, and remembers where they wanted to go."""
    response = await browser.http.request(page.method, path_of(page))
    assert response.status_code == 303
    target = urlsplit(response.headers["location"])
    assert target.path == "/login"
    if page.method == "GET" and page.path != "/":
        assert target.query == f"next={path_of(page).replace('/', '%2F')}"


async def test_a_made_up_session_is_none(browser: Browser) -> None:
    """A cookie that the server did not give is worth nothing."""
    browser.http.cookies.set("backstay", "x" * 43)
    assert (await browser.http.get("/")).status_code == 303


@pytest.mark.parametrize("page", WRITES, ids=name_of)
async def test_forms_need_the_token_of_the_session(enter: Enter, page: Page) -> None:
    """Without it, or with another, nothing is done."""
    browser = await enter("admin")
    for form in ({}, {"csrf": ""}, {"csrf": "x" * 43}):
        response = await browser.http.post(path_of(page), data={"role": "admin", **form})
        assert response.status_code == 403
        assert "earlier session" in response.text


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site", "origin": BASE_URL},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
    ],
)
async def test_forms_of_other_sites_are_refused(enter: Enter, headers: dict[str, str]) -> None:
    """Even with the right token, and on the page for signing in too."""
    browser = await enter("admin")
    token = re.search(r'name="csrf" value="([^"]+)"', await browser.get("/account"))
    assert token is not None
    for path in ("/theme", "/login", "/logout"):
        response = await browser.http.post(path, data={"csrf": token[1], "theme": "dark"}, headers=headers)
        assert (response.status_code, "another site" in response.text) == (403, True)
    assert (await browser.http.get("/")).status_code == 200


ENDLESS = ("/traces/tail", "/routes/live")
"""Pages that go on for as long as somebody looks."""


@pytest.mark.parametrize("role", ROLES)
async def test_roles_may_do_what_they_may(enter: Enter, role: Role) -> None:
    """A page that asks for a higher role answers 403 and names the roles that may; others do not."""
    browser = await enter(role)
    for page in READS:
        response = await browser.http.get(path_of(page)) if page.path not in ENDLESS else None
        if response is not None:
            may = ROLES.index(role) >= ROLES.index(page.role)
            assert (response.status_code == 403) == (not may), name_of(page)
    for page in WRITES:
        if ROLES.index(role) < ROLES.index(page.role):
            response = await browser.send("/account", path_of(page), role="admin", email="me@acme.example")
            assert (response.status_code, f"yours is {role}" in response.text) == (403, True), name_of(page)


async def test_viewers_see_no_buttons_that_they_may_not_press(enter: Enter) -> None:
    """Reading pages offer no way to make keys or invite people, nor to pages that are not theirs."""
    browser = await enter("viewer")
    assert "/audit" not in await browser.get("/")
    assert "Make the key" not in await browser.get("/keys")
    assert "Invite" not in await browser.get("/people")


@pytest.mark.parametrize("path", ["/login", "/", "/traces/nothing", "/assets/none.css", "/keys"])
async def test_every_answer_has_safe_headers(enter: Enter, path: str) -> None:
    """Pages, errors and files alike: no frames, no foreign or inline scripts, no guessing of types."""
    response = await (await enter("admin")).http.get(path)
    assert response.headers["x-frame-options"] == "DENY"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "same-origin"
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'self'")
    assert "unsafe" not in policy


async def test_where_no_page_is_people_are_told_so(enter: Enter) -> None:
    """A browser gets a page with the way back, a program no HTML, and a slash at the end does no harm."""
    browser = await enter("viewer")
    wants_page = {"accept": "text/html,*/*"}
    response = await browser.http.get("/nosuch/page", headers=wants_page)
    assert response.status_code == 404 and "There is no such page" in response.text
    assert 'href="/"' in response.text and response.headers["x-frame-options"] == "DENY"
    response = await browser.http.get("/nosuch/page", headers={"accept": "application/json"})
    assert response.status_code == 404 and "<html" not in response.text
    response = await browser.http.get("/traces/?q=x", headers=wants_page)
    assert (response.status_code, response.headers["location"]) == (307, "/traces?q=x")
    response = await browser.http.get("//evil.example/", headers=wants_page)
    assert "evil.example" not in response.headers.get("location", "")


def test_every_act_has_words_in_the_audit_log() -> None:
    """Whatever the product writes down, people read as a sentence."""
    act = re.compile(r'"((?:alert|batch|budget|collection|key|person|session|target|tenant|webhooks|worker)\.[a-z_]+)"')
    source = Path(backstay.__file__).parent
    acts = {
        found
        for path in source.rglob("*.py")
        if path.parent.name != "console"
        for found in act.findall(path.read_text())
    }
    assert len(acts) > 20
    assert acts - audit.WORDS.keys() == set()


async def test_pages_hold_no_inline_script_or_style(enter: Enter, month: list[str]) -> None:
    """Nothing that the policy of the page would have to allow."""
    browser = await enter("admin")
    for path in ("/", "/traces", "/costs", "/models", "/keys", "/people", "/audit", "/account"):
        html = await browser.get(path)
        assert re.findall(r"<style|\sstyle=|<script(?! src=)|\son\w+=|javascript:", html) == [], path


async def test_files_are_kept_for_good_under_their_hash(browser: Browser) -> None:
    """The address changes with the content, so browsers need not ask again."""
    html = await browser.get("/login")
    paths = re.findall(r'"(/assets/[^"]+)"', html)
    assert len(paths) == 3
    for path in paths:
        response = await browser.http.get(path)
        assert response.status_code == 200
        assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
        plain = await browser.http.get(path, headers={"accept-encoding": "identity"})
        assert plain.content == response.content


async def test_pages_are_small(enter: Enter, month: list[str]) -> None:
    """A full page with its styles and script is under 120 KB, before compression."""
    browser = await enter("admin")
    html = await browser.get("/account")
    files = [await browser.http.get(path) for path in re.findall(r'"(/assets/[^"]+)"', html)]
    shared = sum(len(file.content) for file in files)
    for path in ("/", "/traces", "/costs?by=user&then=feature&range=30d", "/models", "/keys", "/people", "/audit"):
        size = len((await browser.http.get(path)).content)
        assert size + shared < 120_000, (path, size, shared)


async def test_a_chosen_theme_is_kept(enter: Enter) -> None:
    """In a cookie, and the browser goes back to the page it came from."""
    browser = await enter("viewer")
    response = await browser.send("/costs?range=30d", "/theme", theme="dark", back="/costs?range=30d")
    assert (response.status_code, response.headers["location"]) == (303, "/costs?range=30d")
    assert 'data-theme="dark"' in await browser.get("/")
    response = await browser.send("/", "/theme", theme="", back="https://evil.example/")
    assert response.headers["location"] == "/"
    assert "data-theme" not in await browser.get("/")


async def test_wrong_addresses_are_answered_in_words(enter: Enter) -> None:
    """What cannot be read is a 400 with a sentence, never a 500."""
    browser = await enter("admin")
    for path in (
        "/?range=8d",
        "/traces?since=yesterday",
        "/traces?status=fine",
        "/traces?before=x",
        "/traces/zz",
        "/costs?by=mood",
        "/audit?before=-1",
        "/traces?q=%00",
        "/traces?model=a%00b",
        "/keys/%00/revoke",
        "/audit?before=99999999999999999999",
    ):
        assert "That address is not right" in await browser.get(path, 400), path
    for path in ("/traces/0123456789abcdef", "/keys/key_none/revoke", "/traces/0123456789abcdef/raw"):
        assert "There is no such page" in await browser.get(path, 404), path


async def test_a_form_too_large_is_refused(enter: Enter) -> None:
    """Before it is read to its end."""
    response = await (await enter("admin")).send("/keys", "/keys", name="x" * 100_000)
    assert response.status_code == 413


async def test_postgres_away_is_said_in_words(site: Site, enter: Enter, postgres_url: str, database_url: str) -> None:
    """A page that needs Postgres answers 503 with a sentence and a way to try again."""
    browser = await enter("admin")
    name = urlsplit(database_url).path[1:]
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(SQL("alter database {} allow_connections false").format(Identifier(name)))
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])
    text = await browser.get("/traces", 503)
    assert "Postgres does not answer" in text
    assert "Try again" in text
