"""Webhooks over TLS: real handshakes on this machine, with an authority of one's own."""

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from job_server import CHAT, job_server, new_key
from test_later import ask, chat, receiver, verify

from backstay.core.errors import ConfigError
from backstay.jobs import Deliverer
from backstay.store import Database
from serving import Server, eventually

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates are made with openssl")


class Authority:
    """One that signs receivers' certificates."""

    def __init__(self, folder: Path):
        self.file = folder / "ca.pem"
        self._key = folder / "ca.key"
        self._folder = folder
        _openssl(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=an authority of our own",
            "-addext", "keyUsage=critical,keyCertSign", "-keyout", str(self._key), "-out", str(self.file),
        )  # fmt: skip

    def context_for(self, host: str) -> ssl.SSLContext:
        """Make what a receiver of this name shows."""
        key, certificate = self._folder / f"{host}.key", self._folder / f"{host}.pem"
        _openssl(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={host}",
            "-addext", f"subjectAltName=DNS:{host}", "-addext", "basicConstraints=critical,CA:FALSE",
            "-CA", str(self.file), "-CAkey", str(self._key), "-keyout", str(key), "-out", str(certificate),
        )  # fmt: skip
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return context


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("tls")
    with job_server(folder, BACKSTAY_WEBHOOK_HOSTS="localhost", BACKSTAY_WEBHOOK_CA=str(authority.file)) as server:
        yield server


def send(server: Server, key: str, url: str) -> str:
    taken = ask(server, key, CHAT, chat(), x_backstay_async="true", x_backstay_webhook=url)
    assert taken.status == 202
    return taken.json["id"]


def webhook(server: Server, key: str, call_id: str) -> Any:
    return ask(server, key, f"/v1/async/{call_id}").json["webhook"]


def test_a_receiver_with_a_certificate_of_the_named_authority_is_told(server: Server, authority: Authority) -> None:
    """Over TLS, and signed as ever."""
    key, secret = new_key(server)["key"], server.ask("webhooks", "secret")["secret"]
    with receiver(tls=authority.context_for("localhost")) as told:
        assert told.url.startswith("https://")
        call_id = send(server, key, told.url + "/hook")
        eventually(lambda: webhook(server, key, call_id)["status"] == "delivered", 30)
        [(path, headers, body)] = told.came
        assert path == "/hook" and verify(secret, headers, body)


@pytest.mark.parametrize(
    ("host", "is_strange", "why"),
    [("elsewhere.example", False, "Hostname mismatch"), ("localhost", True, "unable to get local issuer certificate")],
)
def test_a_wrong_certificate_is_refused_and_tried_again(
    server: Server, authority: Authority, tmp_path: Path, host: str, is_strange: bool, why: str
) -> None:
    """One for another host, or of nobody's authority: nothing is sent, all can see why, and it is tried once more."""
    key = new_key(server)["key"]
    server.ask("webhooks", "secret")
    with receiver(tls=(Authority(tmp_path) if is_strange else authority).context_for(host)) as told:
        call_id = send(server, key, told.url)
        eventually(lambda: webhook(server, key, call_id)["tries"] == 2, 30)
        eventually(lambda: webhook(server, key, call_id)["error"], 30)
        found = webhook(server, key, call_id)
        assert found["error"].startswith("The receiver's certificate is not trusted: ") and why in found["error"]
        assert found["status"] == "waiting"
        assert told.came == []


async def test_a_file_without_certificates_is_refused(database: Database, tmp_path: Path) -> None:
    """By its name."""
    (tmp_path / "ca.pem").write_text("none")
    with pytest.raises(ConfigError, match=r"BACKSTAY_WEBHOOK_CA: .*ca\.pem is not a PEM file"):
        Deliverer(database, b"x" * 32, [], tmp_path / "ca.pem")
