"""Alerts of a whole installation: its own calls, its own processes, and receivers on this machine."""

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from serving import Server, eventually, serving

_POLICY = """
[providers.acme]
dialect = "simulator"

[providers.priced]
dialect = "simulator"
price_as = "openai/gpt-4o-mini"

[models.unpriced]
targets = ["acme/never-heard-of"]

[models.priced]
targets = ["priced/gpt-4o-mini"]

[alert_channels.pager]
kind = "webhook"
url = "{url}/pager"
secret = "env:PAGER_SECRET"

[alert_channels.nowhere]
kind = "email"
to = ["ops@example.org"]

[alerts.all]
budget_share = [0.0001]
on = ["unknown_price"]
channels = ["pager"]
"""
_KEY = b"k" * 32

Came = list[tuple[dict[str, str], bytes]]


@contextmanager
def _receiver(came: Came) -> Generator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            came.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_address[1]}"
        finally:
            running.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def came() -> Came:
    return []


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, came: Came) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("alerts")
    with _receiver(came) as url:
        (folder / "backstay.toml").write_text(_POLICY.format(url=url))
        named = {
            "BACKSTAY_JOBS_CONCURRENCY": "1",
            "BACKSTAY_WEBHOOK_HOSTS": "127.0.0.1",
            "BACKSTAY_PUBLIC_URL": "https://backstay.example",
            "PAGER_SECRET": "whsec_" + base64.b64encode(_KEY).decode(),
        }
        with serving(folder, **named) as server:
            yield server


def _open(server: Server, kind: str) -> list[dict[str, Any]]:
    return [each for each in server.ask("alerts", "list")["alerts"] if each["kind"] == kind]


def test_a_call_leads_to_one_signed_message(server: Server, came: Came) -> None:
    """A budget's share and a missing price are found by the running installation, told, shown, acknowledged."""
    server.ask("budgets", "create", "--scope", "feature:chat", "--limit-usd", "0.05", "--window", "lifetime")
    server.ask("ask", "--model", "priced", "--feature", "chat", "hello")
    server.ask("ask", "--model", "unpriced", "hello")
    (share,) = eventually(lambda: _open(server, "budget_share"))
    (price,) = eventually(lambda: _open(server, "unknown_price"))
    eventually(lambda: len(came) >= 2)
    assert {json.loads(body)["data"]["id"] for _, body in came} == {share["id"], price["id"]}
    for headers, body in came:
        text = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        signature = base64.b64encode(hmac.digest(_KEY, text, hashlib.sha256)).decode()
        assert headers["webhook-signature"] == f"v1,{signature}"
        alert = json.loads(body)["data"]
        assert alert["url"] == f"https://backstay.example/alerts/{alert['id']}"
    eventually(lambda: server.ask("alerts", "show", price["id"])["deliveries"][0]["state"] == "delivered")
    assert server.ask("alerts", "acknowledge", price["id"])["alert"]["acknowledged_by"] == "operator"
    assert "looks after it" in server.run("alerts", "list").stdout
    assert "acme/never-heard-of has no price" in server.run("alerts", "show", price["id"]).stdout


def test_a_channel_is_tried(server: Server, came: Came) -> None:
    """The command says what came of it, and ends with 1 where the channel does not have the message."""
    before = len(came)
    assert server.ask("alerts", "test", "pager") == {
        "channel": "pager", "delivered": True, "status": 204, "problem": None,
    }  # fmt: skip
    assert [json.loads(body)["type"] for _, body in came[before:]] == ["alert.test"]
    failed = server.run("alerts", "test", "nowhere")
    assert (failed.returncode, failed.stderr) == (
        1, "nowhere does not have the message. There is no mail server. Set BACKSTAY_SMTP_URL.\n",
    )  # fmt: skip
    assert "There are: nowhere, pager." in server.run("alerts", "test", "none").stderr
    key = server.ask("keys", "create", "--name", "a", "--rights", "admin", "--tenant", "acme")["key"]
    refused = server.run("alerts", "test", "pager", env={**server.environment, "BACKSTAY_TOKEN": key})
    assert "Channels belong to the installation" in refused.stderr
