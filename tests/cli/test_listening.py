"""The listening socket."""

import os
import socket

import pytest

from backstay.core.errors import Conflict
from backstay.supervisor.listening import find_listener, listen, url_of


def test_a_port_in_use_names_who_uses_it() -> None:
    """The sentence has the process's name and id, and the option to choose another port."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Conflict, match=rf"Port {port} is in use by .*\(pid {os.getpid()}\).*--port"):
            with listen("127.0.0.1", port):
                pass


def test_a_free_port_has_no_listener() -> None:
    """Nobody is named where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    assert find_listener(port) is None


@pytest.mark.parametrize(
    ("host", "reached"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]"), ("::", "[::1]")]
)
def test_the_url_can_be_reached_from_here(host: str, reached: str) -> None:
    """An address for everybody is not one to connect to: the URL has the loopback one."""
    with listen(host, 0) as listener:
        assert url_of(listener) == f"http://{reached}:{listener.getsockname()[1]}"
