"""No path shows, counts or cites a document to who may not read it: tried with generated queries and filters."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving import Server, eventually

TOPICS = ("payroll", "office", "travel", "garden")
READERS: dict[str, tuple[str, ...] | None] = {"open": None, "ada": ("user:ada",), "bob": ("user:bob", "group:hr")}
DOCUMENTS = [
    (f"{topic}-{reader}", f"Mark{topic}{reader}", topic, reader) for topic in TOPICS for reader in READERS
]  # fmt: skip
"""Each with its id, a word that no other has, its topic, and who may read it."""


class Person(NamedTuple):
    """Somebody who asks: what they name, with a key of their own, and what they must never see."""

    name: str
    key: str
    principals: tuple[str, ...]
    hidden: frozenset[str]
    visible: int


Ask = Callable[[Person, str, str, str, Any], str]


@pytest.fixture(scope="module")
def people(wires: Server) -> dict[str, Person]:
    """Ada, Bob and a stranger; the documents are there."""
    lines = [
        {"_id": name, "title": f"On {topic}", "text": f"The {topic} of {mark} is in room 12. Ask {mark} about it.",
         "metadata": {"topic": topic, "year": 2020 + number, "reader": reader},
         **({} if READERS[reader] is None else {"principals": READERS[reader]})}
        for number, (name, mark, topic, reader) in enumerate(DOCUMENTS)
    ]  # fmt: skip
    (wires.folder / "rights.jsonl").write_text("\n".join(map(json.dumps, lines)))
    wires.ask("collections", "create", "rights", "--answer-model", "echo", "--language", "en", "--wrong-answers", "1")
    assert wires.ask("ingest", "rights.jsonl", "--collection", "rights")["added"] == len(DOCUMENTS)
    found: dict[str, Person] = {}
    for name, principals in (("ada", ("user:ada",)), ("bob", ("user:bob",)), ("nobody", ())):
        key = wires.ask("keys", "create", "--name", name, "--principals", ",".join(principals or ("user:none",)))["key"]
        hidden = frozenset(mark for _, mark, _, reader in DOCUMENTS if reader not in ("open", name))
        visible = sum(reader in ("open", name) for _, _, _, reader in DOCUMENTS)
        found[name] = Person(name, key, principals, hidden, visible)
    return found


def send(server: Server, person: Person, method: str, path: str, body: Any = None, **headers: str) -> tuple[str, Any]:
    """Send a request as somebody, and return the text of the answer, its head before it."""
    sent = {
        "authorization": f"Bearer {person.key}",
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "x-backstay-principals": ",".join(person.principals),
        **headers,
    }
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(server.url + path, data, sent, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return f"{answer.headers}\n{answer.read().decode()}", answer.headers


def ways(query: str, filters: dict[str, Any]) -> Iterator[tuple[str, str, str, Any]]:
    """Yield every way to ask for a query: its name, its method, its path and its body."""
    place, wire = "/v1/collections/rights", {"model": "rights", "messages": [{"role": "user", "content": query}]}
    for mode in ("hybrid", "dense", "lexical"):
        asked = {"query": query, "mode": mode, "limit": 100, "filter": filters}
        yield f"search {mode}", "POST", f"{place}/search", asked
        yield f"documents {mode}", "POST", f"{place}/search", {**asked, "group_by": "document"}
    yield "answer", "POST", f"{place}/answer", {"question": query, "filter": filters}
    yield "streamed answer", "POST", f"{place}/answer", {"question": query, "filter": filters, "stream": True}
    yield "model", "POST", "/v1/chat/completions", {**wire, "backstay": {"filter": filters}}
    yield "streamed model", "POST", "/v1/chat/completions", {**wire, "stream": True}
    yield "vector store", "POST", "/v1/vector_stores/rights/search", {"query": query, "max_num_results": 50}
    tools = [{"type": "file_search", "vector_store_ids": ["rights"]}]
    asked = {"model": "echo", "input": query, "tools": tools, "include": ["file_search_call.results"]}
    yield "file search", "POST", "/v1/responses", asked
    yield "streamed file search", "POST", "/v1/responses", {**asked, "stream": True}
    for tool, arguments in (
        ("search", {"collection": "rights", "query": query, "filter": filters, "limit": 50}),
        ("answer", {"collection": "rights", "question": query}),
    ):
        params = {"name": tool, "arguments": arguments}
        yield f"mcp {tool}", "POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


_WORDS = st.sampled_from([*(mark for _, mark, _, _ in DOCUMENTS), *TOPICS, "room", "ask", "12", "unknown"])
_PLAIN = st.one_of(
    st.fixed_dictionaries({"topic": st.sampled_from(TOPICS)}),
    st.fixed_dictionaries({"reader": st.lists(st.sampled_from(list(READERS)), min_size=1, max_size=3)}),
    st.fixed_dictionaries({"year": st.fixed_dictionaries({"gte": st.integers(2019, 2033)})}),
    st.fixed_dictionaries({"absent": st.fixed_dictionaries({"exists": st.booleans()})}),
)
_FILTERS = st.recursive(
    _PLAIN,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"not": inner}),
        st.fixed_dictionaries({"or": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"and": st.lists(inner, min_size=1, max_size=2)}),
    ),
    max_leaves=4,
)


@settings(max_examples=4, deadline=None)
@given(words=st.lists(_WORDS, min_size=1, max_size=4, unique=True), filters=_FILTERS)
def test_no_path_leaks_a_hidden_document(
    wires: Server, people: dict[str, Person], words: list[str], filters: dict[str, Any]
) -> None:
    """Neither in its text, nor in a name, a citation, or the prompt that a model was given and its trace."""
    query = " ".join(words)
    for person in people.values():
        for name, method, path, body in ways(query, filters):
            told, headers = send(wires, person, method, path, body)
            # What was asked is told again by echoing models and by the vector store's answer.
            shown = {mark for mark in person.hidden if mark in told.replace(query, "")}
            assert not shown, f"{name} shows {shown} to {person.name} for {query!r}"
            ids = {name for name, mark, _, _ in DOCUMENTS if mark in person.hidden and f'"{name}"' in told}
            assert not ids, f"{name} names {ids} to {person.name}"
            if trace_id := headers["x-backstay-trace-id"]:
                trace = _trace(wires, person, trace_id)
                assert not {mark for mark in person.hidden if mark in trace.replace(query, "")}


def _trace(server: Server, person: Person, trace_id: str) -> str:
    """Read a trace as soon as it is in the books."""

    def read() -> str | None:
        try:
            return send(server, person, "GET", f"/v1/traces/{trace_id}")[0]
        except urllib.error.HTTPError as error:
            error.close()
            return None

    found = eventually(read)
    assert found is not None
    return found


def test_each_finds_what_is_theirs(wires: Server, people: dict[str, Person]) -> None:
    """The test above would hold of a search that finds nothing: this one finds all, on every path."""
    for person in people.values():
        for name, method, path, body in ways("payroll office travel garden room", {"year": {"gte": 2020}}):
            told, _ = send(wires, person, method, path, body)
            seen = {mark for _, mark, _, _ in DOCUMENTS if mark in told}
            assert seen, f"{name} shows nothing to {person.name}"
            if name.startswith(("search", "vector")):
                assert len(seen) == person.visible, name


def test_nobody_counts_what_they_may_not_read(wires: Server, people: dict[str, Person]) -> None:
    """By the collection, the list of them, the vector store and MCP."""
    listed: Any = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "list_collections", "arguments": {}},
    }
    for person in people.values():
        shown, _ = send(wires, person, "GET", "/v1/collections/rights")
        assert f'"documents":{person.visible},' in shown
        for method, path, body in (("GET", "/v1/collections", None), ("POST", "/mcp", listed)):
            told, _ = send(wires, person, method, path, body)
            assert f'"documents":{person.visible},' in told.replace("\\", "").replace(": ", ":").replace(", ", ",")
        store, _ = send(wires, person, "GET", "/v1/vector_stores/rights")
        assert f'"total":{person.visible}' in store


@pytest.mark.parametrize("where", ["header", "body"])
def test_a_key_cannot_name_whom_it_was_not_made_for(wires: Server, people: dict[str, Person], where: str) -> None:
    """On no path, and a body cannot name whom the header does not."""
    bob, forged = people["bob"], "user:ada"
    for name, method, path, body in ways("payroll", {"year": {"gte": 2020}}):
        if where == "header":
            headers = {"x-backstay-principals": forged}
        elif path.startswith("/v1/collections"):
            headers, body = {}, {**body, "principals": [forged]}
        elif path == "/v1/chat/completions":
            headers, body = {}, {**body, "backstay": {"principals": [forged]}}
        else:
            continue
        if path == "/mcp":
            told, _ = send(wires, bob, method, path, body, **headers)
            assert '"isError":true' in told.replace(" ", "") and "may not search for" in told, name
            continue
        with pytest.raises(urllib.error.HTTPError) as caught:
            send(wires, bob, method, path, body, **headers)
        with caught.value as error:
            assert (error.code, "may not search for" in error.read().decode()) == (403, True), name


def test_a_body_only_narrows_what_the_header_says(wires: Server, wires_key: str) -> None:
    """A server that names Ada by header is not talked into Bob by what it passes on."""
    server = Person("server", wires_key, ("user:ada",), frozenset(), 0)
    asked = {"query": "payroll", "principals": ["user:bob"]}
    with pytest.raises(urllib.error.HTTPError) as caught:
        send(wires, server, "POST", "/v1/collections/handbook/search", asked)
    with caught.value as error:
        assert error.code == 403
    for principals in (["user:ada"], []):
        send(wires, server, "POST", "/v1/collections/handbook/search", {**asked, "principals": principals})
