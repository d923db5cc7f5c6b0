"""The pages of budgets: what is left, who holds it, what was refused, who changed what; and every act by its form."""

import random
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from budgets_seed import spending
from console_seed import make_call, ship
from console_site import TENANT, Browser, Site
from test_pages import address, chromium, needs_chromium, sign_in, visiting  # pyright: ignore[reportUnusedImport]

from backstay.access import AuditLog
from backstay.access.types import NewKey, Role
from backstay.budgets import BudgetConfig, Terms
from backstay.budgets.manage import BudgetChange, NewBudget
from backstay.console import ConsoleDeps
from backstay.store import Connection

Enter = Callable[[Role], Awaitable[Browser]]

__all__ = ["address", "chromium"]

EACH = BudgetConfig.model_validate({"limit_usd": "0.01", "per": "user", "hard": False, "window": "month"}).terms("each")


async def unrecorded(connection: Connection, action: str, subject: str, detail: dict[str, Any]) -> None:
    """The audit log is not looked at here."""


async def make(site: Site, deps: ConsoleDeps, *, tenant_id: str = TENANT, **fields: Any) -> str:
    made = await deps.budgets.create(site.operator(tenant_id), NewBudget(**fields), unrecorded)
    return made.id


async def refuse(site: Site, words: str) -> str:
    """Ship a call that a budget refused; returns its trace's id."""
    fields = {"feature": "chat", "error_code": "budget_exhausted", "error_message": words}
    call = make_call(random.Random(words), datetime.now(UTC), "key_x", status="error", **fields)
    await ship(site.database, TENANT, [call])
    return call.spans[0].trace_id


async def test_without_budgets_it_teaches(enter: Enter) -> None:
    """The command to paste stands there, and nothing to make one with for those who may not."""
    page = await (await enter("viewer")).get("/budgets")
    assert "No budgets yet" in page and "backstay budgets create --scope feature:chat" in page
    assert 'action="/budgets#new"' not in page and "Ask an admin of acme" in page


async def test_the_list_shows_own_and_the_policys(
    site: Site, deps: ConsoleDeps, enter: Enter, policy_budgets: list[Terms]
) -> None:
    """Before they are used, hard or soft, by key names; narrowed by scope and state; what needs a look comes first."""
    policy_budgets.append(EACH)
    key = await site.keys.create(site.operator(), NewKey(name="nightly jobs"))
    await make(site, deps, limit_usd="2", scope=f"key:{key.id}")
    stopped = await make(site, deps, limit_usd="3", scope="feature:chat", name="chat pot")
    await deps.budgets.change(site.operator(), stopped, BudgetChange(stopped=True), unrecorded)
    browser = await enter("viewer")
    page = await browser.get("/budgets")
    for words in ("all calls, each user", "backstay.toml", "key nightly jobs", "chat pot", "$2.00", "$0.01", "soft"):
        assert words in page
    attention = re.search(r'aria-label="Needs a look".*?</section>', page, re.DOTALL)
    assert attention is not None and "chat pot" in attention[0] and "every call of its scope is refused" in attention[0]
    assert attention[0].count("<li>") == 1
    assert rows(await browser.get("/budgets?state=stopped")) == 1
    assert rows(await browser.get("/budgets?state=active")) == 2
    assert rows(await browser.get("/budgets?scope=feature:chat&state=active")) == 0
    assert "No budget is like that" in await browser.get("/budgets?state=exhausted")
    assert "There is no state" in await browser.get("/budgets?state=odd", 400)
    shown = await browser.get("/budgets/policy:each")
    assert "[budgets.each]" in shown and "soft: calls are marked" in shown and "Nobody has spent anything" in shown


def rows(page: str) -> int:
    return page.count('class="whole" href="/budgets/')


async def test_one_budget_shows_its_window(site: Site, deps: ConsoleDeps, enter: Enter) -> None:
    """What is spent and when, who holds the rest, the dearest calls first, the refused ones and the link to them."""
    budget_id = await make(site, deps, limit_usd="0.01", scope="feature:chat", window="lifetime")
    async with spending(site.database) as worker:
        cheap = await worker.call(1_000_000, ago=timedelta(minutes=3), feature="chat")
        dear = await worker.call(4_000_000, feature="chat")
        refused = await refuse(site, "This call may cost up to $9, and $1 of the feature chat's budget of $0.01 per …")
        other = await refuse(site, "This call may cost up to $9, and $1 of the feature other's budget of $1 per …")
        browser = await enter("viewer")
        page = await browser.get(f"/budgets/{budget_id}")
    assert "wrk_console" in page and "live" in page
    assert page.index(dear) < page.index(cheap)
    assert refused in page and other not in page
    assert "q=of+the+feature+chat%27s+budget+of" in page and "status=error" in page
    assert "$0.004" in page and "$0.001" in page and 'title="$0.005000"' in page
    last_row = re.findall(r"<tr><td><time.*?</tr>", page)[-1]
    assert "$0.005" in last_row
    # Viewers see neither who changed what nor forms.
    assert "Who changed what" not in page and f"/budgets/{budget_id}/stop" not in page and 'id="change"' not in page


async def test_each_user_has_a_window(site: Site, enter: Enter, policy_budgets: list[Terms]) -> None:
    """The one who spent most is drawn, others by their links; somebody over makes a soft budget say so."""
    policy_budgets.append(EACH)
    async with spending(site.database, policy_budgets) as worker:
        await worker.call(2_000_000, user="u1")
        await worker.call(11_000_000, user="u2")
    browser = await enter("viewer")
    page = await browser.get("/budgets/policy:each")
    assert "Burn-down of user u2" in page and "over its limit" in page and "It is soft" in page
    other = await browser.get("/budgets/policy:each?subject=u1")
    assert "Burn-down of user u1" in other and "spent by u1" in other
    nobody = await browser.get("/budgets/policy:each?subject=u%3Cb%3E")
    assert "Burn-down of user u&lt;b&gt;" in nobody
    assert "by user u2" in await browser.get("/budgets")


async def test_an_admin_makes_changes_stops_resumes_and_deletes(site: Site, enter: Enter) -> None:
    """Each by a form, each in the audit log under its name and on the budget's page; a form sent twice is one act."""
    browser = await enter("admin")
    made = await browser.send(
        "/budgets", "/budgets", limit_usd="5", scope="feature:chat, user:u1", window="day", kind="soft", name="pot"
    )
    assert made.status_code == 303
    place = made.headers["location"]
    budget_id = place.rpartition("/")[2]
    changed = await browser.send(place, place, limit_usd="7.5", kind="hard", on_low_budget="refuse")
    assert (changed.status_code, changed.headers["location"]) == (303, place)
    same = await browser.send(place, place, limit_usd="7.50", kind="hard", on_low_budget="refuse")
    assert same.status_code == 303
    assert "Stop all spending of feature chat of user u1?" in await browser.get(f"{place}/stop")
    for _ in range(2):
        assert (await browser.send(f"{place}/stop", f"{place}/stop")).status_code == 303
    assert "every call of its scope is refused" in await browser.get(place)
    assert (await browser.send(place, f"{place}/resume")).status_code == 303
    page = await browser.get(place)
    for words in (
        "made the budget",
        "changed the budget",
        "stopped the budget",
        "resumed the budget",
        "was_limit_usd: 5.000000",
    ):
        assert words in page
    assert "Delete this budget?" in await browser.get(f"{place}/delete")
    assert (await browser.send(f"{place}/delete", f"{place}/delete")).headers["location"] == "/budgets"
    await browser.get(place, 404)
    records = await AuditLog(site.database).list(site.operator(), subject=budget_id)
    acts = ["budget.delete", "budget.resume", "budget.stop", "budget.change", "budget.create"]
    assert [record.action for record in records] == acts
    assert {record.detail["by"] for record in records} == {"admin@acme.example"}
    assert "No budgets yet" in await browser.get("/budgets")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("limit_usd", "five", "must be an amount in US dollars"),
        ("limit_usd", "-1", "must be from 0"),
        ("limit_usd", "5 EUR", "There are: USD."),
        ("limit_usd", "NaN", "must be an amount in US dollars"),
        ("limit_usd", "0.0000000001", "more than nine decimal places"),
        ("scope", "team:a", "is no scope"),
        ("scope", "user:a,user:b", "names one dimension twice"),
        ("scope", "tenant:default", "this is not the tenant"),
        ("time_zone", "Mars/Base", "must be a name such as Europe/Berlin"),
        ("window", "fortnight", "Invalid enum value"),
        ("per", "team", "Invalid enum value"),
        ("on_low_budget", "beg", "Invalid enum value"),
    ],
)
async def test_what_is_wrong_is_said_beside_its_field(enter: Enter, field: str, value: str, said: str) -> None:
    """With what was written kept, and nothing made."""
    browser = await enter("admin")
    fields = {"limit_usd": "5", "window": "day", "name": "kept as written", field: value}
    answer = await browser.send("/budgets", "/budgets", **fields)
    assert answer.status_code == 400
    beside = re.search(rf'id="wrong-{field}" role="alert">([^<]+)<', answer.text)
    assert beside is not None and said in beside[1]
    assert f'aria-describedby="wrong-{field}"' in answer.text or field == "on_low_budget"
    assert 'value="kept as written"' in answer.text and "No budgets yet" in answer.text


async def test_a_limit_that_is_wrong_changes_nothing(site: Site, deps: ConsoleDeps, enter: Enter) -> None:
    """Nor does rolling over a lifetime make a budget."""
    budget_id = await make(site, deps, limit_usd="5", window="hour", rollover=True)
    browser, place = await enter("admin"), f"/budgets/{budget_id}"
    answer = await browser.send(place, place, limit_usd="1e99", kind="soft")
    assert answer.status_code == 400 and 'id="wrong-limit_usd"' in answer.text and 'value="1e99"' in answer.text
    view = await deps.budgets.show(site.operator(), budget_id)
    assert (view.limit_usd, view.hard) == ("5.000000", True)
    answer = await browser.send("/budgets", "/budgets", limit_usd="5", window="lifetime", rollover="on")
    assert answer.status_code == 400 and 'id="wrong-rollover"' in answer.text


@pytest.mark.parametrize("role", ["viewer", "reviewer", "editor"])
async def test_others_may_only_look(site: Site, deps: ConsoleDeps, enter: Enter, role: Role) -> None:
    """Nothing is made, changed, stopped or deleted; an editor sees who changed what."""
    budget_id = await make(site, deps, limit_usd="5")
    browser, place = await enter(role), f"/budgets/{budget_id}"
    assert ("Who changed what" in await browser.get(place)) == (role == "editor")
    for path in ("/budgets", place, f"{place}/stop", f"{place}/resume", f"{place}/delete"):
        answer = await browser.send("/account", path, limit_usd="9")
        assert answer.status_code == 403
    for path in (f"{place}/stop", f"{place}/delete"):
        await browser.get(path, 403)
    (view,) = await deps.budgets.list(site.operator())
    assert (view.limit_usd, view.stopped) == ("5.000000", False)


async def test_a_form_needs_its_token(site: Site, deps: ConsoleDeps, enter: Enter) -> None:
    """A guessed token, or another site's page, does nothing."""
    budget_id = await make(site, deps, limit_usd="5")
    browser, place = await enter("admin"), f"/budgets/{budget_id}"
    for path in ("/budgets", place, f"{place}/stop", f"{place}/delete"):
        assert (await browser.http.post(path, data={"csrf": "guessed", "limit_usd": "9"})).status_code == 403
    elsewhere = {"origin": "http://evil.test", "sec-fetch-site": "cross-site"}
    assert (await browser.http.post(f"{place}/stop", data={}, headers=elsewhere)).status_code == 403
    (view,) = await deps.budgets.list(site.operator())
    assert (view.limit_usd, view.stopped) == ("5.000000", False)


async def test_other_tenants_budgets_are_not_there(site: Site, deps: ConsoleDeps, enter: Enter) -> None:
    """Neither listed, nor shown, nor changed by any form."""
    budget_id = await make(site, deps, tenant_id="default", limit_usd="5", name="theirs")
    browser, place = await enter("admin"), f"/budgets/{budget_id}"
    assert "theirs" not in await browser.get("/budgets")
    await browser.get(place, 404)
    for path in (place, f"{place}/stop", f"{place}/resume", f"{place}/delete"):
        assert (await browser.send("/account", path, limit_usd="9")).status_code == 404
    (view,) = await deps.budgets.list(site.operator("default"))
    assert (view.limit_usd, view.stopped) == ("5.000000", False)


async def test_the_policys_are_not_changed_here(enter: Enter, policy_budgets: list[Terms]) -> None:
    """The page offers nothing, and a form that is sent all the same is answered with where to change it."""
    policy_budgets.append(EACH)
    browser = await enter("admin")
    page = await browser.get("/budgets/policy:each")
    assert 'id="change"' not in page and "/budgets/policy:each/stop" not in page
    for path in ("stop", "resume", "delete"):
        answer = await browser.send("/account", f"/budgets/policy:each/{path}")
        assert answer.status_code == 409 and "backstay.toml" in answer.text


async def test_any_name_in_the_policy_leads_to_its_page(enter: Enter, policy_budgets: list[Terms]) -> None:
    """Blanks, slashes and marks included."""
    policy_budgets.append(BudgetConfig.model_validate({"limit_usd": "1"}).terms("team a/b?c#d%41"))
    browser = await enter("viewer")
    found = re.search(r'class="whole" href="(/budgets/[^"]+)"', await browser.get("/budgets"))
    assert found is not None
    assert "[budgets.team a/b?c#d%41]" in await browser.get(found[1])


async def test_costs_shows_budgets_burning_down(site: Site, deps: ConsoleDeps, enter: Enter, month: list[str]) -> None:
    """The six that matter most, what needs a look first, each leading to its page."""
    for number in range(7):
        await make(site, deps, limit_usd=str(number), scope=f"feature:f{number}", window="month")
    browser = await enter("viewer")
    page = await browser.get("/costs")
    assert page.count('class="whole" href="/budgets/') == 6
    first = page.index("/budgets/bud_")
    assert "exhausted" in page[first : first + 400]
    assert page.count('class="spark burn"') == 6


async def test_what_callers_wrote_is_shown_as_text(site: Site, deps: ConsoleDeps, enter: Enter) -> None:
    """Names and scopes hold no markup."""
    hostile = '<img src=x onerror="alert(1)">'
    budget_id = await make(site, deps, limit_usd="5", scope=f"user:{hostile}", name=hostile)
    browser = await enter("admin")
    for place in ("/budgets", f"/budgets/{budget_id}", f"/budgets/{budget_id}/stop", f"/budgets/{budget_id}/delete"):
        page = await browser.get(place)
        assert "<img" not in page and "&lt;img" in page


@needs_chromium
@pytest.mark.timeout(300)
async def test_it_looks_right(
    site: Site,
    deps: ConsoleDeps,
    address: str,
    chromium: object,
    month: list[str],
    policy_budgets: list[Terms],
) -> None:
    """Tidy and accessible in each of its looks; `g u` leads here; a budget is stopped by keys alone."""
    policy_budgets.append(EACH)
    budget_id = await make(site, deps, limit_usd="0.01", scope="feature:chat", window="month", name="chat")
    await make(site, deps, limit_usd="0", scope="model:gpt-4o", window="day")
    await make(site, deps, limit_usd="250", scope=["feature:invoice-agent", "user:a-rather-long-name@example.com"])
    async with spending(site.database, policy_budgets) as worker:
        for number in range(1, 9):
            await worker.call(number * 250_000, ago=timedelta(hours=9 * (8 - number)), feature="chat", user="u1")
        await worker.call(11_000_000, user="someone@example.com")
        await refuse(
            site, "This call may cost up to $9, and $1 of the feature chat's budget of $0.01 per month is left."
        )
        async with visiting(chromium, address) as visitor:  # pyright: ignore[reportArgumentType]
            page = visitor.page
            await sign_in(visitor, site)
            await page.keyboard.press("g")
            await page.keyboard.press("u")
            await page.wait_for_url("**/budgets")
            await visitor.inspect("budgets-full")
            await visitor.open("/costs")
            await visitor.inspect("costs-budgets")
            await visitor.open("/budgets/policy:each")
            await visitor.inspect("budget-policy")
            await visitor.open(f"/budgets/{budget_id}")
            await visitor.inspect("budget")
            await page.get_by_role("link", name="Stop").press("Enter")
            await page.get_by_role("button", name="Stop spending").wait_for()
            await visitor.inspect("budget-stop")
            await page.get_by_role("button", name="Stop spending").press("Enter")
            await page.get_by_text("every call of its scope is refused").wait_for()
            await page.get_by_role("link", name="Delete").press("Enter")
            await visitor.inspect("budget-delete")
            assert visitor.complaints == []
