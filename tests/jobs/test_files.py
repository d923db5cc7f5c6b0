"""Files through the official SDK, and through forms that no SDK sends."""

import hashlib
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator

import openai
import psutil
import pytest
from job_server import job_server, new_key, sdk

from serving import Server

MIB = 1024 * 1024
_FIELD = b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with job_server(tmp_path_factory.mktemp("files"), BACKSTAY_MAX_FILE_BYTES=str(60 * MIB)) as server:
        yield server


def test_a_file_comes_back_as_it_was(server: Server) -> None:
    """Content, size, name; listed, shown, and gone once deleted."""
    client = sdk(server, new_key(server)["key"])
    content = b'{"a": "\xc3\xa4"}\n\x00\xff' * 1000
    file = client.files.create(file=("some lines.jsonl", content), purpose="batch")
    assert (file.object, file.bytes, file.filename, file.purpose) == ("file", len(content), "some lines.jsonl", "batch")
    assert client.files.retrieve(file.id) == file
    assert client.files.content(file.id).read() == content
    assert [each.id for each in client.files.list(purpose="batch")] == [file.id]
    assert client.files.delete(file.id).deleted
    for gone in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError):
            gone(file.id)
    assert "psycopg" not in (server.folder / "server.log").read_text(), "no query was cut off by the end of a download"


def test_a_file_may_say_when_it_goes(server: Server) -> None:
    """As the SDK sends it, and shown; other anchors and times are refused, and nothing of the file is kept."""
    client = sdk(server, new_key(server)["key"])
    file = client.files.create(
        file=("x", b"x"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert file.expires_at == file.created_at + 3600
    assert client.files.retrieve(file.id).expires_at == file.expires_at
    for wrong in ({"anchor": "last_active_at", "seconds": 3600}, {"anchor": "created_at", "seconds": 3599},
                  {"anchor": "created_at", "seconds": 2_592_001}):  # fmt: skip
        with pytest.raises(openai.BadRequestError, match="expires_after"):
            client.files.create(file=("x", b"x"), purpose="batch", expires_after=wrong)  # pyright: ignore[reportArgumentType]
    assert [each.id for each in client.files.list()] == [file.id]


def test_files_are_listed_in_pages(server: Server) -> None:
    """The SDK goes through all pages, in either order."""
    client = sdk(server, new_key(server)["key"])
    made = [client.files.create(file=(f"{number}", b"x"), purpose="batch").id for number in range(5)]
    assert [each.id for each in client.files.list(limit=2)] == made[::-1]
    assert [each.id for each in client.files.list(limit=2, order="asc")] == made


def test_a_large_file_is_never_whole_in_memory(server: Server) -> None:
    """A worker that takes and gives 50 MiB grows by much less."""
    client = sdk(server, new_key(server)["key"])
    content = os.urandom(50 * MIB)
    file = client.files.create(file=("large", content[: 2 * MIB]), purpose="batch")
    (worker,) = [
        child
        for child in psutil.Process(server.process.pid).children(recursive=True)
        if "backstay.worker" in child.cmdline()
    ]
    before, most = worker.memory_info().rss, 0
    file = client.files.create(file=("large", content), purpose="batch")
    most = max(most, worker.memory_info().rss)
    digest = hashlib.sha256()
    with client.files.with_streaming_response.content(file.id) as answer:
        for piece in answer.iter_bytes():
            digest.update(piece)
            most = max(most, worker.memory_info().rss)
    assert digest.digest() == hashlib.sha256(content).digest()
    assert most - before < 25 * MIB


def test_a_file_that_is_too_large_is_refused(server: Server) -> None:
    """And nothing of it is kept."""
    client = sdk(server, new_key(server)["key"])
    with pytest.raises(openai.APIStatusError) as refused:
        client.files.create(file=("large", bytes(61 * MIB)), purpose="batch")
    assert refused.value.status_code == 413
    assert client.files.list().data == []


def test_other_purposes_are_refused(server: Server) -> None:
    """Backstay keeps files for batches alone, and says so."""
    client = sdk(server, new_key(server)["key"])
    with pytest.raises(openai.BadRequestError) as refused:
        client.files.create(file=("a", b"x"), purpose="fine-tune")
    assert refused.value.param == "purpose"
    assert client.files.list().data == []


def test_keys_see_their_own_files(server: Server) -> None:
    """Another key of the tenant does not, its admin does, and a key of another tenant never."""
    first, second = new_key(server), new_key(server)
    file = sdk(server, first["key"]).files.create(file=("a", b"x"), purpose="batch")
    admin = sdk(server, new_key(server, "--rights", "admin")["key"])
    assert admin.files.retrieve(file.id).id == file.id
    other = sdk(server, server.ask("keys", "create", "--name", "x", "--rights", "admin", "--tenant", "other")["key"])
    for stranger in (sdk(server, second["key"]), other):
        with pytest.raises(openai.NotFoundError):
            stranger.files.content(file.id)
        assert stranger.files.list().data == []
    successor = server.ask("keys", "rotate", first["id"])
    assert sdk(server, successor["key"]).files.retrieve(file.id).id == file.id


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"nonsense"),
        ("multipart/form-data; boundary=b", b'--b\r\ncontent-disposition: form-data; name="file"\r\n\r\nabc'),
        ("multipart/form-data; boundary=b", _FIELD + b"\r\n--b--\r\n"),
    ],
)  # fmt: skip
def test_a_form_that_is_none_is_refused(server: Server, kind: str, body: bytes) -> None:
    """With a 400 that says what is missing."""
    key = new_key(server)["key"]
    headers = {"content-type": kind, "authorization": f"Bearer {key}"}
    request = urllib.request.Request(f"{server.url}/v1/files", body, headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    with refused.value as answer:
        assert answer.status == 400
        assert json.load(answer)["error"]["message"]
