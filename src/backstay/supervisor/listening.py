"""Owns the listening socket that all workers share."""

import errno
import os
import socket
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from backstay.core.errors import ConfigError, Conflict

BACKLOG = 4096
_LISTEN = "0A"


@contextmanager
def listen(host: str, port: int) -> Generator[socket.socket]:
    """Listen on an address; callers that connect before a worker is ready wait in the backlog.

    Raises:
        Conflict: The port is in use; the message names the process where it can be found.
        ConfigError: This machine has no such address, or the port needs more rights.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(
            address[:2], family=family, backlog=BACKLOG, dualstack_ipv6=family == socket.AF_INET6 and host == "::"
        )
    except OSError as error:
        raise _explain(error, host, port) from error
    with listener:
        yield listener


def url_of(listener: socket.socket) -> str:
    """Write the URL at which callers on this machine reach the socket."""
    host, port = reachable(listener)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def reachable(listener: socket.socket) -> tuple[str, int]:
    """Give address and port at which this machine reaches the socket."""
    name: tuple[str, int] = listener.getsockname()[:2]
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(name[0], name[0]), name[1]


def _explain(error: OSError, host: str, port: int) -> Conflict | ConfigError:
    if error.errno == errno.EADDRINUSE:
        owner = find_listener(port)
        by = f" by {owner}" if owner else ""
        return Conflict(f"Port {port} is in use{by}. Stop that, or choose another port with --port.")
    if error.errno == errno.EACCES:
        return ConfigError(f"This user may not listen on port {port}. Choose one above 1023 with --port.")
    return ConfigError(f"Cannot listen on {host}, port {port}: {error.strerror or error}. Choose another --host.")


def find_listener(port: int) -> str | None:
    """Name the process that listens on a TCP port, such as ``nginx (pid 812)``; ``None`` where it cannot be seen."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for descriptors in Path("/proc").glob("[0-9]*/fd"):
        # Processes end while they are looked at, and those of other users are closed to us.
        with suppress(OSError):
            if any(os.readlink(link) in sockets for link in descriptors.iterdir()):
                return f"{(descriptors.parent / 'comm').read_text().strip()} (pid {descriptors.parent.name})"
    return None


def _listening_inodes(port: int) -> Iterator[str]:
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        with suppress(OSError):
            for line in table.read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]
