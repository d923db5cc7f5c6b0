"""Keys, people and the audit log: what is done there is done, shown once, and written down."""

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from random import Random

from console_seed import make_call, ship
from console_site import TENANT, Browser, Site

from backstay.access.types import NewKey, Role

Enter = Callable[[Role], Awaitable[Browser]]

KEY = re.compile(r"bs_[a-z2-7]{10}_[0-9A-Za-z]{32}")


async def test_a_key_is_shown_once(site: Site, enter: Enter) -> None:
    """On the page that makes it, which no cache keeps; the list has its beginning only."""
    browser = await enter("editor")
    response = await browser.send(
        "/keys", "/keys", name="checkout", feature="support", tags="a, b,", rights="call", models="local", expires="30"
    )
    assert (response.status_code, response.headers["cache-control"]) == (201, "no-store")
    shown = set(KEY.findall(response.text))
    assert len(shown) == 1
    assert KEY.search(await browser.get("/keys")) is None
    (key,) = await site.keys.list(site.operator())
    assert (key.name, key.rights, key.models, key.feature, key.tags) == (
        "checkout", ("call",), ("local",), "support", ("a", "b"),
    )  # fmt: skip
    assert key.expires_at is not None
    assert timedelta(days=29) < key.expires_at - datetime.now(UTC) <= timedelta(days=30)


async def test_a_key_gets_limits_of_its_own(site: Site, enter: Enter) -> None:
    """What was typed into the form is what the key may use, and the list shows it."""
    browser = await enter("editor")
    response = await browser.send(
        "/keys", "/keys", name="x", rights="call", requests_per_min="600", tokens_per_min="", concurrency="8"
    )
    assert response.status_code == 201
    (key,) = await site.keys.list(site.operator())
    assert (key.requests_per_min, key.tokens_per_min, key.concurrency) == (600, None, 8)
    assert "600 req/min, 8 at once" in await browser.get("/keys")


async def test_a_key_gets_a_priority_of_its_own(site: Site, enter: Enter) -> None:
    """Chosen in the form, and shown in the list where it is not the usual one."""
    browser = await enter("editor")
    await browser.send("/keys", "/keys", name="usual", rights="call")
    assert "in batch" not in await browser.get("/keys")
    await browser.send("/keys", "/keys", name="nightly", rights="call", priority="batch")
    nightly, usual = await site.keys.list(site.operator())
    assert (nightly.priority, usual.priority) == ("batch", "interactive")
    assert "call, in batch" in await browser.get("/keys")


async def test_keys_have_pages(site: Site, enter: Enter) -> None:
    """A hundred each; any of them can be revoked."""
    made = [await site.keys.create(site.operator(), NewKey(name=f"key {number}")) for number in range(105)]
    browser = await enter("editor")
    first = await browser.get("/keys")
    older = re.search(r'href="(/keys\?before=[^"]+)"', first)
    assert older is not None
    named = re.findall(r'"lead">(key \d+)<', first + await browser.get(older[1]))
    assert named == [f"key {number}" for number in reversed(range(105))]
    assert "Revoke key 0?" in await browser.get(f"/keys/{made[0].id}/revoke")


async def test_a_wrong_key_is_refused_in_words(site: Site, enter: Enter) -> None:
    """The form comes back with what was wrong and what was typed, and nothing is made."""
    browser = await enter("editor")
    for fields, said in (
        ({"name": "", "rights": "call", "feature": "kept"}, "name"),
        ({"name": "x", "rights": "", "feature": "kept"}, "rights"),
        ({"name": "x", "rights": "call", "expires": "9", "feature": "kept"}, "expiry"),
        ({"name": "x", "rights": "call", "priority": "urgent", "feature": "kept"}, "priority"),
        ({"name": "x", "rights": "call", "concurrency": "-1", "feature": "kept"}, "whole number"),
    ):
        response = await browser.send("/keys", "/keys", **fields)
        assert response.status_code == 400
        assert said in response.text
        assert 'value="kept"' in response.text
    assert await site.keys.list(site.operator()) == []


async def test_an_editor_cannot_hand_out_more_than_they_have(site: Site, enter: Enter) -> None:
    """The right to everything is an admin's to give."""
    browser = await enter("editor")
    response = await browser.send("/keys", "/keys", name="x", rights="admin")
    assert response.status_code == 403
    assert await site.keys.list(site.operator()) == []


async def test_revoking_tells_what_it_stops(site: Site, enter: Enter) -> None:
    """The calls of the last hour, in numbers, before anything is done; and the list says so afterwards."""
    key = await site.keys.create(site.operator(), NewKey(name="checkout"))
    rng, now = Random(1), datetime.now(UTC)
    calls = [make_call(rng, now - timedelta(minutes=5), key.id, status="ok") for _ in range(12)]
    await ship(site.database, TENANT, calls)
    browser = await enter("editor")
    asked = await browser.get(f"/keys/{key.id}/revoke")
    assert "Revoke: refuse 12 calls an hour" in asked
    (before,) = await site.keys.list(site.operator())
    assert before.status == "live"
    response = await browser.send(f"/keys/{key.id}/revoke", f"/keys/{key.id}/revoke")
    assert (response.status_code, response.headers["location"]) == (303, "/keys")
    (after,) = await site.keys.list(site.operator())
    assert after.status == "revoked"
    assert "revoked" in await browser.get("/keys")


async def test_rotating_shows_the_new_key_and_keeps_the_old(site: Site, enter: Enter) -> None:
    """For a day, both work."""
    key = await site.keys.create(site.operator(), NewKey(name="checkout"))
    browser = await enter("editor")
    response = await browser.send("/keys", f"/keys/{key.id}/rotate")
    assert response.status_code == 201
    assert KEY.findall(response.text)[0] != key.key
    assert [one.status for one in await site.keys.list(site.operator())] == ["live", "live"]
    again = await browser.send("/keys", f"/keys/{key.id}/rotate")
    assert (again.status_code, "replaced" in again.text) == (409, True)


async def test_another_tenants_key_is_out_of_reach(site: Site, enter: Enter) -> None:
    """It can be neither seen, nor revoked, nor rotated."""
    key = await site.keys.create(site.operator("default"), NewKey(name="theirs"))
    browser = await enter("admin")
    assert "theirs" not in await browser.get("/keys")
    await browser.get(f"/keys/{key.id}/revoke", 404)
    for act in ("revoke", "rotate"):
        assert (await browser.send("/keys", f"/keys/{key.id}/{act}")).status_code == 404
    (left,) = await site.keys.list(site.operator("default"))
    assert (left.status, left.replaced_by) == ("live", None)


async def test_an_invitation_is_a_link_that_works(site: Site, enter: Enter) -> None:
    """It is shown once; whoever has it signs in with the role that was given."""
    browser = await enter("admin")
    response = await browser.send("/people", "/people", email="New@acme.example", role="editor")
    assert (response.status_code, response.headers["cache-control"]) == (201, "no-store")
    token = re.search(r"/login\?token=([\w-]+)", response.text)
    assert token is not None
    guest = Browser(site.app)
    await guest.sign_in(token[1])
    assert "editor of acme" in await guest.get("/")
    await guest.http.aclose()
    refused = {
        409: {"email": "new@acme.example", "role": "viewer"},
        400: {"email": "x", "role": "viewer"},
    }
    for status, fields in refused.items():
        assert (await browser.send("/people", "/people", **fields)).status_code == status


async def test_roles_links_and_shutting_out(site: Site, enter: Enter) -> None:
    """An admin changes a role, makes a link, and disables; the disabled are out at once."""
    browser = await enter("admin")
    guest = Browser(site.app)
    await guest.sign_in(await site.link_for("viewer"))
    (viewer,) = [one for one in await site.people.list(site.operator()) if one.role == "viewer"]
    assert (await browser.send("/people", f"/people/{viewer.id}/role", role="editor")).status_code == 303
    assert "editor of acme" in await guest.get("/")
    assert (await browser.send("/people", f"/people/{viewer.id}/link")).status_code == 201
    assert (await browser.send("/people", f"/people/{viewer.id}/disable")).status_code == 303
    assert (await guest.http.get("/")).status_code == 303
    assert (await browser.send("/people", f"/people/{viewer.id}/link")).status_code == 409
    assert (await browser.send("/people", f"/people/{viewer.id}/enable")).status_code == 303
    await guest.http.aclose()


async def test_the_last_admin_stays(site: Site, enter: Enter) -> None:
    """Nobody can lock a tenant out, themselves included."""
    browser = await enter("admin")
    (me,) = await site.people.list(site.operator())
    for act, fields in (("disable", {}), ("role", {"role": "viewer"})):
        response = await browser.send("/people", f"/people/{me.id}/{act}", **fields)
        assert (response.status_code, "last admin" in response.text) == (409, True)


async def test_acts_are_written_down(site: Site, enter: Enter) -> None:
    """Who, what and when, in words, the newest first; the secrets of what was made are not among them."""
    browser = await enter("admin")
    made = await browser.send("/keys", "/keys", name="checkout", rights="call")
    html = await browser.get("/audit")
    verbs = re.findall(r'<td class="quiet" title="[\w.]+">([^<]+)</td>', html)
    assert verbs == ["made the key", "signed in", "invited"]
    assert "admin@acme.example" in html
    assert KEY.findall(made.text)[0] not in html


async def test_the_audit_log_has_pages(site: Site, enter: Enter) -> None:
    """A hundred records each; older ones are a link away."""
    for number in range(120):
        await site.keys.create(site.operator(), NewKey(name=f"key {number}"))
    browser = await enter("admin")
    first = await browser.get("/audit")
    older = re.search(r'href="(/audit\?before=\d+)"', first)
    assert older is not None
    second = await browser.get(older[1])
    named = re.findall(r">(key \d+)<", first + second)
    assert named == [f"key {number}" for number in reversed(range(120))]
