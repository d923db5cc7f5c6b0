"""Tests of whole drills: real workers, a real Postgres, simulators on sockets, and the page that is left."""

import json
import os
import re
import subprocess
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import async_playwright

from serving import BACKSTAY, environment, serving

CHROMIUM = Path("/usr/bin/chromium")
HAS_CHROMIUM = CHROMIUM.exists() or os.environ.get("CI") == "true"
FIGURES = {
    "scenario", "title", "verdict", "seconds", "calls", "succeeded", "success_rate", "endings", "reasons", "p50_ms",
    "p95_ms", "p99_ms", "upstream_calls", "extra_calls", "struck_calls", "targets", "recovery_s", "disturbed_s",
    "breaker_openings", "money", "cost_usd", "outage_cost_usd", "booked_calls", "expectations", "stretches", "timeline",
    "compare", "report",
}  # fmt: skip
SHORT = """
title   = "The first of two targets is down for two seconds."
seconds = 4

[load]
calls_per_s = 30

[targets.primary]
answer = "echo"
[[targets.primary.phases]]
after_s = 1.5
for_s   = 2.2
faults  = [{ kind = "status", status = 503 }]

[targets.backup]
answer = "echo"

[[stretches]]
name    = "both answer"
from_s  = 0
until_s = 1.5

[[stretches]]
name    = "primary is down"
from_s  = 1.5
until_s = 4

[expect]
min_success_rate = 1
max_extra_ratio  = 1.1
"""
LIVE = """
[providers.one]
dialect = "openai"
base_url = "ONE/v1"
price_as = "openai/gpt-4o-mini"

[providers.two]
dialect = "openai"
base_url = "TWO/v1"
price_as = "openai/gpt-4o-mini"

[models.both]
targets = ["one/m", "two/m"]

[models.mixed]
targets = ["one/m", "sim/gpt-4o-mini"]
"""


def drill(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> tuple[int, Any, str]:
    """Run a drill, and return its exit status, its JSON document, and what it said besides."""
    done = subprocess.run(
        [BACKSTAY, "drill", *arguments, "--json"],
        capture_output=True, text=True, timeout=110, cwd=cwd, env=env or environment(),
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout or "null"), done.stderr


@pytest.mark.parametrize("name", ["cut-streams", "stale-answers", "total-outage", "worker-killed"])
def test_a_quick_drill_passes(name: str, tmp_path: Path) -> None:
    """Every expectation is met; what targets answered is in the ledger; the document has all of its figures."""
    status, told, _ = drill(name, "--quick", cwd=tmp_path)
    assert [check for check in told["expectations"] if not check["passed"]] == []
    assert (status, told["verdict"]) == (0, "pass")
    assert set(told) == FIGURES
    asked = told["targets"]["primary"]["answer"] if name == "stale-answers" else told["succeeded"]
    assert told["booked_calls"] >= asked > 0
    assert re.fullmatch(r"\d+\.\d{6,9}", told["cost_usd"])


def test_budgets_hold_while_postgres_is_away(tmp_path: Path) -> None:
    """Calls go on within leased money and none beyond it; afterwards the books say what callers were told.

    How much is leased by then depends on how fast this machine is. ``make soak`` plays it at full length, where it is
    enough for minutes.
    """
    status, told, _ = drill("budget-outage", "--quick", cwd=tmp_path)
    assert [check for check in told["expectations"] if not check["passed"]] == []
    assert (status, told["verdict"]) == (0, "pass")
    money = told["money"]
    assert money["charged_usd"] == money["booked_usd"] == money["spent_usd"]
    assert Decimal(money["charged_away_usd"]) <= Decimal(money["granted_away_usd"])


async def test_a_drill_that_fails_says_so_and_leaves_its_report(tmp_path: Path) -> None:
    """What is not met makes the exit status 1; the peers are played the same; the page opens without an error."""
    (tmp_path / "short.toml").write_text(SHORT.replace("min_success_rate = 1", "max_upstream_ratio = 0.5"))
    status, told, said = drill("short.toml", "--report", "drill.html", "--compare", cwd=tmp_path)
    assert (status, told["verdict"], told["report"]) == (1, "fail", "drill.html")
    assert [check["what"] for check in told["expectations"] if not check["passed"]] == ["upstream_ratio"]
    assert [each["name"] for each in told["compare"]] == ["Backstay", "bare SDK", "LiteLLM"]
    bare, litellm = told["compare"][1:]
    assert bare["calls"] == told["calls"] == 120
    assert bare["success_rate"] < 1 == told["success_rate"]
    assert bare["upstream_calls"] > bare["calls"]
    assert litellm["calls"] == 120
    assert litellm["success_rate"] > bare["success_rate"]
    assert litellm["upstream_calls"] > 120
    assert "s of calls through Backstay" in said
    if HAS_CHROMIUM:
        await _open(tmp_path / "drill.html")


async def _open(page_file: Path) -> None:
    complaints: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        for width, scheme in ((1280, "light"), (390, "dark")):
            page = await browser.new_page(viewport={"width": width, "height": 900})
            await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            page.on("console", lambda message: complaints.append(message.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("request", lambda asked: complaints.append(asked.url) if asked.url.startswith("http") else None)
            await page.goto(page_file.as_uri(), wait_until="load")
            assert await page.locator("svg rect").count() > 20
            assert await page.locator("polyline").count() >= 4
            assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
            await page.close()
        await browser.close()
    assert complaints == []


@contextmanager
def simulating() -> Generator[str]:
    """Run `backstay simulate` on a free port."""
    process = subprocess.Popen(
        [BACKSTAY, "simulate", "--port", "0", "--json"], stdout=subprocess.PIPE, text=True, env=environment()
    )
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def test_a_live_installation_is_drilled_over_its_simulators_only(tmp_path: Path) -> None:
    """The simulators play the faults, and afterwards what they played before; any other target is refused."""
    (tmp_path / "short.toml").write_text(SHORT)
    with simulating() as one, simulating() as two:
        (tmp_path / "backstay.toml").write_text(LIVE.replace("ONE", one).replace("TWO", two))
        with serving(tmp_path) as server:
            where = ("--url", server.url)
            named = ("--simulator", f"one/m={one}", "--simulator", f"two/m={two}")
            status, told, _ = drill(
                "short.toml", "--live", "both", *named, *where, cwd=tmp_path, env=server.environment
            )
            assert (status, told["verdict"], told["success_rate"]) == (0, "pass", 1)
            assert told["targets"]["backup"]["answer"] > 10
            assert told["breaker_openings"] is None
            assert told["booked_calls"] == told["calls"]

            swapped = ("--simulator", f"one/m={two}", "--simulator", f"two/m={one}")
            mixed = ("--simulator", f"one/m={one}", "--simulator", f"sim/gpt-4o-mini={two}")
            for model, refused, words in (
                ("both", named[:2], "name the simulator of each"),
                ("both", swapped, ""),
                ("mixed", mixed, "was not asked"),
                ("neither", named, "has no model 'neither'"),
            ):
                status, told, _ = drill(
                    "short.toml", "--live", model, *refused, *where, cwd=tmp_path, env=server.environment
                )
                assert (status == 0) == (not words)
                assert words in str(told)
            status, told, _ = drill(
                "worker-killed", "--live", "both", *named, *where, cwd=tmp_path, env=server.environment
            )
            assert status == 6 and "private one only" in told["error"]["message"]
