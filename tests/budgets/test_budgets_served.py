"""Tests of budgets as users meet them: a served installation with two workers, the vendors' SDKs, the command line."""

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import Any

import anthropic
import openai
import psutil
import pytest

from serving import Server, eventually, serving

POLICY = """
[models.unpriced]
targets = ["odd/mystery-model"]

[providers.odd]
dialect = "openai"
base_url = "http://127.0.0.1:9/v1"

[models.mystery]
targets = ["plain/mystery-model"]

[providers.plain]
dialect = "simulator"

[targets."plain/mystery-model"]
max_output_tokens = 3000

[unknown_price]
input = 1
output = 10

[budgets.each-user]
per = "user"
limit_usd = "0.0004"
window = "lifetime"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("budgets")
    (folder / "backstay.toml").write_text(POLICY)
    with serving(folder, "--workers", "2") as running:
        yield running


NewKey = Callable[..., Awaitable[tuple[openai.AsyncOpenAI, str]]]


@pytest.fixture
async def new_key(server: Server) -> AsyncIterator[NewKey]:
    """Make keys with a budget of their own; their clients are closed at the end."""
    async with AsyncExitStack() as clients:

        async def make(**budget: str) -> tuple[openai.AsyncOpenAI, str]:
            key = server.ask("keys", "create", "--name", "budgeted")
            options = [text for name, value in budget.items() for text in (f"--{name.replace('_', '-')}", value)]
            made = server.ask("budgets", "create", "--scope", f"key:{key['id']}", *options)
            await asyncio.sleep(1)  # within which every worker follows
            client = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=key["key"], max_retries=0, timeout=60)
            return await clients.enter_async_context(client), made["id"]

        yield make


def budget_of(server: Server, budget_id: str) -> dict[str, Any]:
    return next(each for each in server.ask("budgets", "list")["budgets"] if each["id"] == budget_id)


async def ask(client: openai.AsyncOpenAI, counts: Counter[str], **more: Any) -> Decimal:
    try:
        create: Any = client.chat.completions.with_raw_response.create
        messages = [{"role": "user", "content": "Tell me something."}]
        answer = await create(model=more.pop("model", "sim"), messages=messages, **more)
    except openai.APIStatusError as error:
        counts[f"{error.status_code} {error.code}"] += 1
        return Decimal(0)
    counts["ok"] += 1
    return Decimal(answer.headers.get("x-backstay-cost-usd", 0))


def settled(server: Server, budget_id: str) -> dict[str, Any]:
    """Wait until nothing of a budget is held any more."""
    eventually(lambda: not Decimal(budget_of(server, budget_id)["reserved_usd"]))
    return budget_of(server, budget_id)


async def test_a_crowd_does_not_overspend_and_the_rest_stays_usable(server: Server, new_key: NewKey):
    """64 callers at once over two workers: not a nano-dollar over; what they were told is what is booked."""
    client, budget_id = await new_key(limit_usd="0.002", window="lifetime")
    counts: Counter[str] = Counter()

    async def caller() -> Decimal:
        return sum([await ask(client, counts, max_tokens=50) for _ in range(4)], Decimal(0))

    told = sum(await asyncio.gather(*(caller() for _ in range(64))))
    while not counts["402 budget_exhausted"] or Decimal(settled(server, budget_id)["left_usd"]) > Decimal("0.0001"):
        told += await ask(client, counts, max_tokens=50)
    assert counts.keys() == {"ok", "402 budget_exhausted"}
    assert Decimal(settled(server, budget_id)["spent_usd"]) == told <= Decimal("0.002")
    assert server.ask("audit")["ok"]


async def test_a_killed_workers_calls_are_booked_and_its_money_comes_back(server: Server, new_key: NewKey):
    """After a kill in the middle, what it held is booked as far as it was spent or unknown, and free beyond that."""
    client, budget_id = await new_key(limit_usd="0.05", window="day")
    counts: Counter[str] = Counter()

    async def caller() -> None:
        for _ in range(6):
            try:
                await ask(client, counts, max_tokens=50)
            except openai.APIConnectionError:
                counts["cut"] += 1

    crowd = asyncio.gather(*(caller() for _ in range(24)))
    await asyncio.sleep(0.3)
    victim = next(
        child
        for child in psutil.Process(server.process.pid).children()
        if "backstay.worker" in " ".join(child.cmdline())
    )
    os.kill(victim.pid, signal.SIGKILL)
    await crowd
    budget = settled(server, budget_id)
    assert Decimal(budget["reserved_usd"]) == 0
    proof = server.ask("audit")
    assert proof["ok"] and proof["budgets"]["over"] == 0
    after: Counter[str] = Counter()
    await ask(client, after, max_tokens=50)
    assert after == {"ok": 1}


async def test_every_user_has_the_amount_for_himself(server: Server, new_key: NewKey):
    """A budget of the policy; one user's spending leaves another's alone."""
    client, _ = await new_key(limit_usd="1")
    counts: Counter[str] = Counter()
    while not counts["402 budget_exhausted"]:
        await ask(client, counts, max_tokens=60, user="greedy")
    assert counts["ok"] > 5
    other: Counter[str] = Counter()
    await ask(client, other, max_tokens=60, user="modest")
    assert other == {"ok": 1}


async def test_changes_count_within_a_second(server: Server, new_key: NewKey):
    """Lowered below what is spent, stopped, resumed, deleted."""
    client, budget_id = await new_key(limit_usd="0.5")

    async def outcome() -> str:
        await asyncio.sleep(1)
        counts: Counter[str] = Counter()
        await ask(client, counts, max_tokens=20)
        return next(iter(counts))

    assert await outcome() == "ok"
    server.ask("budgets", "set", budget_id, "--limit-usd", "0")
    assert await outcome() == "402 budget_exhausted"
    server.ask("budgets", "set", budget_id, "--limit-usd", "0.5")
    assert await outcome() == "ok"
    server.ask("budgets", "stop", budget_id)
    assert await outcome() == "402 spending_stopped"
    server.ask("budgets", "resume", budget_id)
    assert await outcome() == "ok"
    server.ask("budgets", "set", budget_id, "--limit-usd", "0")
    server.ask("budgets", "delete", budget_id)
    assert await outcome() == "ok"


async def test_an_answer_is_limited_to_what_is_left(server: Server, new_key: NewKey):
    """Without a limit of the caller's, the worst case is 16,384 tokens: the answer gets what the budget covers."""
    client, budget_id = await new_key(limit_usd="0.001")
    counts: Counter[str] = Counter()
    await ask(client, counts)
    assert counts == {"ok": 1}
    settled(server, budget_id)
    trace = server.ask("traces", "list")["traces"][0]
    shown = json.dumps(server.ask("traces", "show", trace["trace_id"]))
    assert "Tell me something." in shown


async def test_an_unknown_price_is_refused_under_a_hard_budget(server: Server, new_key: NewKey):
    """And not under none, or a soft one."""
    client, _ = await new_key(limit_usd="1")
    counts: Counter[str] = Counter()
    await ask(client, counts, model="unpriced")
    assert counts == {"402 price_unknown": 1}


async def test_an_unknown_price_is_taken_to_be_what_the_policy_says(server: Server, new_key: NewKey):
    """It is charged to the budget by what was used, and the call's own cost goes on being unknown."""
    client, budget_id = await new_key(limit_usd="0.04", window="lifetime", on_unknown_price="bound")
    create: Any = client.chat.completions.with_raw_response.create
    answer = await create(model="mystery", messages=[{"role": "user", "content": "Tell me something."}])
    assert "x-backstay-cost-usd" not in answer.headers
    usage = answer.parse().usage
    taken = Decimal(usage.prompt_tokens * 1 + usage.completion_tokens * 10) / 1_000_000
    eventually(lambda: Decimal(settled(server, budget_id)["spent_usd"]) == taken)
    server.ask("budgets", "set", budget_id, "--on-unknown-price", "refuse")
    await asyncio.sleep(1)
    counts: Counter[str] = Counter()
    await ask(client, counts, model="mystery")
    assert counts == {"402 price_unknown": 1}


async def test_a_targets_longest_answer_is_what_a_call_may_cost(server: Server, new_key: NewKey):
    """3,000 tokens of the policy's unknown price are 3 cents: that fits into 4 and not into 2."""
    for limit, code in (("0.04", "ok"), ("0.02", "402 budget_exhausted")):
        client, _ = await new_key(limit_usd=limit, on_unknown_price="bound", on_low="refuse")
        counts: Counter[str] = Counter()
        await ask(client, counts, model="mystery")
        assert counts == {code: 1}


async def test_a_cap_holds_for_one_call(server: Server, new_key: NewKey):
    """``x-backstay-max-cost``: refused where nothing fits, and a wrong one is named."""
    client, _ = await new_key(limit_usd="1")
    counts: Counter[str] = Counter()
    await ask(client, counts, max_tokens=50, extra_headers={"x-backstay-max-cost": "0.01"})
    await ask(client, counts, max_tokens=50, extra_headers={"x-backstay-max-cost": "0.000001"})
    await ask(client, counts, max_tokens=50, extra_headers={"x-backstay-max-cost": "-1"})
    assert counts == {"ok": 1, "402 budget_exhausted": 1, "400 invalid_request": 1}


async def test_anthropics_sdk_is_told_without_trying_again(server: Server):
    """402 in its vendor's shape, at once."""
    key = server.ask("keys", "create", "--name", "claude")
    server.ask("budgets", "create", "--scope", f"key:{key['id']}", "--limit-usd", "0")
    await asyncio.sleep(1)
    began = time.monotonic()
    async with anthropic.AsyncAnthropic(base_url=server.url, api_key=key["key"], max_retries=5, timeout=20) as client:
        with pytest.raises(anthropic.APIStatusError) as caught:
            await client.messages.create(model="sim", max_tokens=50, messages=[{"role": "user", "content": "hi"}])
    assert caught.value.status_code == 402 and "is left" in str(caught.value)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"limit_usd": "-1"}, "limit_usd"),
        ({"limit_usd": "much"}, "limit_usd"),
        ({"limit_usd": "NaN"}, "limit_usd"),
        ({"limit_usd": "1", "scope": "planet:mars"}, "scope"),
        ({"limit_usd": "1", "scope": "tenant:other"}, "scope"),
        ({"limit_usd": "1", "time_zone": "Mars/Olympus"}, "time_zone"),
        ({"limit_usd": "1", "window": "fortnight"}, "window"),
    ],
)
def test_a_wrong_budget_is_refused_by_its_field(server: Server, body: dict[str, Any], param: str):
    """Nothing is made."""
    options = [text for name, value in body.items() for text in (f"--{name.replace('_', '-')}", value)]
    done = server.run("budgets", "create", *options, "--json")
    assert done.returncode != 0
    assert param in done.stderr + done.stdout or param.replace("_", "-") in done.stderr + done.stdout


def test_the_policys_budgets_are_listed_and_are_changed_in_the_policy(server: Server):
    """They are there before any call, and the error says where they stand."""
    each = budget_of(server, "policy:each-user")
    assert (each["per"], each["hard"], each["window"], each["limit_usd"]) == ("user", True, "lifetime", "0.000400")
    refused = server.run("budgets", "stop", "policy:each-user")
    assert refused.returncode != 0 and "backstay.toml" in refused.stderr
