"""Collections on a real server: commands, the API, embeddings as the caller's own calls, answers that are checked."""

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving import BACKSTAY, Server, eventually, serving

POLICY = """
[providers.writer]
dialect = "simulator"
price_as = "openai/gpt-4o-mini"

[[providers.writer.script.canned]]
contains = "The passages do not say this"
text = "The office in Berlin opens at 9:30."

[[providers.writer.script.canned]]
contains = "Question: When does the office open?"
text = "The office in Berlin opens at 9:30 [1]. It opens at 7:15 on Sundays."

[[providers.writer.script.canned]]
contains = "Question: When is the office closed?"
text = "NOT IN THE PASSAGES"

[models.writer]
targets = ["writer/gpt-4o-mini"]
"""

HTML = "<html><head><title>Shipping</title></head><body><h1>Parcels</h1><p>Parcels to Norway take 5 days.</p></body>"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("retrieval")
    (folder / "backstay.toml").write_text(POLICY)
    with serving(folder, BACKSTAY_LOCAL_MODELS="true") as server:
        server.ask("collections", "create", "handbook", "--answer-model", "writer")
        yield server


@pytest.fixture(scope="module")
def handbook(server: Server) -> Path:
    """A folder that is in the collection ``handbook``."""
    folder = server.folder / "handbook"
    (folder / "sub").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "x.txt").write_text("never")
    (folder / "refunds.md").write_text("# Refunds\n\nPaid within 14 days.\n\n## Exceptions\n\nNone of gift cards.")
    (folder / "sub" / "office.txt").write_text("The office in Berlin opens at 9:30 and closes at 18:00.")
    (folder / "ship.html").write_text(HTML)
    eventually(lambda: server.run("ingest", str(folder), "--collection", "handbook").returncode == 0)
    return folder


@pytest.fixture(scope="module")
def key(server: Server) -> str:
    """A key that may call."""
    return server.ask("keys", "create", "--name", "app", "--rights", "call")["key"]


def post(server: Server, key: str, path: str, body: Any) -> tuple[int, Any]:
    request = urllib.request.Request(
        server.url + path,
        json.dumps(body).encode(),
        {"authorization": f"Bearer {key}", "content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_a_folder_is_kept_followed_and_pruned(server: Server, handbook: Path, key: str) -> None:
    """Unchanged files cost nothing; a changed one is searched as it is now; a removed one goes with ``--prune``."""
    again = server.ask("ingest", str(handbook), "--collection", "handbook")
    assert (again["unchanged"], again["embedded"], again["unreadable"]) == (3, 0, [])
    status, found = post(server, key, "/v1/collections/handbook/search", {"query": "How long to Norway?", "limit": 1})
    (first,) = found["results"]
    assert (status, first["external_id"]) == (200, "ship.html")
    assert "Parcels to Norway take 5 days." in first["text"] and 0 < first["relevance"] < 1
    (handbook / "ship.html").write_text(HTML.replace("5 days", "9 days"))
    assert server.ask("ingest", str(handbook), "--collection", "handbook")["changed"] == 1
    _, found = post(server, key, "/v1/collections/handbook/search", {"query": "How long to Norway?", "limit": 1})
    assert "9 days" in found["results"][0]["text"]
    (handbook / "ship.html").unlink()
    assert server.ask("ingest", str(handbook), "--collection", "handbook", "--prune")["removed"] == 1
    _, found = post(server, key, "/v1/collections/handbook/search", {"query": "How long to Norway?"})
    assert {each["external_id"] for each in found["results"]} == {"refunds.md", "sub/office.txt"}


def test_a_query_is_embedded_by_a_call_of_the_caller(server: Server, handbook: Path) -> None:
    """It stands in the traces under the key, once: the same query again makes none, nor does a search by words."""
    made = server.ask("keys", "create", "--name", "searching", "--rights", "call")
    for mode in ("dense", "hybrid", "lexical"):
        post(server, made["key"], "/v1/collections/handbook/search", {"query": "gift cards?", "mode": mode})
    calls = eventually(lambda: server.ask("traces", "list", "--key", made["id"])["traces"])
    assert [call["model"] for call in calls] == ["embed"]


def test_an_answer_cites_what_supports_it_and_marks_what_does_not(server: Server, handbook: Path, key: str) -> None:
    """The model's own marks go; a sentence that no passage supports is marked; what is not known is not answered."""
    status, told = post(server, key, "/v1/collections/handbook/answer", {"question": "When does the office open?"})
    assert (status, told["abstained"]) == (200, False)
    good, bad = told["sentences"]
    assert (good["text"], good["supported"]) == ("The office in Berlin opens at 9:30.", True)
    (citation,) = good["citations"]
    text = (handbook / "sub" / "office.txt").read_text()
    assert citation["external_id"] == "sub/office.txt"
    assert text[citation["start"] : citation["end"]] == citation["quote"]
    assert (bad["supported"], bad["citations"]) == (False, [])
    assert len(told["trace_id"]) == 32 and float(told["cost_usd"]) > 0
    _, told = post(server, key, "/v1/collections/handbook/answer", {"question": "When is the office closed?"})
    assert (told["abstained"], told["answer"], told["sentences"]) == (True, "The documents do not say.", [])


def test_what_no_passage_supports_is_cut_or_asked_for_again(server: Server, handbook: Path, key: str) -> None:
    """As the collection says: the sentence goes, or the model takes it back, at the price of two calls."""
    place, question = "/v1/collections/handbook/answer", {"question": "When does the office open?"}
    costs: dict[str, float] = {}
    for unsupported in ("cut", "ask_again", "mark"):
        server.ask("collections", "change", "handbook", "--unsupported", unsupported)
        _, told = post(server, key, place, question)
        costs[unsupported] = float(told["cost_usd"])
        assert [each["supported"] for each in told["sentences"]] == [True] + [False] * (unsupported != "ask_again")
        assert ("Sundays" in told["answer"]) == (unsupported == "mark")
    assert costs["ask_again"] > 2 * costs["mark"] == 2 * costs["cut"]


def test_labels_calibrate_a_collection(server: Server, handbook: Path, key: str) -> None:
    """Relevance is what they say, until they are forgotten; what does not fit is told with its place."""
    lines = [
        {"_id": "1", "text": "When does the office in Berlin open?", "answerable": True},
        {"_id": "2", "text": "Who won in Reykjavik in 1972?", "answerable": False},
    ]
    (server.folder / "asked.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (server.folder / "asked.tsv").write_text("1\tsub/office.txt\t1\n")
    command = ("retrieval", "calibrate", "handbook")
    made = server.ask(*command, "--queries", "asked.jsonl", "--qrels", "asked.tsv")
    assert (made["relevance"]["relevant"], made["answers"]["questions"], made["answers"]["enough"]) == (1, 2, False)
    assert server.ask("collections", "show", "handbook")["calibrated_at"] is not None
    server.ask(*command, "--forget")
    assert server.ask("collections", "show", "handbook")["calibrated_at"] is None
    assert server.run(*command).returncode == 2
    status, told = post(server, key, "/v1/collections/handbook/calibration", {"queries": []})
    assert status == 403 and told["code"]
    (server.folder / "asked.jsonl").write_text('{"_id": "1", "text": "a"}')
    refused = server.run(*command, "--queries", "asked.jsonl")
    assert refused.returncode == 1 and "answerable" in refused.stderr


def test_lines_keep_their_ids_and_readers(server: Server, key: str) -> None:
    """A line of a .jsonl file is a document; a search without principals does not find one that has some."""
    lines = [
        {"_id": "a", "title": "Moon", "text": "The moon is made of basalt.", "metadata": {"year": 2024}},
        {"_id": "b", "text": "The moon base is called Selene.", "principals": ["user:ada"]},
    ]
    (server.folder / "lines.jsonl").write_text("\n".join(map(json.dumps, lines)))
    server.ask("collections", "create", "lines")
    assert server.ask("ingest", "lines.jsonl", "--collection", "lines")["added"] == 2
    place = "/v1/collections/lines/search"
    for asked, ids in [
        ({}, ["a"]),
        ({"principals": ["user:ada"]}, ["a", "b"]),
        ({"principals": ["user:ada"], "filter": {"year": {"gte": 2025}}}, []),
        ({"principals": ["user:bob"], "filter": {"year": 2024}}, ["a"]),
    ]:
        _, found = post(server, key, place, {"query": "moon", "group_by": "document", **asked})
        assert sorted(each["external_id"] for each in found["results"]) == ids
    shown = server.ask("collections", "show", "lines")
    assert (shown["documents"], shown["chunks"]) == (2, 2)
    server.ask("collections", "delete", "lines")
    assert "lines" not in {each["name"] for each in server.ask("collections", "list")["collections"]}


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("handbook/search", {"query": ""}, 400, "query"),
        ("handbook/search", {"query": "x" * 50_000}, 400, "query"),
        ("handbook/search", {"query": "x", "mode": "best"}, 400, "mode"),
        ("handbook/search", {"query": "x", "filter": {"year": {"about": 1}}}, 400, "filter.year.about"),
        ("handbook/search", {"query": "x", "principals": ["a\nb"]}, 400, "principals[0]"),
        ("nothing/search", {"query": "x"}, 404, None),
        (
            "handbook/answer",
            {"question": "x", "messages": [{"role": "system"}]},
            400,
            "messages[0].role",
        ),
        ("handbook/documents", {"documents": [{"external_id": "x", "text": "y"}]}, 403, None),
    ],
)
def test_bad_input_is_told_by_its_field(
    server: Server, key: str, path: str, body: Any, status: int, param: str | None
) -> None:
    """And a key that may only call keeps no documents."""
    told, problem = post(server, key, f"/v1/collections/{path}", body)
    assert (told, problem.get("param")) == (status, param)


def test_files_that_cannot_be_read_are_named_and_the_others_kept(server: Server) -> None:
    """Empty, binary and broken files; what the good one holds is there."""
    folder = server.folder / "broken"
    folder.mkdir()
    (folder / "empty.txt").write_bytes(b"")
    (folder / "binary.bin").write_bytes(bytes(range(256)))
    (folder / "cut.pdf").write_bytes(b"%PDF-1.7\n1 0 obj\n<<")
    (folder / "good.txt").write_text("Good.")
    server.ask("collections", "create", "broken")
    done = server.run("ingest", str(folder), "--collection", "broken", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["added"]) == (1, 1)
    assert [each["external_id"] for each in told["unreadable"]] == ["binary.bin", "cut.pdf", "empty.txt"]


def test_a_file_is_sent_by_itself_and_a_watched_folder_followed(server: Server, key: str) -> None:
    """One PUT is an ingest; what comes, changes and goes in a folder that is watched does so in the collection."""
    server.ask("collections", "create", "watched")
    admin = server.ask("keys", "create", "--name", "sender", "--rights", "admin")["key"]
    place = f"{server.url}/v1/collections/watched/files?external_id=port.csv&principals=user:ada"
    request = urllib.request.Request(place, b"port,depth\nKiel,9\n", {"authorization": f"Bearer {admin}"}, method="PUT")
    with urllib.request.urlopen(request, timeout=60) as answer:
        sent = json.load(answer)["ingest"]
    assert (answer.status, sent["items"]) == (201, 1)
    told = server.ask("ingests", "show", sent["id"], "--wait")
    assert (told["state"], told["added"], told["problems"]) == ("done", 1, [])
    status, _ = post(server, key, "/v1/collections/watched/ingests", {"urls": ["https://a.example/x"]})
    assert status == 403
    folder = server.folder / "watched"
    folder.mkdir()
    (folder / "a.md").write_text("Alpha.")
    command = [BACKSTAY, "ingest", str(folder), "--collection", "watched", "--watch", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=server.environment, text=True) as watching:
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())["added"] == 1
        (folder / "b.md").write_text("Beta.")
        (folder / "a.md").unlink()
        told = json.loads(watching.stdout.readline())
        assert (told["added"], told["removed"]) == (1, 1)
        watching.terminate()
        assert watching.wait(60) == 0
    _, found = post(server, key, "/v1/collections/watched/search", {"query": "alpha beta", "principals": ["user:ada"]})
    assert {each["external_id"] for each in found["results"]} == {"b.md", "port.csv"}


def test_addresses_inside_the_network_are_not_fetched(server: Server) -> None:
    """Neither once nor again and again; who asked is told why."""
    server.ask("collections", "create", "inside")
    done = server.run("ingest", f"{server.url}/healthz", "--collection", "inside", "--json")
    (problem,) = json.loads(done.stdout)["unreadable"]
    assert done.returncode == 1 and "is inside the network" in problem["problem"]
    made = server.ask("crawls", "add", f"{server.url}/map.xml", "--sitemap", "--every", "6h", "--collection", "inside")

    def problem_of_the_crawl() -> str | None:
        (crawl,) = server.ask("crawls", "list", "--collection", "inside")["crawls"]
        assert (crawl["id"], crawl["every_s"], crawl["is_sitemap"]) == (made["id"], 6 * 3600, True)
        return crawl["problem"]

    assert "is inside the network" in (eventually(problem_of_the_crawl) or "")
    server.ask("crawls", "remove", made["id"], "--collection", "inside")
    assert server.ask("crawls", "list", "--collection", "inside")["crawls"] == []


def test_a_labelled_set_is_measured_by_mode(server: Server) -> None:
    """The figures are those of the rankings, and the collection is gone afterwards."""
    corpus = [{"_id": str(number), "text": f"On {word}."} for number, word in enumerate(("cats", "tax"))]
    (server.folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    (server.folder / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "tax"}))
    (server.folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\t1\t1")
    files = ["--corpus", "corpus.jsonl", "--queries", "queries.jsonl", "--qrels", "qrels.tsv"]
    told = server.ask("retrieval", "eval", *files)
    assert told["queries"] == 1
    assert {mode: figures["ndcg@10"] for mode, figures in told["modes"].items()} == dict.fromkeys(
        ("hybrid", "lexical", "dense"), 1.0
    )
    names = {each["name"] for each in server.ask("collections", "list")["collections"]}
    assert not any(name.startswith("eval-") for name in names)


def test_costs_are_known_by_collection(server: Server, handbook: Path, key: str) -> None:
    """Calls for a collection carry its tag: those that read documents in, and those that answer."""
    body = {"question": "When does the office open?"}
    assert post(server, key, "/v1/collections/handbook/answer", body)[0] == 200

    def models() -> set[str]:
        report = server.ask("costs", "--by", "tag,model", "--since", "1d")["rows"]
        return {row["model"] for row in report if row["tag"] == "collection:handbook"}

    assert eventually(lambda: {"embed", "writer"} <= models())


def test_an_empty_collection_says_nothing(server: Server, key: str) -> None:
    """Searched, asked and asked in a stream before its first document, whose language it would have."""
    server.ask("collections", "create", "empty")
    asked = {"question": "When does the office open?"}
    assert post(server, key, "/v1/collections/empty/search", {"query": "office"}) == (200, {"results": []})
    status, told = post(server, key, "/v1/collections/empty/answer", asked)
    assert (status, told["abstained"], told["sentences"]) == (200, True, [])
    done = server.run("ask", "When does the office open?", "--collection", "empty")
    assert "The documents do not say." in done.stdout
