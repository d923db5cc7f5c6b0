"""Ranking on a real server: rerankers on the wire and by a chat model, their failures, rights, costs, the console."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from serving import Server, eventually, serving

POLICY = """
[providers.sorter]
dialect = "simulator"

[prices."sorter/rerank-1"]
input = 0.05

[models.sorter]
targets = ["sorter/rerank-1"]

[[providers.broken.script.faults]]
kind = "status"
status = 400

[providers.broken]
dialect = "simulator"
price_as = "openai/gpt-4o-mini"

[models.broken]
targets = ["broken/rerank-1"]

[providers.grader]
dialect = "simulator"
price_as = "openai/gpt-4o-mini"

[[providers.grader.script.canned]]
contains = "Query: When is the office open?"
text = '{"grades": [{"passage": 1, "grade": 1}, {"passage": 3, "grade": 10}]}'

[[providers.grader.script.canned]]
contains = "Query: Where is the office?"
text = '{"grades": []}'

[[providers.grader.script.canned]]
contains = "Question: And when does it open?"
text = '{"texts": ["When does the office open?"]}'

[[providers.grader.script.canned]]
contains = "Question: working hours"
text = '{"texts": ["when does the office open", "opens at nine"]}'

[[providers.grader.script.canned]]
contains = "Question: flowers"
text = '{"texts": ["The garden beside the office is lovely."]}'

[models.grader]
targets = ["grader/gpt-4o-mini"]
"""

DOCUMENTS: list[dict[str, Any]] = [
    {"external_id": "hours", "text": "The office opens at nine.", "metadata": {"published": "2020-01-01", "stars": 5}},
    {"external_id": "garden", "text": "The garden beside the office is lovely in spring.", "metadata": {"stars": 900}},
    {"external_id": "parking", "text": "Is there parking when the office is open? There is not.",
     "metadata": {"published": "2026-11-01"}},
    {"external_id": "again", "text": "The office opens at nine!", "metadata": {"published": "2026-11-01"}},
    {"external_id": "secret", "text": "When is the office open? The vault office is open at night.",
     "principals": ["group:vault"]},
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("ranking")
    (folder / "backstay.toml").write_text(POLICY)
    with serving(folder, BACKSTAY_LOCAL_MODELS="true") as server:
        server.ask("collections", "create", "docs", "--language", "en")
        key = server.ask("keys", "create", "--name", "seed", "--rights", "call,admin")["key"]
        body = {"documents": DOCUMENTS}
        eventually(lambda: post(server, key, "/v1/collections/docs/documents", body)[0] == 200)
        yield server


@pytest.fixture(scope="module")
def key(server: Server) -> str:
    return server.ask("keys", "create", "--name", "app", "--rights", "call,read")["key"]


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


def search(server: Server, key: str, query: str, ranking: Any = None, **more: Any) -> dict[str, Any]:
    body = {"query": query, "explain": True, **more, **({} if ranking is None else {"ranking": ranking})}
    status, told = post(server, key, "/v1/collections/docs/search", body)
    assert status == 200, told
    return told


def ids(told: dict[str, Any]) -> list[str]:
    return [each["external_id"] for each in told["results"]]


def test_a_reranker_orders_hits_and_each_stage_is_told(server: Server, key: str) -> None:
    """The order is that of the reranker's scores; a result says where it stood before."""
    told = search(server, key, "is the office open when?", {"rerank": {"model": "sorter"}})
    assert ids(told)[0] == "parking"
    scores = [each["score"] for each in told["results"]]
    assert scores == sorted(scores, reverse=True) and scores[0] == 1.0
    first = told["results"][0]["stages"]
    assert first["rerank"] == {"rank": 1, "score": 1.0}
    assert first["search"]["score"] != 1.0
    assert "notes" not in told


def test_a_reranker_gets_only_what_may_be_read(server: Server, key: str) -> None:
    """Its call is in the caller's traces, priced, and quotes no passage that the caller may not read."""
    asked = {"rerank": {"model": "sorter"}}
    assert "secret" not in ids(search(server, key, "When is the vault open?", asked))
    assert "secret" in ids(search(server, key, "When is the vault shut?", asked, principals=["group:vault"]))

    def calls() -> list[Any]:
        return [each for each in server.ask("traces", "list")["traces"] if each["model"] == "sorter"]

    eventually(lambda: len(calls()) >= 2)
    shown = {}
    for each in calls():
        call = server.ask("traces", "show", each["trace_id"])
        text = json.dumps(call)
        assert Decimal(each["cost_usd"]) > 0
        shown["shut" in text] = "vault office" in text
    assert shown[True] is True and shown[False] is False


def test_a_failing_reranker_leaves_the_order_as_it_was(server: Server, key: str) -> None:
    """It is said, and the caller gets what there is."""
    plain = ids(search(server, key, "When is the office open?", {}))
    for model, why in (("broken", "400"), ("nobody", "no model"), ("local", "no reranker")):
        told = search(server, key, "When is the office open?", {"rerank": {"model": model}})
        assert ids(told) == plain
        assert why in told["notes"][0] and model in told["notes"][0]


def test_a_chat_model_grades_passages(server: Server, key: str) -> None:
    """What it graded comes first by its grade, the others after it; what is no grades is said."""
    chat = {"rerank": {"model": "grader", "by": "chat"}}
    plain = ids(search(server, key, "When is the office open?", {}))
    told = search(server, key, "When is the office open?", chat)
    assert ids(told)[:2] == [plain[2], plain[0]] and ids(told)[2:] == [plain[1], *plain[3:]]
    wrong = search(server, key, "Where is the office?", chat)
    assert "graded no passage" in wrong["notes"][0]


def test_options_are_checked(server: Server, key: str) -> None:
    """What cannot be meant is refused with the name of its field."""
    for ranking, name in (
        ({"rerank": {"model": "sorter", "by": "magic"}}, "by"),
        ({"mmr": {"lambda": 2}}, "lambda"),
        ({"recency": {"half_life_days": 0}}, "half_life_days"),
        ({"authority": {"field": "stars"}}, "pivot"),
        ({"depth": 0}, "depth"),
        ({"other": 1}, "other"),
    ):
        status, told = post(server, key, "/v1/collections/docs/search", {"query": "x", "ranking": ranking})
        assert status == 400 and name in json.dumps(told), told


def test_newer_and_weightier_documents_count_for_more(server: Server, key: str) -> None:
    """A half-life and a pivot change the order; a document without the field gets the least."""
    asked = "opens at nine"
    recency = {"recency": {"field": "published", "half_life_days": 30, "weight": 0.9}}
    told = search(server, key, asked, recency)
    assert ids(told).index("again") < ids(told).index("hours")
    starred = search(server, key, "office", {"authority": {"field": "stars", "pivot": 100, "weight": 0.9}})
    assert ids(starred)[0] == "garden"
    assert {"search", "boost"} == set(starred["results"][0]["stages"])


def test_mmr_puts_what_is_said_twice_behind(server: Server, key: str) -> None:
    """Two equal passages do not follow each other where another one is at hand."""
    plain = ids(search(server, key, "The office opens at nine", {}))
    assert set(plain[:2]) == {"hours", "again"}
    diverse = ids(search(server, key, "The office opens at nine", {"mmr": {"lambda": 0.3}}))
    assert diverse[0] in ("hours", "again") and diverse[1] not in ("hours", "again")


def test_a_collection_keeps_its_ranking(server: Server, key: str) -> None:
    """It is set by the command line, holds for searches and answers that name none, and `{}` is without it."""
    server.ask("collections", "change", "docs", "--rerank", "broken", "--mmr", "0.5")
    try:
        shown = server.ask("collections", "show", "docs")["ranking"]
        assert shown == {"rerank": {"model": "broken", "by": "rerank", "timeout_s": 10.0}, "mmr": {"lambda": 0.5}}
        assert search(server, key, "office")["notes"]
        assert "notes" not in search(server, key, "office", {})
        told = server.ask("search", "When is the office open?", "--collection", "docs", "--no-ranking")
        assert "notes" not in told and set(told["results"][0]["stages"]) == {"search"}
        status, answer = post(server, key, "/v1/collections/docs/answer", {"question": "When does the office open?"})
        assert status == 200 and "Not reranked by broken" in answer["notes"][0]
    finally:
        server.ask("collections", "change", "docs", "--no-ranking")
    assert server.ask("collections", "show", "docs")["ranking"] == {}


def test_the_command_prints_the_stages(server: Server) -> None:
    """A table has a column for each stage."""
    done = server.run("search", "When is the office open?", "--collection", "docs", "--rerank", "sorter")
    assert done.returncode == 0, done.stderr
    head = done.stdout.splitlines()[0].split()
    assert head == ["document", "search", "rerank", "relevance", "text"]
    wrong = server.run("search", "x", "--collection", "docs", "--authority", "stars")
    assert wrong.returncode == 2 and "FIELD=PIVOT" in wrong.stderr


def test_the_wire_of_rerankers_is_there_for_callers(server: Server, key: str) -> None:
    """`POST /v1/rerank` is a call like any: named by model, priced, refused where it is wrong."""
    body = {"model": "sorter", "query": "blue sky", "documents": ["grass", "the blue sky"], "top_n": 2}
    status, told = post(server, key, "/v1/rerank", body)
    assert status == 200
    assert [each["index"] for each in told["results"]] == [1, 0]
    status, told = post(server, key, "/v1/rerank", {"model": "sorter", "query": "x"})
    assert status == 400 and "documents" in told["error"]["message"]


def test_a_question_is_rewritten_from_its_conversation(server: Server, key: str) -> None:
    """The model's words are searched for in its place; without a conversation nobody is asked."""
    rewrite = {"expand": {"by": "rewrite", "model": "grader"}}
    said = [{"role": "user", "content": "Tell me about the office."}, {"role": "assistant", "content": "Gladly."}]
    told = search(server, key, "And when does it open?", rewrite, messages=said)
    assert told["searched_for"] == ["When does the office open?"]
    assert ids(told)[0] in ("hours", "again")
    assert search(server, key, "And when does it open?", rewrite)["searched_for"] == ["And when does it open?"]


def test_other_words_count_beside_the_question(server: Server, key: str) -> None:
    """Of several ways to ask, and of a passage that could answer, what they find is found too."""
    plain = ids(search(server, key, "working hours", {}, mode="lexical"))
    several = {"expand": {"by": "multi_query", "model": "grader", "queries": 2}}
    told = search(server, key, "working hours", several, mode="lexical")
    assert told["searched_for"] == ["working hours", "when does the office open", "opens at nine"]
    assert not {"hours", "again"} & set(plain) and ids(told)[0] in ("hours", "again")
    assert "garden" not in ids(search(server, key, "flowers", {}, mode="lexical"))
    told = search(server, key, "flowers", {"expand": {"by": "hyde", "model": "grader"}}, mode="lexical")
    assert ids(told)[0] == "garden"


def test_a_failing_model_leaves_the_question_as_it_is(server: Server, key: str) -> None:
    """The search goes on with it, and says so."""
    told = search(server, key, "office", {"expand": {"by": "hyde", "model": "broken"}})
    assert ids(told) and "without broken" in told["notes"][0] and told["searched_for"] == ["office"]


def test_all_calls_of_an_answer_together_keep_within_its_cost(server: Server, key: str) -> None:
    """`x-backstay-max-cost` that covers the first call alone leaves nothing for the next: it is left out, and said."""
    both = {"expand": {"by": "hyde", "model": "grader"}, "rerank": {"model": "grader", "by": "chat"}}
    body = json.dumps({"query": "flowers", "ranking": both}).encode()
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    for most, left_out in (("0.01", 0), ("0.0003", 1), ("0.000001", 2)):
        request = urllib.request.Request(
            server.url + "/v1/collections/docs/search", body, {**headers, "x-backstay-max-cost": most}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            notes = json.load(answer).get("notes", [])
        assert len(notes) == left_out, (most, notes)


def test_what_a_labelled_set_measures_is_kept(server: Server) -> None:
    """By its label, with intervals, the newest first; what is not saved is not kept."""
    queries, qrels = server.folder / "queries.jsonl", server.folder / "qrels.tsv"
    queries.write_text('{"_id": "1", "text": "opens at nine"}\n{"_id": "2", "text": "lovely garden in spring"}\n')
    qrels.write_text("1\thours\t1\n1\tagain\t1\n2\tgarden\t1\n")
    files = ("--collection", "docs", "--queries", str(queries), "--qrels", str(qrels))
    told = server.ask("retrieval", "measure", *files, "--save", "first", "--mmr", "1")
    assert told["queries"] == 2 and told["measures"]["ndcg@10"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    server.ask("retrieval", "measure", *files)
    (kept,) = server.ask("retrieval", "history", "--collection", "docs")["evaluations"]
    assert (kept["label"], kept["ranking"]) == ("first", {"mmr": {"lambda": 1.0}})
    assert "first" in server.run("retrieval", "history", "--collection", "docs").stdout


def test_searches_and_questions_are_watched(server: Server, key: str) -> None:
    """Both count, measurements do not; a question that is not answered is a gap, told to admins alone."""
    admin = server.ask("keys", "create", "--name", "admin", "--rights", "call,admin")["key"]

    def quality() -> dict[str, Any]:
        request = urllib.request.Request(
            f"{server.url}/v1/collections/docs/quality", headers={"authorization": f"Bearer {admin}"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    question = "Which zebra signed the treaty of Lisbon?"
    status, answer = post(server, key, "/v1/collections/docs/answer", {"question": question})
    assert status == 200 and answer["abstained"]
    eventually(lambda: any(question in gap["examples"] for gap in quality()["gaps"]))
    told = quality()
    assert told["now"]["asks"] > told["now"]["answers"] >= 1 and told["changes"] == []
    assert not any("lovely garden in spring" in gap["examples"] for gap in told["gaps"])
    request = urllib.request.Request(
        f"{server.url}/v1/collections/docs/quality", headers={"authorization": f"Bearer {key}"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=60)
    with refused.value:
        assert refused.value.code == 403
