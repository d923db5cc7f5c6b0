"""Tests of ``backstay.toml``: what is taken, what is refused and where, and what happens to it while running."""

import asyncio
import re
from pathlib import Path

import pytest

from backstay.catalog import build_models
from backstay.core.errors import ConfigError
from backstay.ledger.price_list import KEPT_AS
from backstay.live_policy import LivePolicy
from backstay.policy import load_policy, policy_schema
from backstay.providers.simulator import Simulator

GOOD = """
[providers.acme]                 # a dialect, where it is, its credential
dialect  = "openai"
base_url = "http://127.0.0.1:9000/v1"
api_key  = "env:ACME_KEY"

[models.fast]                    # a name that callers use
targets = ["acme/gpt-4o-mini", "local/smollm2"]

[prices."acme/gpt-4o-mini"]
input = 0.15
output = 0.60
"""


def write(folder: Path, text: str) -> Path:
    file = folder / "backstay.toml"
    file.write_text(text)
    return file


def test_the_smallest_form(tmp_path: Path):
    """A provider and a model of one's own stand beside those that are there without any."""
    policy = load_policy(write(tmp_path, GOOD), {"ACME_KEY": "k"})
    assert [share.target for share in policy.models["fast"].targets] == ["acme/gpt-4o-mini", "local/smollm2"]
    assert set(policy.models) == {"local", "embed", "sim", "fast"}


def test_without_a_file_there_are_the_built_in_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """No file at all is a policy: the local models, the simulator, and vendors whose key is in the environment."""
    monkeypatch.chdir(tmp_path)
    policy = load_policy(None, {"OPENAI_API_KEY": "sk-x"})
    assert set(policy.models) == {"local", "embed", "sim"}
    assert set(policy.providers) == {"local", "sim", "openai"}


@pytest.mark.parametrize(
    ("before", "after", "line", "sentence"),
    [
        ('dialect  = "openai"', 'dialect = "opnai"', 3, "Did you mean 'openai'?"),
        ('dialect  = "openai"', 'dialekt = "openai"', 3, "providers.acme.dialekt: there is no such setting"),
        ('"env:ACME_KEY"', '"sk-in-clear"', 5, "so that no key stands in this file"),
        ('["acme/gpt-4o-mini", "local/smollm2"]', "[]", 8, "models.fast.targets"),
        ('"acme/gpt-4o-mini", ', '"nobody/gpt", ', 8, "there is no provider 'nobody'. There are: acme"),
        (
            '"acme/gpt-4o-mini", ',
            '"gpt-4o-mini", ',
            8,
            "'gpt-4o-mini' names no target: write its provider and its model",
        ),
        ("[models.fast]", '[models."my fast"]', 7, "'my fast' cannot name a model"),
        (
            "[models.fast] ",
            '[targets."acmee/x"]\ntools = false\n[models.fast] ',
            7,
            "no provider 'acmee'. There are: acme",
        ),
        ("[models.fast]", "[models.fast", 7, "not TOML"),
        ("input = 0.15", "input = -1", 11, "prices"),
        ('dialect  = "openai"', 'dialect = "openai"\ninference_geo = "us"', 2, "inference_geo is Anthropic's"),
        ('dialect  = "openai"', 'dialect = "anthropic"\nservice_tier = "priority"', 2, "service_tier is OpenAI's"),
        ("input = 0.15", 'input = 1\ncurrency = "EUR"', 12, "'EUR' has no rate. There are: USD. Others are added in"),
        ("[models.fast] ", '[currencies]\nEUR = "0"\n[models.fast] ', 8, "currencies.EUR"),
        ("[models.fast] ", '[currencies]\nUSD = "1"\n[models.fast] ', 8, "every rate is in US dollars"),
        ("[models.fast] ", '[currencies]\nEuro = "1"\n[models.fast] ', 8, "currencies.Euro"),
        (
            "[models.fast] ",
            '[currencies]\nEUR = "1"\n[budgets.a]\nlimit = "5 GBP"\n[models.fast] ',
            10,
            "budgets.a.limit: the currency 'GBP' has no rate. There are: USD, EUR.",
        ),
        ("[models.fast] ", '[budgets.a]\nlimit = "five"\n[models.fast] ', 8, "as in '50 EUR'"),
        ("[models.fast] ", '[budgets.a]\nlimit = "-5 USD"\n[models.fast] ', 8, "from 0 to 9,000,000,000 US dollars"),
        ("[models.fast] ", "[budgets.a]\nlimit = 5\nlimit_usd = 5\n[models.fast] ", 7, "needs one of limit_usd"),
        (
            "[models.fast] ",
            '[budgets.a]\nlimit = 5\non_unknown_price = "bound"\n[models.fast] ',
            9,
            "needs the table [unknown_price]",
        ),
        ("input = 0.15", "input = 1\nvalid_from = 2026-02-01\nvalid_until = 2026-01-31", 10, "is before valid_from"),
        (
            'dialect  = "openai"',
            'dialect = "simulator"\nscript = { faults = [{ kind = "status", status = 503, after = 1 }] }',
            4,
            "script.faults.0.after",
        ),
        ("[models.fast] ", "[modles.fast] ", 7, "modles"),
        (', "local/smollm2"]', ', {target = "local/smollm2", weigth = 2}]', 8, "weigth: there is no such setting"),
        (', "local/smollm2"]', ']\nstrategy = "fastest"', 9, "models.fast.strategy"),
        (
            '["acme/gpt-4o-mini", "local/smollm2"]',
            '[{target = "local/smollm2", weight = 0}]\nstrategy = "weighted"',
            7,
            "at least one target needs a weight above 0",
        ),
        (', "local/smollm2"]', ', "acme/gpt-4o-mini"]', 7, "is listed twice"),
        (', "local/smollm2"]', ']\nfallbacks = ["no"]', 9, "there is no model 'no'"),
        (', "local/smollm2"]', ']\nfallbacks = ["fast"]', 9, "they go in a circle: fast → fast"),
        (', "local/smollm2"]', "]\ntimeout = {first_token_s = 9, total_s = 3}", 9, "first_token_s is longer"),
        (', "local/smollm2"]', "]\ntimeout = {idle_s = 601}", 9, "idle_s is longer than total_s, 600: it could never"),
        (', "local/smollm2"]', "]\ntimeout = {total_s = inf}", 9, "total_s: Input should be a finite number"),
        (', "local/smollm2"]', ']\ndegraded = {target = "who/x"}', 9, "there is no provider 'who'"),
        (', "local/smollm2"]', "]\ndegraded = {cache_stale = true}", 7, "needs cache.exact = true"),
    ],
)
def test_a_bad_edit_is_named_with_its_line(tmp_path: Path, before: str, after: str, line: int, sentence: str):
    """What is wrong is said with file, line and reason; the key that should not be there is not repeated."""
    assert before in GOOD
    file = write(tmp_path, GOOD.replace(before, after))
    with pytest.raises(ConfigError) as caught:
        load_policy(file, {})
    assert sentence in str(caught.value)
    assert (caught.value.file, caught.value.line) == (str(file), line)
    assert "sk-in-clear" not in str(caught.value)


def test_fallbacks_come_in_stages_behind_a_models_own_targets(tmp_path: Path):
    """Each model's targets are a stage, in the order of the fallbacks; a target that is there already is not again."""
    file = write(
        tmp_path,
        '[models.main]\ntargets = ["sim/a", "sim/b"]\nfallbacks = ["second", "third"]\n'
        '[models.second]\ntargets = ["sim/b", "sim/c"]\nfallbacks = ["third"]\n[models.third]\ntargets = ["sim/d"]\n',
    )
    models = build_models(load_policy(file, {}), {"sim": Simulator("sim"), "local": Simulator("local")})
    (main,) = [model for model in models if model.name == "main"]
    stages = [(target.name, target.stage) for target in main.targets]
    assert stages == [("sim/a", 0), ("sim/b", 0), ("sim/c", 1), ("sim/d", 2)]


def test_a_missing_file_is_named(tmp_path: Path):
    """A file that was asked for and is not there is an error, not the built-in policy."""
    with pytest.raises(ConfigError, match="no such file"):
        load_policy(tmp_path / "none.toml", {})


def test_the_schema_knows_every_section():
    """Editors get a JSON schema of the file."""
    assert set(policy_schema()["properties"]) == {
        "providers", "models", "targets", "budgets", "limits", "prices", "unknown_price", "currencies", "loops",
        "anomalies", "alerts", "alert_channels",
    }  # fmt: skip


async def test_a_running_policy_follows_its_file_all_or_nothing(tmp_path: Path):
    """A good edit is in force soon; a bad one changes nothing and is told; mending it is enough."""
    file = write(tmp_path, GOOD)
    live = LivePolicy(file, {"ACME_KEY": "k"})
    changes: list[list[str]] = []
    live.load()
    watcher = asyncio.create_task(live.watch(lambda: changes.append([model.name for model in live.models])))
    try:
        before = live.models
        file.write_text(GOOD + "\n[models.broken]\ntargets = 7\n")
        live.look_again()
        await asyncio.sleep(0.05)
        assert live.problem is not None and live.problem.line == 15
        assert live.models is before and changes == []
        file.write_text(GOOD + '\n[models.more]\ntargets = ["local/smollm2"]\n')
        for _ in range(100):
            await asyncio.sleep(0.05)
            if changes:
                break
        assert changes == [["local", "embed", "sim", "fast", "more"]]
        assert live.problem is None
    finally:
        watcher.cancel()
        await live.close()


async def test_a_worker_that_starts_again_goes_on_with_what_was_in_force(tmp_path: Path) -> None:
    """A bad edit that it finds is refused, as where it ran before; who has nothing to go on with does not start."""
    file, kept = write(tmp_path, GOOD), tmp_path / "kept.toml"

    async def start() -> tuple[set[str], ConfigError | None]:
        live = LivePolicy(file, {"ACME_KEY": "k"})
        try:
            live.start(kept)
            return {model.name for model in live.models}, live.problem
        finally:
            await live.close()

    good = {"local", "embed", "sim", "fast"}
    assert await start() == (good, None)
    assert kept.stat().st_mode & 0o777 == 0o600
    file.write_text(GOOD + "\n[models.broken]\ntargets = 7\n")
    models, problem = await start()
    assert models == good and problem is not None and problem.line == 15
    file.write_text(GOOD + '\n[models.more]\ntargets = ["local/smollm2"]\n')
    assert await start() == (good | {"more"}, None)
    file.write_text("x")
    assert (await start())[0] == good | {"more"}
    for nothing in ("[models.fast]", None):
        kept.unlink() if nothing is None else kept.write_text(nothing)
        with pytest.raises(ConfigError, match="not TOML"):
            await start()


async def test_a_missing_credential_is_named_and_changes_nothing(tmp_path: Path):
    """A reference to a variable that is not set refuses the policy as a whole."""
    live = LivePolicy(write(tmp_path, GOOD), {})
    try:
        with pytest.raises(ConfigError, match="ACME_KEY") as refused:
            live.load()
        assert refused.value.line == 5
    finally:
        await live.close()


@pytest.mark.parametrize(
    ("written", "reason", "line"),
    [
        ('[providers.a]\ndialect = "bedrock"\n', "region", 1),
        ('[providers.a]\ndialect = "openai"\nbase_url = "http://a/v1"\nheaders = { x = "env:NONE" }\n', "NONE", 1),
        ('[providers.a]\ndialect = "openai"\napi_key = "file:none.txt"\n', "none.txt", 3),
    ],
)
def test_what_a_provider_refers_to_must_be_there(tmp_path: Path, written: str, reason: str, line: int) -> None:
    """Reading the policy says so with its line, before anything is started."""
    with pytest.raises(ConfigError, match=reason) as refused:
        load_policy(write(tmp_path, written), {})
    assert refused.value.line == line


def test_a_broken_key_in_the_environment_blames_no_file() -> None:
    """A vendor that is there without a policy is named by itself."""
    with pytest.raises(ConfigError, match="more than one line") as refused:
        load_policy(None, {"OPENAI_API_KEY": "sk-a\nsk-b"})
    assert str(refused.value).startswith("providers.openai: ")


async def test_a_damaged_price_list_leaves_the_one_in_force(tmp_path: Path) -> None:
    """It is refused with the way back, and calls keep their prices."""
    live = LivePolicy(write(tmp_path, GOOD), {"ACME_KEY": "k"}, tmp_path)
    live.load()
    before = live.prices
    (tmp_path / KEPT_AS).write_bytes(b"{")
    with pytest.raises(ConfigError, match="--revert"):
        live.load()
    assert live.prices is before
    await live.close()


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("[models.docs]", "models.docs: it needs targets"),
        ('[models.docs]\ncollection = "docs"\nretries = 3', "a model that is a collection has no retries"),
        ('[models.docs]\ncollection = "no such name"', "models.docs.collection"),
        (
            '[models.docs]\ncollection = "docs"\n[models.m]\ntargets = ["sim/m"]\nfallbacks = ["docs"]',
            "nobody's fallback",
        ),
    ],
)
def test_a_model_that_is_a_collection_is_nothing_else(tmp_path: Path, table: str, sentence: str) -> None:
    """A model without targets must be one."""
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        load_policy(write(tmp_path, table), {})
