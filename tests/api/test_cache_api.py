"""The API and the commands of the cache, against a server of their own."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from serving import Server, run, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("cache")) as server:
        yield server


def test_an_empty_cache_has_nothing_to_tell(server: Server) -> None:
    """Statistics of a tenant that keeps nothing are empty, and a purge takes nothing."""
    assert server.ask("cache", "stats")["rows"] == []
    assert server.ask("cache", "purge", "--model", "sim", "--older-than", "1h") == {"purged": 0}
    assert server.ask("cache", "purge", "--all") == {"purged": 0}
    assert server.run("cache", "stats").returncode == 0


def test_a_purge_says_what(server: Server) -> None:
    """A purge without a condition is refused, as is one whose conditions make no sense."""
    done = server.run("cache", "purge")
    assert done.returncode != 0 and "--all" in done.stderr
    done = server.run("cache", "purge", "--like", "a parcel", "--model", "sim")
    assert done.returncode != 0 and "like" in done.stderr
    assert server.run("cache", "purge", "--older-than", "soon").returncode != 0


async def test_a_correction_takes_an_answer_back(tmp_path: Path) -> None:
    """By the trace of a call its kept answer goes; a pair is only noted where a question had another one's answer."""
    (tmp_path / "backstay.toml").write_text(
        '[models.faq]\ntargets = ["sim/gpt-4o-mini"]\n[models.faq.cache]\nexact = true\n'
    )
    context = serving(tmp_path)
    server = await asyncio.to_thread(context.__enter__)
    try:
        made = await asyncio.to_thread(server.ask, "keys", "create", "--name", "app")
        body = {"model": "faq", "messages": [{"role": "user", "content": "How do I return a parcel?"}]}

        async def ask() -> tuple[str, str]:
            async with aiohttp.ClientSession(headers={"authorization": f"Bearer {made['key']}"}) as session:
                async with session.post(server.url + "/v1/chat/completions", json=body) as answer:
                    return answer.headers["x-backstay-cache"], answer.headers["x-backstay-trace-id"]

        assert (await ask())[0] == "miss"
        kind, trace_id = await ask()
        assert kind == "hit"
        await asyncio.sleep(2)  # until the trace is shipped
        assert await asyncio.to_thread(server.ask, "cache", "correct", trace_id) == {"purged": 1}
        assert (await ask())[0] == "miss"
        assert await asyncio.to_thread(server.ask, "cache", "pairs") == {"pairs": []}
        file = tmp_path / "pairs.jsonl"
        done = await asyncio.to_thread(server.run, "cache", "pairs", "--export", str(file))
        assert (done.returncode, file.read_text()) == (0, "")
        assert (await asyncio.to_thread(server.run, "cache", "correct", "0" * 32)).returncode != 0
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)


def test_a_key_without_the_right_sees_no_cache(server: Server) -> None:
    """Only an admin may look at the cache or purge it."""
    key = server.ask("keys", "create", "--name", "reader", "--rights", "call,read")["key"]
    env = {**server.environment, "BACKSTAY_TOKEN": key}
    assert run("cache", "stats", env=env).returncode != 0
    assert run("cache", "purge", "--all", env=env).returncode != 0


def test_a_trial_needs_no_server(tmp_path: Path) -> None:
    """A few labelled questions, too few to show a bound: nothing is a hit, and it is said why."""
    file = tmp_path / "questions.jsonl"
    lines = [
        {"text": f"How do I {verb} it?", "intent": verb} for verb in ("open", "close", "sell", "mend") for _ in range(5)
    ]
    file.write_text("\n".join(map(json.dumps, lines)))
    done = run("cache", "eval", "--data", str(file), "--data", str(file), "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["queries"], answer["entries"], answer["hits"], answer["threshold"]) == (20, 20, 0, None)
    assert "stays off" in answer["problem"]
    done = run("cache", "eval", "--data", str(file), "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["queries"], answer["entries"], answer["max_false_hits"]) == (10, 10, 0.02)
    (tmp_path / "backstay.toml").write_text(SEMANTIC.format(name="faq", bound=0.05))
    done = run("cache", "eval", "--data", str(file), "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["max_false_hits"] == 0.05
    (tmp_path / "backstay.toml").write_text(
        "".join(SEMANTIC.format(name=n, bound=b) for n, b in (("a", 0.1), ("b", 0.2)))
    )
    done = run("cache", "eval", "--data", str(file), "--json", cwd=tmp_path)
    assert done.returncode != 0 and "--model: a, b" in done.stderr
    (tmp_path / "backstay.toml").unlink()
    file.write_text("nonsense")
    done = run("cache", "eval", "--data", str(file), "--calibration", str(file), cwd=tmp_path)
    assert done.returncode != 0 and "questions.jsonl:1" in done.stderr


SEMANTIC = """
[models.{name}]
targets = ["sim/gpt-4o-mini"]
[models.{name}.cache]
exact = true
semantic = true
calibration = "questions.jsonl"
max_false_hits = {bound}
"""


async def test_two_workers_share_answers(tmp_path: Path) -> None:
    """Over HTTP: the second equal call is a hit on any worker, ``no-cache`` asks again, and the statistics know."""
    (tmp_path / "backstay.toml").write_text(
        '[models.faq]\ntargets = ["sim/gpt-4o-mini"]\n[models.faq.cache]\nexact = true\n'
    )
    started = await asyncio.to_thread(lambda: (context := serving(tmp_path, "--workers", "2"), context.__enter__()))
    context, server = started
    try:
        made = await asyncio.to_thread(server.ask, "keys", "create", "--name", "app")
        body = {"model": "faq", "messages": [{"role": "user", "content": "How do I return a parcel?"}]}

        async def ask(**headers: str) -> str:
            headers["authorization"] = f"Bearer {made['key']}"
            async with aiohttp.ClientSession(headers=headers) as session:
                async with session.post(server.url + "/v1/chat/completions", json=body) as answer:
                    assert answer.status == 200
                    return answer.headers["x-backstay-cache"]

        assert await ask() == "miss"
        await asyncio.sleep(0.5)
        assert [await ask() for _ in range(10)] == ["hit"] * 10
        assert await ask(**{"cache-control": "no-cache"}) == "miss"
        await asyncio.sleep(3)
        (row,) = (await asyncio.to_thread(server.ask, "cache", "stats"))["rows"]
        assert (row["model"], row["entries"], row["hits"], row["misses"]) == ("faq", 1, 10, 2)
        assert row["saved_usd"] > "0.000000"
        assert await asyncio.to_thread(server.ask, "cache", "purge", "--model", "faq") == {"purged": 1}
        await asyncio.sleep(0.2)
        assert await ask() == "miss"
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)
