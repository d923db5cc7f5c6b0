"""Tests of the wires against what clients get wrong, or do on purpose, on real sockets."""

import asyncio
import io
import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
import uvicorn
from wire_server import wire_server

from backstay.api.protocol import GuardedProtocol
from serving import Server, eventually

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    with wire_server(tmp_path_factory.mktemp("wires")) as running:
        yield running


async def post(server: tuple[Server, str], path: str, data: bytes, **headers: str) -> tuple[int, Any]:
    running, key = server
    async with aiohttp.ClientSession() as session:
        async with session.post(
            running.url + path, data=io.BytesIO(data), headers={"authorization": f"Bearer {key}", **headers}
        ) as answer:
            return answer.status, json.loads(await answer.read())


@pytest.mark.parametrize("path", [CHAT, "/v1/messages"])
async def test_a_body_that_is_too_large_is_413(server: tuple[Server, str], path: str):
    """50 MB are refused in the vendor's shape, before they are read into memory."""
    status, answer = await post(server, path, b"x" * 50_000_000)
    assert status == 413 and "33,554,432 bytes" in answer["error"]["message"]


async def test_ten_thousand_messages_are_fine(server: tuple[Server, str]):
    """Long conversations pass."""
    messages = [{"role": "user" if n % 2 == 0 else "assistant", "content": f"message {n}"} for n in range(10_001)]
    body = json.dumps({"model": "anthropic-way", "messages": messages}).encode()
    status, answer = await post(server, CHAT, body)
    assert status == 200 and answer["usage"]["prompt_tokens"] > 10_000


@pytest.mark.parametrize(
    ("header", "enough", "short", "unit"),
    [("x-request-timeout", "30", "0.2", "seconds"), ("x-backstay-deadline-ms", "30000", "200", "milliseconds")],
)
async def test_a_caller_says_how_long_it_waits(
    server: tuple[Server, str], header: str, enough: str, short: str, unit: str
):
    """Within that time there is an answer or a 504; what is no time is refused with the header's name and its unit."""
    body = b'{"model":"openai-way","messages":[{"role":"user","content":"x"}]}'
    assert (await post(server, CHAT, body, **{header: enough}))[0] == 200
    status, answer = await post(server, CHAT, body.replace(b"openai-way", b"slow"), **{header: short})
    assert (status, answer["error"]["code"]) == (504, "provider_timeout")
    for wrong in ("soon", "0", "-1", "nan", "inf"):
        status, answer = await post(server, CHAT, body, **{header: wrong})
        assert status == 400 and answer["error"]["message"] == f"{header} must be a number of {unit} above 0."


@pytest.mark.parametrize(("timeout_s", "deadline_ms"), [("0.2", "30000"), ("30", "200")])
async def test_of_two_deadlines_the_shorter_counts(server: tuple[Server, str], timeout_s: str, deadline_ms: str):
    """Whichever header says it."""
    body = b'{"model":"slow","messages":[{"role":"user","content":"x"}]}'
    both = {"x-request-timeout": timeout_s, "x-backstay-deadline-ms": deadline_ms}
    assert (await post(server, CHAT, body, **both))[0] == 504


async def test_a_request_without_a_key_is_401(server: tuple[Server, str]):
    """No credential at all is the same as a wrong one."""
    status, answer = await post(server, CHAT, b"{}", authorization="")
    assert status == 401 and answer["error"]["code"] == "invalid_api_key"


async def test_a_revoked_key_says_so(server: tuple[Server, str]):
    """A key that was good and was revoked is refused at once, on every worker, with the reason."""
    running, _ = server
    made = running.ask("keys", "create", "--name", "short-lived")
    body = b'{"model":"sim","messages":[{"role":"user","content":"x"}]}'
    assert (await post((running, made["key"]), CHAT, body))[0] == 200
    running.ask("keys", "revoke", made["id"])
    await asyncio.sleep(1)
    status, answer = await post((running, made["key"]), CHAT, body)
    assert status == 401 and "revoked on" in answer["error"]["message"]


async def test_a_key_for_some_models_knows_no_others(server: tuple[Server, str]):
    """A model outside a key's rights is as unknown as one that does not exist."""
    running, _ = server
    key = running.ask("keys", "create", "--name", "narrow", "--models", "sim")["key"]
    body = b'{"model":"openai-way","messages":[{"role":"user","content":"x"}]}'
    status, answer = await post((running, key), CHAT, body)
    assert status == 404 and answer["error"]["message"].endswith("This key may use: sim.")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_other_methods_are_405(server: tuple[Server, str], method: str):
    """A wire takes POST, and says so."""
    async with aiohttp.ClientSession() as session:
        async with session.request(method, server[0].url + CHAT) as answer:
            assert (answer.status, answer.headers["allow"]) == (405, "POST")
            assert (await answer.json())["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize(
    ("path", "advice"),
    [
        ("/v1/v1/messages", "Leave /v1 out of the base_url: this SDK adds it."),
        ("/chat/completions", "End the base_url in /v1."),
        ("/v1/embeddings/", "the path is /v1/embeddings, without a slash at its end."),
    ],
)
async def test_a_wrong_base_url_is_explained(server: tuple[Server, str], path: str, advice: str):
    """A path that misses a wire by what people put into ``base_url`` is a 404 that the vendor's SDK can show."""
    status, answer = await post(server, path, b"{}")
    assert status == 404 and answer["error"]["message"].endswith(advice)


async def test_an_unknown_path_is_named(server: tuple[Server, str]):
    """What is no path at all is a problem that names it."""
    status, answer = await post(server, "/v1/completions", b"{}")
    assert (status, answer["code"]) == (404, "not_found") and "/v1/completions" in answer["detail"]


@pytest.mark.parametrize(
    ("headers", "size_bytes", "code"),
    [
        ({}, 50_000_000, "request_too_large"),
        ({"content-encoding": "gzip"}, 10, "invalid_request"),
        ({"x-backstay-max-cost": "much"}, 10, "invalid_request"),
    ],
)
async def test_what_is_refused_unread_leaves_a_trace(
    server: tuple[Server, str], headers: dict[str, str], size_bytes: int, code: str
):
    """The caller is known, so that the books say what was refused; where nobody is known, nothing is kept."""
    running, key = server
    sent = {"authorization": f"Bearer {key}", "content-length": str(size_bytes), **headers}
    async with aiohttp.ClientSession() as session:
        async with session.post(running.url + CHAT, data=io.BytesIO(b"x" * size_bytes), headers=sent) as answer:
            assert (await answer.json())["error"]["code"] == code
            trace_id = answer.headers["x-backstay-trace-id"]
            assert answer.headers["x-request-id"] == trace_id
        sent["authorization"] = "Bearer bs_nobody"
        async with session.post(running.url + CHAT, data=io.BytesIO(b"x" * size_bytes), headers=sent) as answer:
            assert answer.status == 401 and "x-backstay-trace-id" not in answer.headers
    await asyncio.to_thread(eventually, lambda: running.run("traces", "show", trace_id).returncode == 0)
    (span,) = running.ask("traces", "show", trace_id)["spans"]
    assert (span["status"], span["error_code"], span["cost_usd"]) == ("error", code, "0.000000")


async def test_labels_are_read_as_utf8_or_latin1(server: tuple[Server, str]):
    """curl and most clients send UTF-8; what is none is HTTP's own latin-1."""
    running, key = server
    host, port = running.url.removeprefix("http://").split(":")
    body = b'{"model":"sim","messages":[{"role":"user","content":"x"}]}'
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: {len(body)}\r\n"
    for encoding in ("utf-8", "latin-1"):
        feature = "x-backstay-feature: größe\r\nconnection: close\r\n\r\n".encode(encoding)
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head.encode() + feature + body)
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
    await asyncio.to_thread(eventually, lambda: len(running.ask("traces", "--feature", "größe")["traces"]) == 2)


async def test_labels_cannot_carry_control_characters(server: tuple[Server, str]):
    """A feature with odd characters is cleaned before it reaches traces or logs; a raw line feed never gets in."""
    running, key = server
    address = running.url.removeprefix("http://").split(":")
    body = b'{"model":"sim","messages":[{"role":"user","content":"x"}]}'
    reader, writer = await asyncio.open_connection(address[0], int(address[1]))
    head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: {len(body)}\r\n"
    writer.write(head.encode() + b"x-backstay-feature: a\tb\xff\r\nconnection: close\r\n\r\n" + body)
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.fixture
async def quick_tempered() -> Any:
    """A server with the guard's limits cut to fractions of a second."""

    class Quick(GuardedProtocol):
        head_patience_s = 0.2
        body_patience_s = 0.2
        longest_head_bytes = 2000
        longest_unwanted_bytes = 200_000

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        while scope["path"] != "/unread" and (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(answer, http=Quick, lifespan="off", log_config=None))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    yield listener.getsockname()
    server.should_exit = True
    await task


@pytest.mark.parametrize(
    ("sent", "status_line"),
    [
        (b"", b""),
        (b"POST / HTTP/1.1\r\nhost: x\r\n", b"HTTP/1.1 408 Request Timeout"),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc", b"HTTP/1.1 408 Request Timeout"),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 5000, b"HTTP/1.1 431 Request Header Fields Too Large"),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 3000 + b"\r\n\r\n", b"HTTP/1.1 431 Request Header Fields Too Large"),
    ],
    ids=["nothing", "half a head", "half a body", "a head without end", "a long head"],
)
async def test_a_slow_or_endless_request_is_cut_off(quick_tempered: tuple[str, int], sent: bytes, status_line: bytes):
    """A request that never becomes complete holds its connection for a moment only, and is told why."""
    reader, writer = await asyncio.open_connection(*quick_tempered)
    writer.write(sent)
    async with asyncio.timeout(3):
        answer = await reader.read()
    assert answer.partition(b"\r\n")[0] == status_line
    assert answer.count(b"HTTP/1.1") == (1 if status_line else 0)
    writer.close()


@pytest.mark.parametrize(("pieces", "is_cut"), [(2, False), (2000, True)])
async def test_a_body_that_nobody_wants_is_stopped(quick_tempered: tuple[str, int], pieces: int, is_cut: bool):
    """Who is answered before the body was read, as without a key, may send a little more, and not on and on."""
    reader, writer = await asyncio.open_connection(*quick_tempered)
    piece = b"x" * 50_000
    writer.write(b"POST /unread HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (pieces * len(piece)))
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    sent = 0
    async with asyncio.timeout(5):
        with suppress(ConnectionError):
            for _ in range(pieces):
                writer.write(piece)
                await writer.drain()
                sent += 1
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    assert (sent < pieces) == is_cut
    writer.close()


async def test_a_whole_request_is_not_cut_off(quick_tempered: tuple[str, int]):
    """The guard lets go once a request is complete: a keep-alive connection may rest."""
    reader, writer = await asyncio.open_connection(*quick_tempered)
    for _ in range(2):
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(0.5)
    writer.close()
