"""Calls that are answered later, and the webhooks that tell of them, on a real server with a real receiver."""

import base64
import hashlib
import hmac
import json
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from job_server import CHAT, job_server, kill_job_runner, new_key

from serving import Server, eventually


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with job_server(tmp_path_factory.mktemp("later"), BACKSTAY_WEBHOOK_HOSTS="localhost") as server:
        yield server


class Answer:
    """One answer of the server."""

    def __init__(self, status: int, headers: Any, body: bytes):
        self.status, self.headers, self.json = status, headers, json.loads(body)


def ask(server: Server, key: str, path: str, body: Any = None, **headers: str) -> Answer:
    """Ask the server, and take errors as they come."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        server.url + path, data, {"authorization": f"Bearer {key}", "content-type": "application/json", **named}
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read())


def chat(model: str = "quick", text: str = "hello", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def wait(server: Server, key: str, call_id: str) -> Any:
    """Wait for the end of a call."""
    eventually(lambda: ask(server, key, f"/v1/async/{call_id}").json["status"] in ("completed", "failed"), 30)
    return ask(server, key, f"/v1/async/{call_id}").json


class Receiver:
    """What came to a webhook's receiver, which fails as often as it is told to."""

    def __init__(self, failures: list[int]):
        self.failures = failures
        self.came: list[tuple[str, dict[str, str], bytes]] = []
        self.url = ""


@contextmanager
def receiver(*failures: int, tls: ssl.SSLContext | None = None) -> Generator[Receiver]:
    """Run a receiver on this machine, over TLS where a context is given."""
    told = Receiver(list(failures))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            told.came.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            status = told.failures.pop(0) if told.failures else 204
            self.send_response(status)
            if status == 302:
                self.send_header("location", told.url + "/elsewhere")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("localhost", 0), Handler) as running:
        if tls is not None:
            running.socket = tls.wrap_socket(running.socket, server_side=True)
        told.url = f"http{'s' if tls else ''}://localhost:{running.server_address[1]}"
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield told
        finally:
            running.shutdown()
            thread.join()


def verify(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """Verify a message as the reference libraries of Standard Webhooks do."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    return expected in headers["webhook-signature"].split(" ")


def test_a_call_is_answered_later(server: Server) -> None:
    """A 202 says where; the answer there is the wire's own, priced and traced."""
    key = new_key(server)["key"]
    taken = ask(server, key, CHAT, chat(), x_backstay_async="true")
    assert (taken.status, taken.json["status"]) == (202, "queued")
    assert taken.headers["location"] == f"/v1/async/{taken.json['id']}"
    assert taken.json["url"] == server.url + taken.headers["location"]
    call = wait(server, key, taken.json["id"])
    assert (call["status"], call["path"], call["error"], call["webhook"]) == ("completed", CHAT, None, None)
    assert call["response"]["status_code"] == 200
    assert call["response"]["body"]["object"] == "chat.completion"
    trace = server.ask("traces", "show", call["response"]["request_id"])
    assert trace["spans"][0]["cost_usd"]


def test_what_cannot_be_made_is_told_at_once(server: Server) -> None:
    """Neither a model that is not there nor a stream is taken in."""
    key = new_key(server)["key"]
    for body, status in ((chat("nowhere"), 404), (chat(stream=True), 400), ({"model": "quick"}, 400)):
        assert ask(server, key, CHAT, body, x_backstay_async="true").status == status
    assert ask(server, key, CHAT, chat(), x_backstay_async="maybe").status == 400
    assert ask(server, key, "/v1/async/async_none").status == 404


def test_a_call_that_fails_says_so(server: Server) -> None:
    """With what the wire would have answered."""
    key = new_key(server)["key"]
    call = wait(server, key, ask(server, key, CHAT, chat("refusing"), x_backstay_async="true").json["id"])
    assert (call["status"], call["response"]["status_code"]) == ("failed", 400)
    assert call["response"]["body"]["error"]["message"]


def test_others_do_not_see_it(server: Server) -> None:
    """Neither another key nor another tenant's admin."""
    key = new_key(server)["key"]
    call_id = ask(server, key, CHAT, chat(), x_backstay_async="true").json["id"]
    stranger = server.ask("keys", "create", "--name", "x", "--rights", "admin", "--tenant", "strange")["key"]
    for other in (new_key(server)["key"], stranger):
        assert ask(server, other, f"/v1/async/{call_id}").status == 404


def test_a_repeat_is_the_same_call(server: Server) -> None:
    """One call for one Idempotency-Key; another body under it is refused."""
    key = new_key(server)["key"]
    headers = {"x_backstay_async": "true", "idempotency_key": "order-17"}
    first, second = (ask(server, key, CHAT, chat(), **headers) for _ in range(2))
    assert first.json["id"] == second.json["id"]
    assert ask(server, key, CHAT, chat(text="other"), **headers).status == 409
    assert wait(server, key, first.json["id"])["status"] == "completed"


def test_a_killed_runner_loses_no_call(server: Server) -> None:
    """What was under way is made again, once, and answered."""
    key = new_key(server)["key"]
    call_id = ask(server, key, CHAT, chat("slow"), x_backstay_async="true").json["id"]
    eventually(lambda: ask(server, key, f"/v1/async/{call_id}").json["status"] == "running")
    kill_job_runner(server)
    assert wait(server, key, call_id)["status"] == "completed"


def test_a_webhook_tells_of_the_answer(server: Server) -> None:
    """Signed as Standard Webhooks says; a receiver that fails is told again, with the same id."""
    key = new_key(server)["key"]
    secret = server.ask("webhooks", "secret")["secret"]
    with receiver(500) as told:
        url = f"{told.url}/hook?a=b"
        taken = ask(server, key, CHAT, chat(), x_backstay_async="true", x_backstay_webhook=url)
        assert taken.status == 202
        eventually(lambda: len(told.came) == 2, 30)
        for path, headers, body in told.came:
            assert path == "/hook?a=b"
            assert verify(secret, headers, body)
            assert headers["webhook-id"] == taken.json["id"]
        message = json.loads(told.came[0][2])
        assert message["type"] == "call.completed"
        assert message["data"]["id"] == taken.json["id"]
        assert message["data"]["response"]["body"]["object"] == "chat.completion"

        def state() -> Any:
            return ask(server, key, f"/v1/async/{taken.json['id']}").json["webhook"]

        eventually(lambda: state()["status"] == "delivered")
        assert state() == {"url": url, "status": "delivered", "tries": 2, "error": None}


def test_a_call_made_later_costs_no_more_than_it_may(server: Server) -> None:
    """`x-backstay-max-cost` holds for it as for any call."""
    key = new_key(server)["key"]
    taken = ask(server, key, CHAT, chat(), x_backstay_async="true", x_backstay_max_cost="0.000000001")
    answer = wait(server, key, taken.json["id"])
    assert (answer["status"], answer["response"]["body"]["error"]["code"]) == ("failed", "budget_exhausted")


def test_a_webhook_needs_a_call_that_is_made_later(server: Server) -> None:
    """Alone it would never be told of anything, and is refused."""
    refused = ask(server, new_key(server)["key"], CHAT, chat(), x_backstay_webhook="https://example.com/")
    assert (refused.status, refused.json["error"]["param"]) == (400, "x-backstay-webhook")


def test_slow_receivers_hold_up_their_own_tenant_alone(server: Server) -> None:
    """While 20 receivers of one tenant say nothing, another tenant's is told at once."""
    told, ended = threading.Semaphore(0), threading.Event()

    class Silent(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.release()
            ended.wait(60)
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("localhost", 0), Silent) as silent, receiver() as quick:
        thread = threading.Thread(target=silent.serve_forever)
        thread.start()
        try:
            for tenant, url, calls in (
                ("slow", f"http://localhost:{silent.server_address[1]}", 20),
                ("t", quick.url, 1),
            ):
                server.ask("webhooks", "secret", "--tenant", tenant)
                key = new_key(server, "--tenant", tenant)["key"]
                for _ in range(calls):
                    assert ask(server, key, CHAT, chat(), x_backstay_async="true", x_backstay_webhook=url).status == 202
                assert calls == 1 or all(told.acquire(timeout=20) for _ in range(12))
            eventually(lambda: len(quick.came) == 1, 10)
            ended.set()
            assert all(told.acquire(timeout=20) for _ in range(8)), "they come when there is room again"
        finally:
            ended.set()
            silent.shutdown()
            thread.join()


def test_metrics_tell_of_jobs(server: Server) -> None:
    """What was done with calls and webhooks, and that none is left waiting."""
    key = new_key(server)["key"]
    server.ask("webhooks", "secret")
    before = metrics(server)
    with receiver(500) as told:
        good = ask(server, key, CHAT, chat(), x_backstay_async="true", x_backstay_webhook=told.url).json["id"]
        bad = ask(server, key, CHAT, chat("refusing"), x_backstay_async="true").json["id"]
        assert {wait(server, key, each)["status"] for each in (good, bad)} == {"completed", "failed"}
        eventually(lambda: len(told.came) == 2, 30)

    def more(name: str) -> float:
        return metrics(server).get(name, 0) - before.get(name, 0)

    eventually(lambda: more('backstay_webhook_tries_total{outcome="delivered"}') >= 1)
    assert more('backstay_webhook_tries_total{outcome="again"}') == 1
    assert more('backstay_job_tries_total{outcome="answered"}') == 1
    assert more('backstay_job_tries_total{outcome="failed"}') == 1
    eventually(lambda: metrics(server)['backstay_job_calls{kind="async",state="waiting"}'] == 0, 30)
    assert metrics(server)["backstay_job_calls_overdue_seconds"] == 0


def metrics(server: Server) -> dict[str, float]:
    """Read all metrics, by name and labels."""
    with urllib.request.urlopen(server.url + "/metrics") as answer:
        lines = [line for line in answer.read().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_two_secrets_sign_while_they_change(server: Server) -> None:
    """The one before signs beside the new one, and the change is in the audit log."""
    key = new_key(server)["key"]
    secrets = [server.ask("webhooks", "secret")["secret"] for _ in range(2)]
    with receiver() as told:
        ask(server, key, CHAT, chat(), x_backstay_async="true", x_backstay_webhook=told.url)
        eventually(lambda: told.came, 30)
        _, headers, body = told.came[0]
        assert all(verify(secret, headers, body) for secret in secrets)
    acts = ask(server, new_key(server, "--rights", "admin")["key"], "/v1/audit?action=webhooks.secret").json
    assert len(acts["records"]) >= 2


def test_a_redirect_is_not_followed(server: Server) -> None:
    """It could lead inside; it is a failure like others."""
    key = new_key(server)["key"]
    server.ask("webhooks", "secret")
    with receiver(302) as told:
        taken = ask(server, key, CHAT, chat(), x_backstay_async="true", x_backstay_webhook=told.url)

        def state() -> Any:
            return ask(server, key, f"/v1/async/{taken.json['id']}").json["webhook"]

        eventually(lambda: state()["error"], 30)
        assert state()["error"] == "The receiver answered 302."
        assert [path for path, _, _ in told.came] == ["/"]


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/hook",
        "https://[::1]/hook",
        "https://10.0.0.7/hook",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::ffff:10.0.0.7]/",
        "https://2130706433/",
        "https://0x7f.1/",
        "http://example.com/",
        "http://127.0.0.1/",
        "https://user:password@localhost/",
        "ftp://localhost/",
        "https://",
        "nonsense",
    ],
)
def test_a_webhook_into_the_network_is_refused(server: Server, url: str) -> None:
    """Before the call is taken in."""
    server.ask("webhooks", "secret")
    refused = ask(server, new_key(server)["key"], CHAT, chat(), x_backstay_async="true", x_backstay_webhook=url)
    assert (refused.status, refused.json["error"]["code"]) == (400, "webhook_refused")


def test_a_tenant_without_a_secret_has_no_webhooks(server: Server) -> None:
    """Nothing goes out that its receiver could not check."""
    key = server.ask("keys", "create", "--name", "x", "--tenant", "fresh")["key"]
    refused = ask(server, key, CHAT, chat(), x_backstay_async="true", x_backstay_webhook="https://localhost/")
    assert refused.status == 400 and "backstay webhooks secret" in refused.json["error"]["message"]


def test_one_more_than_may_be_unfinished_is_refused(tmp_path: Path) -> None:
    """With a 429 in the vendor's shape that says what to do; once one has ended, there is room."""
    with job_server(tmp_path, BACKSTAY_ASYNC_CALLS_PER_KEY="2") as server:
        key = new_key(server)["key"]
        taken = [ask(server, key, CHAT, chat("slow"), x_backstay_async="true") for _ in range(2)]
        assert [each.status for each in taken] == [202, 202]
        refused = ask(server, key, CHAT, chat(), x_backstay_async="true")
        assert (refused.status, refused.json["error"]["code"]) == (429, "too_many_unfinished")
        assert "2 unfinished" in refused.json["error"]["message"] and "make a batch" in refused.json["error"]["message"]
        assert (refused.headers["retry-after"], refused.headers["x-should-retry"]) == ("5", "true")
        other = ask(server, key, "/v1/messages", chat(max_tokens=5), x_backstay_async="true", x_api_key=key)
        assert (other.status, other.json["type"], other.json["error"]["type"]) == (429, "error", "rate_limit_error")
        assert ask(server, new_key(server)["key"], CHAT, chat(), x_backstay_async="true").status == 202
        assert ask(server, key, CHAT, chat()).status == 200, "a call that is answered now is none of them"
        wait(server, key, taken[0].json["id"])
        assert ask(server, key, CHAT, chat(), x_backstay_async="true").status == 202
