"""`Idempotency-Key` on the vendors' wires: one upstream call and one charge, over workers, restarts and kills."""

import asyncio
import itertools
import json
import signal
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import openai
import psutil
import pytest

from serving import Server, eventually, serving

POLICY = """
[providers.slow]
dialect = "simulator"
price_as = "openai/gpt-4o-mini"
script = { tokens_per_second = 20, output_tokens = 30 }

[providers.shaky]
dialect = "simulator"
script = { faults = [{ kind = "status", status = 400, rate = 0.5 }] }

[models.slow]
targets = ["slow/gpt-4o-mini"]

[models.bad]
targets = ["shaky/m"]
"""

ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "What is the capital of France?"}]}
_numbers = itertools.count()


def new_key() -> str:
    return f"order-{next(_numbers)}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two workers, answers of up to 100,000 bytes kept."""
    folder = tmp_path_factory.mktemp("idempotency")
    (folder / "backstay.toml").write_text(POLICY)
    with serving(folder, "--workers", "2", BACKSTAY_IDEMPOTENCY_MAX_BYTES="100000") as server:
        yield server


@pytest.fixture(scope="module")
def key(server: Server) -> str:
    return server.ask("keys", "create", "--name", "once")["key"]


@pytest.fixture
async def session(key: str) -> AsyncIterator[aiohttp.ClientSession]:
    """Callers; each request has a connection of its own, so that either worker may get it."""
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector, headers={"authorization": f"Bearer {key}"}) as session:
        yield session


Reply = tuple[int, Any, bytes]


async def post(
    session: aiohttp.ClientSession, server: Server, once: str, path: str = "/v1/chat/completions", **body: Any
) -> Reply:
    body = {"model": "sim", **ASK, **body}
    async with session.post(server.url + path, json=body, headers={"idempotency-key": once}) as answer:
        return answer.status, answer.headers, await answer.read()


def shown(server: Server, trace_id: str) -> Any:
    """The call's span, once it is in the books."""

    def look() -> Any:
        done = server.run("traces", "show", trace_id, "--json")
        return json.loads(done.stdout)["spans"][0] if done.returncode == 0 else None

    return eventually(look)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {}),
        ("/v1/chat/completions", {"stream": True}),
        ("/v1/messages", {"max_tokens": 50}),
        ("/v1/messages", {"max_tokens": 50, "stream": True}),
        ("/v1/messages/count_tokens", {}),
        ("/v1/embeddings", {"input": "one"}),
    ],
)
async def test_a_repeat_gets_the_same_bytes(
    server: Server, session: aiohttp.ClientSession, path: str, body: dict[str, Any]
):
    """On each wire, streamed or not, from both workers: same bytes, marked, at no cost, with a trace of its own."""
    once = new_key()
    status, headers, first = await post(session, server, once, path, **body)
    assert status == 200 and "idempotency-replayed" not in headers
    origin, own = headers["x-backstay-trace-id"], ""
    for _ in range(4):
        status, again, text = await post(session, server, once, path, **body)
        assert (status, text, again["content-type"]) == (200, first, headers["content-type"])
        assert again["idempotency-replayed"] == "true"
        own = again["x-backstay-trace-id"]
        assert again["x-backstay-origin-trace-id"] == origin != own
        assert float(again["x-backstay-cost-usd"]) == 0
        assert again["x-backstay-target"] == headers["x-backstay-target"]
    span = await asyncio.to_thread(shown, server, own)
    assert (span["status"], span["cost_usd"], span["children"]) == ("ok", "0.000000", [])
    assert span["attributes"]["backstay.idempotency.origin"] == origin


@pytest.mark.parametrize("stream", [False, True])
async def test_repeats_at_once_make_one_call(server: Server, session: aiohttp.ClientSession, stream: bool):
    """Twelve at once over two workers: one is the call, the others wait and get its answer."""
    once = new_key()
    replies = await asyncio.gather(
        *(post(session, server, once, model="slow", stream=stream, user=once) for _ in range(12))
    )
    assert {status for status, _, _ in replies} == {200}
    assert len({text for _, _, text in replies}) == 1
    assert sum("idempotency-replayed" not in headers for _, headers, _ in replies) == 1
    rows = await asyncio.to_thread(
        eventually, lambda: [row for row in server.ask("costs", "--by", "user")["rows"] if row["user"] == once]
    )
    assert [row["calls"] for row in rows] == [1]


async def test_the_key_of_another_request_is_refused(server: Server, session: aiohttp.ClientSession):
    """Another body or another path with the same key: 409 in the vendor's shape, not to be tried again."""
    once = new_key()
    await post(session, server, once)
    for path, body in (("/v1/chat/completions", {"user": "x"}), ("/v1/messages", {"max_tokens": 5})):
        status, headers, text = await post(session, server, once, path, **body)
        assert (status, headers["x-should-retry"]) == (409, "false")
        assert b"idempotency_key_reused" in text
    status, _, text = await post(session, server, "a b")
    assert status == 400 and json.loads(text)["error"]["param"] == "idempotency-key"


async def test_a_repeat_waits_no_longer_than_its_deadline(server: Server, session: aiohttp.ClientSession):
    """It is told to try again, and SDKs do."""
    once = new_key()
    running = asyncio.create_task(post(session, server, once, model="slow"))
    await asyncio.sleep(0.4)
    headers = {"idempotency-key": once, "x-backstay-deadline-ms": "200"}
    body = {"model": "slow", **ASK}
    async with session.post(f"{server.url}/v1/chat/completions", json=body, headers=headers) as answer:
        assert (answer.status, (await answer.json())["error"]["code"]) == (409, "idempotency_in_progress")
        assert (answer.headers["x-should-retry"], answer.headers["retry-after"]) == ("true", "1")
    assert (await running)[0] == 200


async def test_errors_are_not_kept(server: Server, session: aiohttp.ClientSession):
    """A call that failed may be repeated until it succeeds; from then on its answer stays."""
    once = new_key()
    statuses: list[int] = []
    while not statuses or statuses[-1] != 200:
        statuses.append((await post(session, server, once, model="bad"))[0])
        assert len(statuses) < 40
    for _ in range(3):
        status, headers, _ = await post(session, server, once, model="bad")
        assert (status, headers["idempotency-replayed"]) == (200, "true")


async def test_an_answer_that_is_not_kept_is_not_paid_twice(server: Server, session: aiohttp.ClientSession):
    """Beyond the size that is kept, a repeat is told so."""
    once = new_key()
    many = [f"text {number}" for number in range(40)]
    status, _, text = await post(session, server, once, "/v1/embeddings", input=many)
    assert status == 200 and len(text) > 100_000
    status, headers, text = await post(session, server, once, "/v1/embeddings", input=many)
    assert (status, json.loads(text)["error"]["code"]) == (409, "idempotency_answer_too_large")
    assert headers["x-should-retry"] == "false"


async def test_a_caller_that_goes_away_frees_the_key(server: Server, session: aiohttp.ClientSession):
    """The call is cancelled, and the next with the key is made anew."""
    once = new_key()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.4):
            await post(session, server, once, model="slow")
    status, headers, _ = await post(session, server, once, model="slow")
    assert status == 200 and "idempotency-replayed" not in headers


def test_the_sdks_retry_until_they_get_the_one_answer(server: Server, key: str):
    """A repeat whose time is over before the call ends is retried by the SDK itself, and gets the one answer."""
    once = new_key()
    headers = {"Idempotency-Key": once, "x-backstay-deadline-ms": "300"}
    ask: Any = {"model": "slow", "messages": ASK["messages"]}
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=5) as client, ThreadPoolExecutor() as pool:
        completions: Any = client.chat.completions.with_raw_response
        first = pool.submit(completions.create, **ask, extra_headers={"Idempotency-Key": once})
        time.sleep(0.3)
        second = completions.create(**ask, extra_headers=headers)
        assert second.headers["idempotency-replayed"] == "true" and second.retries_taken > 0
        assert second.parse() == first.result().parse()
        with pytest.raises(openai.ConflictError) as caught:
            client.chat.completions.create(**ask, user="other", extra_headers=headers)
        assert caught.value.code == "idempotency_key_reused"


def test_anthropics_sdk_gets_the_same_message(server: Server, key: str):
    """Streamed or not, and its own class for a key of another request."""
    ask: Any = {"model": "sim", "max_tokens": 50, "messages": ASK["messages"]}
    with anthropic.Anthropic(base_url=server.url, api_key=key) as client:
        messages: Any = client.messages
        for stream in (False, True):
            headers = {"Idempotency-Key": new_key()}
            texts: list[str] = []
            for _ in range(2):
                if stream:
                    with messages.stream(**ask, extra_headers=headers) as events:
                        texts.append(events.get_final_message().to_json())
                else:
                    texts.append(messages.create(**ask, extra_headers=headers).to_json())
            assert texts[0] == texts[1]
            with pytest.raises(anthropic.ConflictError):
                messages.create(**ask, stop_sequences=["x"], extra_headers=headers)


def postgres(server: Server) -> list[psutil.Process]:
    here = str(server.data_dir / "pg")
    found = [each for each in psutil.process_iter(["cmdline"]) if here in " ".join(each.info["cmdline"] or [])]
    return [*found, *(child for each in found for child in each.children(recursive=True))]


def workers(server: Server) -> list[psutil.Process]:
    children = psutil.Process(server.process.pid).children(recursive=True)
    return [child for child in children if "backstay.worker" in " ".join(child.cmdline())]


async def test_a_killed_workers_key_is_free_and_its_call_in_the_books(server: Server, session: aiohttp.ClientSession):
    """kill -9 in the middle of a call: a repeat makes the call anew; the first one is interrupted, of unknown cost."""
    once = new_key()
    running = asyncio.create_task(post(session, server, once, model="slow", user=once))
    await asyncio.sleep(0.6)
    for worker in workers(server):
        worker.send_signal(signal.SIGKILL)
    with pytest.raises(aiohttp.ClientError):
        await running
    begun = time.monotonic()
    status, headers, first = await post(session, server, once, model="slow", user=once)
    assert status == 200 and "idempotency-replayed" not in headers and time.monotonic() - begun < 20
    assert (await post(session, server, once, model="slow", user=once))[2] == first

    def calls() -> list[str]:
        rows = server.ask("traces", "list", "--user", once)["traces"]
        return sorted(row["status"] for row in rows)

    await asyncio.to_thread(eventually, lambda: calls() == ["interrupted", "ok", "ok"])
    rows = [row for row in server.ask("costs", "--by", "user")["rows"] if row["user"] == once]
    assert [(row["calls"], row["unconfirmed_attempts"]) for row in rows] == [(2, 1)]


async def test_without_postgres_there_is_no_promise_and_no_answer_is_lost(
    server: Server, session: aiohttp.ClientSession
):
    """A new call with a key is refused while Postgres hangs; one that runs is answered, and kept by its journal."""
    once = new_key()
    running = asyncio.create_task(post(session, server, once, model="slow"))
    await asyncio.sleep(0.6)
    stopped = postgres(server)
    assert stopped
    for process in stopped:
        process.send_signal(signal.SIGSTOP)
    try:
        status, _, text = await post(session, server, new_key())
        assert (status, json.loads(text)["error"]["code"]) == (503, "store_unavailable")
        status, _, first = await running
        assert status == 200
    finally:
        for process in stopped:
            process.send_signal(signal.SIGCONT)
    status, headers, text = await post(session, server, once, model="slow")
    assert (status, headers["idempotency-replayed"], text) == (200, "true", first)


async def test_answers_outlive_a_restart(tmp_path: Path):
    """What was answered before a server ended is given again by the next one."""
    once = new_key()
    texts: list[bytes] = []
    with serving(tmp_path) as server:
        key: str = server.ask("keys", "create", "--name", "once")["key"]
        async with aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as session:
            texts.append((await post(session, server, once, stream=True))[2])
    with serving(tmp_path) as server:
        async with aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as session:
            texts.append((await post(session, server, once, stream=True))[2])
    assert texts[0] == texts[1]
