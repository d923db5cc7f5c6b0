"""Tests of fetching documents: from a server on a real socket, and from where nobody may fetch."""

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable

import pytest

from backstay.core.errors import NotFound
from backstay.jobs.fetching import Fetcher, FetchFailed, FetchRefused

Answers = dict[str, bytes]


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Answers], "asyncio.Future[str]"]]:
    """Serve raw answers by path; gives the server's URL."""
    servers: list[asyncio.Server] = []

    async def start(answers: Answers) -> str:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(answers[head.split(b" ")[1].decode()])
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    yield lambda answers: asyncio.ensure_future(start(answers))
    for server in servers:
        server.close()
        await server.wait_closed()


def fetcher(*named: str, most_bytes: int = 1024 * 1024) -> Fetcher:
    return Fetcher(frozenset(named), ssl.create_default_context(), most_bytes=most_bytes)


async def get(url: str, *named: str, most_bytes: int = 1024 * 1024) -> tuple[str, bytes]:
    """Fetch, and return the name and the bytes."""
    with tempfile.TemporaryFile() as into:
        name = await fetcher(*named, most_bytes=most_bytes).fetch(url, into)
        into.seek(0)
        return name, into.read()


def plain(body: bytes, media_type: str, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def moved(place: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nlocation: {place}\r\ncontent-length: 3\r\n\r\nold".encode()


async def test_documents_are_named_by_what_they_are(serve: Callable[[Answers], "asyncio.Future[str]"]) -> None:
    """By their media type, or by their path where the server knows nothing; redirects are followed, chunks put
    together."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ntransfer-encoding: chunked\r\n\r\n"
    chunked = head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    url = await serve(
        {
            "/guide": plain(b"<p>x", "text/html; charset=utf-8"),
            "/files/Q3%20report.pdf?v=1": plain(b"%PDF", "application/octet-stream"),
            "/notes.md": plain(b"# x", "text/plain"),
            "/": plain(b"y", "application/pdf"),
            "/a": moved("/b/c"),
            "/b/c": chunked,
            "/old": b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
        }
    )
    for path, name, body in (
        ("/guide", "guide.html", b"<p>x"),
        ("/files/Q3%20report.pdf?v=1", "Q3 report.pdf", b"%PDF"),
        ("/notes.md", "notes.md", b"# x"),
        ("/", "page.pdf", b"y"),
        ("/a", "c.html", b"abcde"),
        ("/old", "old.txt", b"until the end"),
    ):
        assert await get(url + path, "127.0.0.1") == (name, body)


async def test_nothing_inside_the_network_is_fetched(serve: Callable[[Answers], "asyncio.Future[str]"]) -> None:
    """By whatever name, and not by a redirect from a host that may be fetched from."""
    url = await serve({"/": plain(b"secret", "text/plain"), "/away": moved("http://169.254.169.254/latest")})
    port = url.rpartition(":")[2]
    local = (url, f"http://localhost:{port}/", f"http://[::1]:{port}/")
    for address in (*local, "http://10.0.0.1/", "http://[::ffff:127.0.0.1]/"):
        with pytest.raises(FetchRefused, match="inside the network"):
            await get(address)
    with pytest.raises(FetchRefused, match=r"169\.254\.169\.254 is inside the network\. An operator may name it in"):
        await get(f"{url}/away", "127.0.0.1")


@pytest.mark.parametrize(
    "url",
    ["ftp://a.example/x", "http://user:word@a.example/", "http:///x", "http://a.example/\x7f", "file:///etc/passwd"],
)
async def test_what_is_no_address_is_refused(url: str) -> None:
    """Before anything is looked up."""
    with pytest.raises(FetchRefused, match="is not"):
        await get(url)


async def test_answers_that_are_no_documents_are_told(serve: Callable[[Answers], "asyncio.Future[str]"]) -> None:
    """What is worth another try is a failure, all else a refusal; never more than a bound is taken."""
    long = plain(b"x" * 3_000_000, "text/plain")
    url = await serve(
        {
            "/gone": plain(b"", "text/html", "404 Not Found"),
            "/ill": plain(b"", "text/html", "503 Unavailable"),
            "/picture": plain(b"x", "image/png"),
            "/long": long,
            "/endless": b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 3_000_000,
            "/head": b"HTTP/1.1 200 OK\r\n"
            + b"".join(b"x-%d: %s\r\n" % (n, b"y" * 1000) for n in range(400))
            + b"\r\n",
            "/cut": long[:1000],
            "/none": b"",
            "/other": b"SSH-2.0-OpenSSH\r\n",
            "/round": moved("/round"),
        }
    )
    for path, error, told in (
        ("/gone", NotFound, "it is not there: the server answered 404"),
        ("/ill", FetchFailed, "the server answered 503"),
        ("/picture", FetchRefused, "it is image/png, which is not read"),
        ("/long", FetchRefused, "it has more than 1 MiB"),
        ("/endless", FetchRefused, "it has more than 1 MiB"),
        ("/head", FetchRefused, "it has more than 1 MiB"),
        ("/cut", FetchFailed, "broke off in the middle"),
        ("/none", FetchFailed, "broke off in the middle"),
        ("/other", FetchRefused, "does not speak HTTP"),
        ("/round", FetchRefused, "more than 5 times"),
    ):
        with pytest.raises(error, match=told):
            await get(url + path, "127.0.0.1")
    with pytest.raises(FetchFailed, match="could not be reached"):
        await get("http://127.0.0.1:1/", "127.0.0.1")
