"""Chunks with a sentence of context on a real server: found by it, priced, not asked for twice, never shown."""

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from backstay.retrieval.types import Chunking
from serving import Server, eventually, serving

POLICY = """
[providers.writer]
dialect = "simulator"
price_as = "openai/gpt-4o-mini"

[providers.writer.script]
answer = "lorem"

[[providers.writer.script.canned]]
contains = "<passage>\\nIt rose by three percent"
text = "About the Kestrel programme\\nin Zanzibar."

[models.writer]
targets = ["writer/gpt-4o-mini"]
"""
CHUNKS = [
    "It rose by three percent, which nobody had thought it would, and so the board was glad of it.",
    "It fell in the year after that, by as much again, and nobody on the board said anything at all.",
    "It stood still from then on, in good years and in bad, and the board went on to other matters.",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("contexts")
    (folder / "backstay.toml").write_text(POLICY)
    with serving(folder, BACKSTAY_LOCAL_MODELS="true") as server:
        yield server


def _ingest(server: Server, name: str, chunks: list[str]) -> None:
    folder = server.folder / name
    folder.mkdir(exist_ok=True)
    (folder / "report.txt").write_text("\n\n".join(chunks))
    server.ask("ingest", str(folder), "--collection", name)


def _search(server: Server, key: str, name: str, query: str) -> list[dict[str, Any]]:
    request = urllib.request.Request(
        f"{server.url}/v1/collections/{name}/search",
        json.dumps({"query": query, "mode": "lexical"}).encode(),
        {"authorization": f"Bearer {key}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["results"]


def _written(server: Server, name: str) -> int:
    """Return how many sentences were written for a collection."""
    traces = server.ask("traces", "list", "--tag", f"collection:{name}", "--limit", "100")["traces"]
    return sum(trace["model"] == "writer" for trace in traces)


def test_a_chunk_is_found_by_its_context_which_is_never_shown(server: Server) -> None:
    """The calls are priced and carry the collection's tag; a change asks for what changed and what is right after."""
    server.ask(
        "collections", "create", "told", "--max-chars", "120", "--language", "en", "--context-model", "writer"
    )  # fmt: skip
    key = server.ask("keys", "create", "--name", "app", "--rights", "call")["key"]
    _ingest(server, "told", CHUNKS)
    found = _search(server, key, "told", "Kestrel Zanzibar")
    assert [each["text"] for each in found] == [CHUNKS[0]]
    assert "Kestrel" not in json.dumps(found)
    eventually(lambda: _written(server, "told") == 3)
    (row,) = [row for row in server.ask("costs", "--by", "tag")["rows"] if row["tag"] == "collection:told"]
    assert float(row["cost_usd"]) > 0
    _ingest(server, "told", [*CHUNKS[:2], CHUNKS[2].replace("stood still", "stayed the same")])
    eventually(lambda: _written(server, "told") == 4)
    assert _search(server, key, "told", "stayed the same")[0]["text"].startswith("It stayed the same")


def test_a_failing_model_leaves_nothing_half_done(server: Server) -> None:
    """The ingest says why, and no document is there without its contexts."""
    server.ask("collections", "create", "bare", "--context-model", "nothing")
    folder = server.folder / "bare"
    folder.mkdir()
    (folder / "report.txt").write_text(CHUNKS[0])
    done = server.run("ingest", str(folder), "--collection", "bare", "--json")
    assert "nothing" in done.stdout + done.stderr
    assert server.ask("collections", "show", "bare")["documents"] == 0


def test_what_can_be_asked_of_chunking_is_asked_on_the_command_line(server: Server) -> None:
    """Every option comes to the collection; a migration changes what it names, and ends parents and contexts."""
    made = server.ask(
        "collections", "create", "all", "--chunking", "tokens", "--max-tokens", "64", "--parent-chars", "900",
        "--context-model", "writer",
    )  # fmt: skip
    wanted = {
        "strategy": "tokens", "max_chars": 800, "overlap_chars": 0, "max_tokens": 64, "parent_chars": 900,
        "context_model": "writer",
    }  # fmt: skip
    assert made["chunking"] == wanted
    assert "tokens 64 of 900 in context" in server.run("collections", "show", "all").stdout
    other = server.ask("collections", "migration", "start", "all", "--parent-chars", "0", "--context-model", "")[
        "other"
    ]
    assert other["chunking"] == {**wanted, "parent_chars": None, "context_model": None}
    server.ask("collections", "create", "plain")
    assert server.ask("collections", "show", "plain")["chunking"] == msgspec.to_builtins(Chunking())
    done = server.run("collections", "create", "wrong", "--parent-chars", "800")
    assert done.returncode != 0 and "must be above `max_chars`" in done.stderr
