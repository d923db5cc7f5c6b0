"""Tests of ``backstay reconcile`` against a served installation, with exports as a vendor would write them."""

import datetime as dt
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest

from serving import Server, eventually, serving

HEAD = "start_time,start_time_iso,amount_value,amount_currency,line_item,project_id\n"
USAGE = "start_time,project_id,num_model_requests,api_key_id,model,input_tokens,output_tokens\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("reconcile")) as running:
        yield running


def reconcile(server: Server, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = server.run("reconcile", *arguments, "--json")
    return done.returncode, json.loads(done.stdout)


def spend(server: Server, calls: int) -> dict[str, Any]:
    """Make calls, and wait until the ledger has them."""
    key = server.ask("keys", "create", "--name", "bill")["key"]
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0) as client:
        for number in range(calls):
            client.chat.completions.create(model="sim", messages=[{"role": "user", "content": f"question {number}"}])

    def row() -> dict[str, Any] | None:
        rows = server.ask("costs", "--by", "target", "--since", "1d")["rows"]
        return next((each for each in rows if each["target"] == "sim/gpt-4o-mini" and each["calls"] >= calls), None)

    eventually(lambda: row() is not None)
    found = row()
    assert found is not None
    return found


def test_a_bill_is_compared_line_by_line(server: Server, tmp_path: Path):
    """What agrees passes; what another program spent is found, with its share; a damaged file is refused whole."""
    spent = spend(server, 5)
    day = dt.datetime.now(dt.UTC).date()
    start = int(dt.datetime.combine(day, dt.time(), dt.UTC).timestamp())
    costs, usage = tmp_path / "costs.csv", tmp_path / "usage.csv"
    costs.write_text(f'{HEAD}{start},,{spent["cost_usd"]},usd,"gpt-4o-mini-2024-07-18, input",p\n')
    line = f"{start},p,5.0,key_1,gpt-4o-mini-2024-07-18,{spent['input_tokens']},{spent['output_tokens']}\n"
    usage.write_text(USAGE + line)
    agreed = server.ask("reconcile", str(costs), str(usage), "--provider", "sim")
    assert agreed["ok"] and agreed["vendor"] == "openai" and Decimal(agreed["rows"][0]["difference_usd"]) == 0

    usage.write_text(USAGE + line + line)
    status, answer = reconcile(server, str(usage), "--provider", "sim")
    assert status == 7 and not answer["ok"]
    assert answer["rows"][0]["causes"] == ["50.0% of the billed tokens did not go through Backstay."]

    usage.write_text(USAGE + line + f"{start},p,5.0,key_1,gpt-4o-mini,some,1\n")
    status, answer = reconcile(server, str(usage), "--provider", "sim")
    assert status == 1 and "line 3: input_tokens is 'some'" in answer["error"]["message"]


def test_calls_of_other_providers_are_not_in_the_bill(server: Server, tmp_path: Path):
    """Without a name it is the vendor's own."""
    day = dt.datetime.now(dt.UTC).date()
    start = int(dt.datetime.combine(day, dt.time(), dt.UTC).timestamp())
    costs = tmp_path / "costs.csv"
    costs.write_text(f'{HEAD}{start},,1,usd,"gpt-4o-mini-2024-07-18, input",p\n')
    _, answer = reconcile(server, str(costs))
    assert answer["booked_usd"] == "0.000000" and "another program" in answer["rows"][0]["causes"][0]


def test_what_differs_is_booked_once_and_for_all_to_see(server: Server, tmp_path: Path):
    """After somebody has agreed; again it agrees; the invoice and the audit have it; nobody can change it."""
    spent = Decimal(spend(server, 6)["cost_usd"])
    now = dt.datetime.now(dt.UTC)
    start = int(dt.datetime.combine(now.date(), dt.time(), dt.UTC).timestamp())
    costs = tmp_path / "costs.csv"
    costs.write_text(f'{HEAD}{start},,{spent + Decimal("1.25")},usd,"gpt-4o-mini-2024-07-18, input",p\n')
    before = server.ask("costs", "invoice", "--month", f"{now:%Y-%m}")
    arguments = ("reconcile", str(costs), "--provider", "sim", "--book")

    refused = server.run(*arguments, input="n\n")
    assert "Book 1 adjustment of $1.250000 in sum?" in refused.stderr
    assert refused.returncode == 7 and server.ask("audit")["adjusted_usd"] == "0.000000"

    booked = server.run(*arguments, input="y\n")
    assert booked.returncode == 0, booked.stderr
    assert "default" in booked.stdout and "1.25" in booked.stdout
    for _ in range(2):
        again = server.ask(*arguments, "--yes")
        assert again["ok"] and again["booked"] == [] and again["rows"][0]["adjusted_usd"] == "1.250000"
    audit = server.ask("audit")
    assert audit["ok"] and audit["adjusted_usd"] == "1.250000"
    after = server.ask("costs", "invoice", "--month", f"{now:%Y-%m}")
    assert Decimal(after["cost_usd"]) - Decimal(before["cost_usd"]) == Decimal("1.25")
    assert any(line["model"].startswith("adjustment of ") for line in after["lines"])

    costs.write_text(f'{HEAD}{start},,{spent + 1},usd,"gpt-4o-mini-2024-07-18, input",p\n')
    credit = server.ask(*arguments, "--yes")
    assert [line["amount_usd"] for line in credit["booked"]] == ["-0.250000"]
    assert "An earlier comparison has booked an adjustment" in credit["rows"][0]["causes"][0]
    assert server.ask("audit")["adjusted_usd"] == "1.000000"


def test_keys_are_compared_each_for_itself(server: Server, tmp_path: Path):
    """Which of the policy's providers calls with which key is said by the operator; other keys are others' calls."""
    start = int(dt.datetime.combine(dt.datetime.now(dt.UTC).date(), dt.time(), dt.UTC).timestamp())
    usage = tmp_path / "usage.csv"
    line = f"{start},p,5.0,{{}},gpt-4o-mini-2024-07-18,1000,10\n"
    usage.write_text(USAGE + line.format("key_1") + line.format("key_2"))
    _, answer = reconcile(server, str(usage), "--key", "key_1=sim", "--key", "key_2=sim-two")
    assert [(row["vendor_key"], row["billed_input_tokens"]) for row in answer["rows"]] == [
        ("key_1", 1000),
        ("key_2", 1000),
    ]
    assert "No such call was made" in answer["rows"][1]["causes"][0]
    wrong = server.run("reconcile", str(usage), "--key", "key_1")
    assert wrong.returncode != 0 and "expected ID=PROVIDER" in wrong.stderr


def test_a_bill_in_another_currency_needs_its_rate(server: Server, tmp_path: Path):
    """Without one it is refused, with the names of those that there are."""
    start = int(dt.datetime.combine(dt.datetime.now(dt.UTC).date(), dt.time(), dt.UTC).timestamp())
    costs = tmp_path / "costs.csv"
    costs.write_text(f'{HEAD}{start},,1.5,eur,"gpt-4o-mini, input",p\n')
    status, answer = reconcile(server, str(costs), "--provider", "sim")
    assert status != 0 and "'EUR' has no rate. There are: USD" in answer["error"]["message"]
    (server.folder / "backstay.toml").write_text('[currencies]\nEUR = "1.1"\n')
    eventually(lambda: "rows" in reconcile(server, str(costs), "--provider", "sim")[1])
    _, answer = reconcile(server, str(costs), "--provider", "sim", "--all-tenants")
    assert answer["billed_usd"] == "1.650000" and answer["rates"] == ["1 EUR = 1.1 USD"]
