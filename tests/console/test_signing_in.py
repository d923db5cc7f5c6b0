"""Signing in and out: links work once, passwords are throttled, and nobody is sent elsewhere."""

import re
from collections.abc import Awaitable, Callable

import pytest
from console_site import BASE_URL, TENANT, Browser, Site
from starlette.applications import Starlette

from backstay.access.types import Role
from backstay.console import ConsoleDeps, routes

Enter = Callable[[Role], Awaitable[Browser]]


async def test_opening_a_link_does_not_use_it_up(site: Site, browser: Browser) -> None:
    """Mail scanners may open it as often as they like; the button signs in."""
    token = await site.link_for("viewer")
    for _ in range(3):
        assert "It works once" in await browser.get(f"/login?token={token}")
    await browser.sign_in(token)
    assert "viewer of acme" in await browser.get("/")


async def test_a_link_works_once(site: Site, browser: Browser) -> None:
    """The second time it says so, and what to do."""
    token = await site.link_for("viewer")
    await browser.sign_in(token)
    other = Browser(site.app)
    response = await other.send(f"/login?token={token}", "/login", token=token)
    assert response.status_code == 401
    assert "links work once" in response.text
    assert "backstay" not in other.http.cookies
    await other.http.aclose()


async def test_a_link_leads_to_where_one_wanted_to_go(site: Site, browser: Browser) -> None:
    """The page that asked for a session comes after signing in."""
    token = await site.link_for("viewer")
    response = await browser.send(f"/login?token={token}", "/login", token=token, next="/costs?range=30d")
    assert response.headers["location"] == "/costs?range=30d"


@pytest.mark.parametrize("wanted", ["https://evil.example", "//evil.example", "/\\evil.example", "/login"])
async def test_signing_in_leads_nowhere_else(site: Site, browser: Browser, wanted: str) -> None:
    """An address on another site is dropped, in the form and in the page."""
    token = await site.link_for("viewer")
    assert "evil" not in (await browser.http.get("/login", params={"next": wanted})).text
    response = await browser.send(f"/login?token={token}", "/login", token=token, next=wanted)
    assert response.headers["location"] == "/"


async def test_the_form_needs_the_cookie_that_came_with_it(site: Site, browser: Browser) -> None:
    """Nobody can be signed in from another page, to an account that is not theirs."""
    token = await site.link_for("viewer")
    for csrf in ("", "x"):
        response = await browser.http.post("/login", data={"token": token, "csrf": csrf})
        assert (response.status_code, "open for too long" in response.text) == (403, True)
    await browser.sign_in(token)


async def test_the_cookie_is_closed(site: Site, browser: Browser) -> None:
    """Out of reach of scripts and of other sites."""
    token = await site.link_for("viewer")
    response = await browser.send(f"/login?token={token}", "/login", token=token)
    cookie = next(one for one in response.headers.get_list("set-cookie") if one.startswith("backstay="))
    assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))


async def test_over_https_cookies_stay_with_the_host(site: Site, deps: ConsoleDeps) -> None:
    """They are `Secure` and have the prefix that keeps other hosts from setting them."""
    import dataclasses

    browser = Browser(Starlette(routes=routes(dataclasses.replace(deps, secure_cookies=True))))
    browser.http.base_url = BASE_URL.replace("http:", "https:")
    token = await site.link_for("viewer")
    html = (await browser.http.get(f"/login?token={token}")).text
    csrf = re.search(r'name="csrf" value="([^"]+)"', html)
    assert csrf is not None
    response = await browser.http.post("/login", data={"csrf": csrf[1], "token": token})
    cookies = response.headers.get_list("set-cookie")
    assert [one for one in cookies if not one.startswith("__Host-") or "Secure" not in one] == []
    assert (await browser.http.get("/")).status_code == 200
    await browser.http.aclose()


async def test_signing_out_ends_the_session_on_the_server(site: Site, enter: Enter) -> None:
    """The cookie, if somebody kept it, opens nothing any more."""
    browser = await enter("viewer")
    kept = browser.http.cookies["backstay"]
    response = await browser.send("/", "/logout")
    assert (response.status_code, response.headers["location"]) == (303, "/login")
    browser.http.cookies.set("backstay", kept)
    assert (await browser.http.get("/")).status_code == 303


async def test_a_password_signs_in(site: Site, enter: Enter) -> None:
    """Set on the account page, it works from then on; the wrong one does not, and says nothing of which was wrong."""
    browser = await enter("viewer")
    response = await browser.send("/account", "/account/password", password="short", again="short")
    assert (response.status_code, "at least 12 characters" in response.text) == (400, True)
    response = await browser.send("/account", "/account/password", password="correct horse", again="correct hose")
    assert "are not the same" in response.text
    password = "correct horse battery"
    response = await browser.send("/account", "/account/password", password=password, again=password)
    assert "Your password is set" in response.text
    await browser.send("/", "/logout")
    for email, tried in ((f"viewer@{TENANT}.example", "wrong horse battery"), ("nobody@acme.example", password)):
        response = await browser.send("/login", "/login", email=email, password=tried)
        assert (response.status_code, "do not fit" in response.text) == (401, True)
    response = await browser.send("/login", "/login", email=f"Viewer@{TENANT}.example", password=password)
    assert response.status_code == 303
    assert "viewer of acme" in await browser.get("/")


async def test_guessing_passwords_is_throttled(browser: Browser) -> None:
    """After a handful of tries the answer is 429, with the time to wait."""
    guesses = [
        await browser.send("/login", "/login", email="a@b.example", password="guess guess guess") for _ in range(9)
    ]
    assert [guess.status_code for guess in guesses] == [401] * 8 + [429]
    assert int(guesses[-1].headers["retry-after"]) > 60


async def test_other_sessions_can_be_ended(site: Site, enter: Enter) -> None:
    """One's own, from the account page."""
    browser = await enter("viewer")
    people = await site.people.list(site.operator())
    link = await site.people.link(site.operator(), people[0].id, base_url=BASE_URL)
    other = Browser(site.app)
    await other.sign_in(link.token)
    ends = re.findall(r'action="(/account/sessions/[0-9a-f]+/end)"', await browser.get("/account"))
    assert len(ends) == 1
    assert (await browser.send("/account", ends[0])).status_code == 303
    assert (await other.http.get("/")).status_code == 303
    await other.http.aclose()
