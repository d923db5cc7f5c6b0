"""``backstay prices``, run as people run it: what models cost, what differs, and a newer list that workers follow."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from serving import Server, environment, eventually, run

POLICY = """
[providers.acme]
dialect = "openai"
base_url = "https://api.acme.example/v1"
price_as = "openai/gpt-5.4"

[models.fast]
targets = ["acme/best"]

[prices."acme/best"]
input = "2"
output = "15"
valid_from = 2026-01-01
"""
NEWER = [
    {
        "id": "openai",
        "name": "OpenAI",
        "api_pattern": "https://api\\.openai\\.com",
        "models": [
            {"id": "gpt-4o-mini", "match": {"equals": "gpt-4o-mini"}, "prices": {"input_mtok": 7, "output_mtok": 9}}
        ],
    }
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a policy, a newer list and a data folder, but no server."""
    (tmp_path / "backstay.toml").write_text(POLICY)
    (tmp_path / "newer.json").write_text(json.dumps(NEWER))
    (tmp_path / "data").mkdir()
    return tmp_path


def ask(folder: Path, *arguments: str) -> Any:
    done = run(*arguments, "--json", env=environment(BACKSTAY_DATA_DIR=str(folder / "data")), cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_prices_are_shown_with_source_and_day(folder: Path) -> None:
    """Of a model of the policy, at the operator's price; of a listed model, with the tiers of long contexts."""
    [own] = ask(folder, "prices", "show", "fast")["prices"]
    assert own == {
        "name": "acme/best",
        "usd_per_million": {"input_mtok": "2", "output_mtok": "15"},
        "tiers": [],
        "source": "backstay.toml since 2026-01-01",
        "since": "2026-01-01",
    }
    [listed] = ask(folder, "prices", "show", "openai/gpt-5.4")["prices"]
    assert listed["usd_per_million"]["input_mtok"] == "2.5"
    assert [tier["above_input_tokens"] for tier in listed["tiers"]] == [272_000]
    assert {"acme/best", "local/smollm2"} <= {price["name"] for price in ask(folder, "prices", "show")["prices"]}
    shown = run("prices", "show", "fast", cwd=folder, env=environment(BACKSTAY_DATA_DIR=str(folder / "data")))
    assert "backstay.toml since 2026-01-01" in shown.stdout
    assert run("prices", "show", "nobody/knows", cwd=folder).returncode != 0


def test_prices_that_differ_are_named(folder: Path) -> None:
    """The operator's from the public ones, and a newer list's from the one in force."""
    own = ask(folder, "prices", "diff")
    assert {"model": "acme/best", "unit": "input_mtok", "before": "2.5", "after": "2"} in own["changed"]
    assert "output_mtok" not in {change["unit"] for change in own["changed"]}
    newer = ask(folder, "prices", "diff", "newer.json")
    assert {"model": "openai/gpt-4o-mini", "unit": "input_mtok", "before": "0.15", "after": "7"} in newer["changed"]
    assert (newer["added"], "openai/gpt-4o" in newer["removed"]) == ([], True)
    ask(folder, "prices", "update", "newer.json")
    assert ask(folder, "prices", "diff", "newer.json")["changed"] == []


def test_a_file_that_is_no_list_changes_nothing(folder: Path) -> None:
    """It is refused with its name, and what was in force stays."""
    ask(folder, "prices", "update", "newer.json", "--dated", "2026-11-20")
    (folder / "bad.json").write_text('[{"id": "openai"}]')
    done = run("prices", "update", "bad.json", cwd=folder, env=environment(BACKSTAY_DATA_DIR=str(folder / "data")))
    assert (done.returncode, "bad.json: it is no price list" in done.stderr) == (6, True)
    [kept] = ask(folder, "prices", "show", "openai/gpt-4o-mini")["prices"]
    assert kept["source"] == "genai-prices of 2026-11-20 openai/gpt-4o-mini"
    assert run("prices", "update", cwd=folder).returncode == 2


def test_workers_follow_a_newer_list(server: Server, tmp_path: Path) -> None:
    """Within two seconds calls are priced by it, named with its date; to revert returns to the installed list."""
    (tmp_path / "newer.json").write_text(json.dumps(NEWER))

    def source() -> str:
        targets = [target for model in server.ask("models")["models"] for target in model["targets"]]
        return next(target["price_source"] for target in targets if target["name"] == "sim/gpt-4o-mini")

    installed = source()
    try:
        server.ask("prices", "update", str(tmp_path / "newer.json"), "--dated", "2026-11-20")
        eventually(lambda: source() == "genai-prices of 2026-11-20 openai/gpt-4o-mini", limit_s=10)
        answer = server.ask("ask", "hello", "--model", "sim")
        expected = Decimal(answer["input_tokens"] * 7 + answer["output_tokens"] * 9) / 1_000_000
        assert Decimal(answer["cost_usd"]) == expected
    finally:
        server.ask("prices", "update", "--revert")
    eventually(lambda: source() == installed, limit_s=10)
