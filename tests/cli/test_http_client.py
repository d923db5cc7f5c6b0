"""The command line's HTTP client, against real sockets."""

import json
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from backstay.cli.exits import NOT_ALLOWED, NOT_FOUND, UNREACHABLE, Unreachable, exit_code
from backstay.cli.http import Client, ServerError, events
from backstay.core.errors import BackstayError, ConfigError


@contextmanager
def answering(reply: bytes) -> Generator[tuple[str, list[bytes]]]:
    """A server that answers one request with these bytes, and keeps what it was asked."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                asked.append(connection.recv(65536))
                connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
        thread.join(5)


def http(status: str, body: str, media_type: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {len(body.encode())}\r\n\r\n"
    return (head + body).encode()


def test_the_credential_and_tenant_are_sent() -> None:
    """A request carries the key and the tenant, and absent parameters are left out."""
    with answering(http("200 OK", '{"traces": []}')) as (url, asked):
        answer = Client(url, token="bs_x", tenant="acme").get("/v1/traces", {"limit": 5, "model": None})
    assert answer == {"traces": []}
    head = asked[0].decode().lower()
    assert head.startswith("get /v1/traces?limit=5 http/1.1")
    assert "authorization: bearer bs_x" in head
    assert "x-backstay-tenant: acme" in head


@pytest.mark.parametrize(
    ("status", "body", "message", "code"),
    [
        ("404 Not Found", {"title": "?", "detail": "No such key.", "code": "not_found"}, "No such key.", NOT_FOUND),
        ("401 Unauthorized", {"error": {"message": "A valid key is needed.", "code": "invalid_api_key"}},
         "A valid key is needed.", NOT_ALLOWED),
        ("500 Oops", "<html>", "The server answered 500 Oops.", 1),
        ("502 Bad Gateway", [], "The server answered 502 Bad Gateway.", 1),
    ],
)  # fmt: skip
def test_an_error_becomes_a_sentence_and_an_exit_code(status: str, body: object, message: str, code: int) -> None:
    """Problem details, a vendor's error and anything else all end in a sentence."""
    with answering(http(status, body if isinstance(body, str) else json.dumps(body))) as (url, _):
        with pytest.raises(ServerError) as caught:
            Client(url).get("/")
    assert (str(caught.value), exit_code(caught.value)) == (message, code)


def test_nobody_there_says_how_to_start_a_server() -> None:
    """A refused connection is exit code 3, with the command that helps."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Unreachable, match="backstay serve") as caught:
        Client(f"http://127.0.0.1:{port}").get("/")
    assert exit_code(caught.value) == UNREACHABLE


def test_a_silent_server_is_given_up() -> None:
    """Silence ends after the timeout, not never."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with pytest.raises(Unreachable, match="in time"):
            Client(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.1).get("/")


def test_a_broken_answer_is_unreachable() -> None:
    """A connection that ends in the middle of the body is an error with a sentence."""
    with answering(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{") as (url, _):
        with pytest.raises(Unreachable, match="cannot be reached"):
            Client(url).get("/")


def test_another_kind_of_server_is_recognised() -> None:
    """A page instead of JSON is not shown: the URL is in doubt."""
    with answering(http("200 OK", "<html>")) as (url, _), pytest.raises(BackstayError, match="a Backstay server"):
        Client(url).get("/")


def test_events_are_read_as_they_come() -> None:
    """Comments are skipped, lines of data are joined."""
    stream = (
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: hello\n\ndata: one\n\ndata:two\ndata: more\n\n"
    )
    with answering(stream.encode()) as (url, _), Client(url).open("GET", "/") as response:
        assert list(events(response)) == ["one", "two\nmore"]


def test_a_wrong_url_is_refused() -> None:
    """What is no HTTP URL is a wrong setting."""
    with pytest.raises(ConfigError, match=r"http://127\.0\.0\.1:8400"):
        Client("ftp://somewhere")
