"""Collections as vector stores, with OpenAI's own SDK: files put there and searched, by those who may."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import openai
import pytest
from openai.types import VectorStore
from wires_house import SECRET

from serving import Server

SCHEMAS = json.loads((Path(__file__).parent / "vector_schemas.json").read_text())
BERN = b"# Bern\n\nThe bears of Bern live by the river Aare."
MILAN = b"# Milan\n\nThe trams of Milan are yellow."


@pytest.fixture
def client(wires: Server, wires_key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{wires.url}/v1", api_key=wires_key, max_retries=0) as client:
        yield client


@pytest.fixture
def store(client: openai.OpenAI) -> VectorStore:
    return client.vector_stores.create(name="Cities", metadata={"team": "travel"})


def valid(name: str, answer: Any) -> None:
    """Assert that an answer fits a schema of OpenAI's own OpenAPI document."""
    validator: Any = jsonschema.Draft202012Validator({**SCHEMAS, "$ref": f"#/$defs/{name}"})
    validator.validate(answer if isinstance(answer, dict) else json.loads(answer.content))


def upload(client: openai.OpenAI, name: str, content: bytes) -> str:
    return client.files.create(file=(name, content), purpose="assistants").id


def test_a_file_is_put_there_searched_shown_and_taken_out(client: openai.OpenAI, store: VectorStore) -> None:
    """As in code that was written for OpenAI; each answer is in the shape of its document."""
    raw = client.vector_stores.with_raw_response
    file = client.vector_stores.files.upload_and_poll(
        vector_store_id=store.id, file=("bern.md", BERN), attributes={"land": "ch", "size": 3}
    )
    assert (file.status, file.last_error, file.attributes) == ("completed", None, {"land": "ch", "size": 3})
    valid("VectorStoreObject", raw.retrieve(store.id))
    valid(
        "VectorStoreFileObject",
        client.vector_stores.files.with_raw_response.retrieve(file.id, vector_store_id=store.id),
    )
    shown = client.vector_stores.retrieve(store.id)
    assert (shown.name, shown.status, shown.file_counts.completed, shown.file_counts.total) == (
        "Cities",
        "completed",
        1,
        1,
    )
    valid("VectorStoreSearchResultsPage", raw.search(store.id, query="Where do bears live?"))
    (found,) = client.vector_stores.search(store.id, query=["Where do bears live?", "animals of Bern"]).data
    assert (found.file_id, found.filename, found.attributes) == (file.id, "bern.md", {"land": "ch", "size": 3})
    assert "Aare" in found.content[0].text
    content = client.vector_stores.files.content(file.id, vector_store_id=store.id)
    assert content.data[0].text == BERN.decode()
    valid("ListVectorStoreFilesResponse", client.vector_stores.files.with_raw_response.list(store.id))
    valid("DeleteVectorStoreFileResponse",
          client.vector_stores.files.with_raw_response.delete(file.id, vector_store_id=store.id))  # fmt: skip
    assert client.vector_stores.search(store.id, query="bears").data == []
    valid("DeleteVectorStoreResponse", raw.delete(store.id))
    with pytest.raises(openai.NotFoundError):
        client.vector_stores.retrieve(store.id)


def test_attributes_filter_a_search_and_can_be_changed(client: openai.OpenAI, store: VectorStore) -> None:
    """By comparison and compound filters, as they are after the change."""
    ids = [upload(client, "bern.md", BERN), upload(client, "milan.md", MILAN)]
    batch = client.vector_stores.file_batches.create_and_poll(
        store.id,
        files=[
            {"file_id": ids[0], "attributes": {"land": "ch", "size": 3}},
            {"file_id": ids[1], "attributes": {"land": "it"}},
        ],
    )
    valid("VectorStoreFileBatchObject",
          client.vector_stores.file_batches.with_raw_response.retrieve(batch.id, vector_store_id=store.id))  # fmt: skip
    assert (batch.status, batch.file_counts.completed) == ("completed", 2)
    listed = client.vector_stores.file_batches.list_files(batch.id, vector_store_id=store.id, order="asc", limit=1)
    assert [file.id for file in listed] == ids

    def search(filters: Any) -> set[str]:
        return {each.file_id for each in client.vector_stores.search(store.id, query="city", filters=filters).data}

    is_swiss: Any = {"type": "eq", "key": "land", "value": "ch"}
    for filters, found in [
        (is_swiss, {ids[0]}),
        ({"type": "ne", "key": "land", "value": "ch"}, {ids[1]}),
        ({"type": "in", "key": "land", "value": ["it", "fr"]}, {ids[1]}),
        ({"type": "nin", "key": "land", "value": ["it", "fr"]}, {ids[0]}),
        ({"type": "and", "filters": [is_swiss, {"type": "gte", "key": "size", "value": 4}]}, set[str]()),
        ({"type": "or", "filters": [is_swiss, {"type": "eq", "key": "land", "value": "it"}]}, set(ids)),
    ]:
        assert search(filters) == found, filters
    changed = client.vector_stores.files.update(ids[1], vector_store_id=store.id, attributes={"land": "ch"})
    assert changed.attributes == {"land": "ch"}
    assert search(is_swiss) == set(ids)


def test_a_file_that_cannot_be_read_fails_with_its_reason(client: openai.OpenAI, store: VectorStore) -> None:
    """It is counted as failed, and the others are there."""
    file = client.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=("cut.pdf", b"%PDF-1.7\n1 0 obj"))
    assert file.status == "failed" and file.last_error is not None
    assert file.last_error.code == "unsupported_file" and "cut.pdf" in file.last_error.message
    valid(
        "VectorStoreFileObject",
        client.vector_stores.files.with_raw_response.retrieve(file.id, vector_store_id=store.id),
    )
    assert client.vector_stores.retrieve(store.id).file_counts.failed == 1
    assert [each.id for each in client.vector_stores.files.list(store.id, filter="failed")] == [file.id]


def test_a_deleted_file_is_gone_from_every_store(client: openai.OpenAI, store: VectorStore) -> None:
    """Nothing of it is found any more."""
    file_id = upload(client, "bern.md", BERN)
    valid("OpenAIFile", client.files.with_raw_response.retrieve(file_id))
    other = client.vector_stores.create(name="Other", file_ids=[file_id])
    client.vector_stores.files.create_and_poll(file_id, vector_store_id=store.id)
    client.vector_stores.files.poll(file_id, vector_store_id=other.id)
    assert client.vector_stores.search(other.id, query="bears").data
    client.files.delete(file_id)
    for each in (store, other):
        assert client.vector_stores.search(each.id, query="bears").data == []


def test_a_collection_that_was_made_elsewhere_is_a_store_by_its_name(wires: Server, client: openai.OpenAI) -> None:
    """It is searched, listed and not changed; what only some may read needs them, in a header."""
    raw = client.vector_stores.with_raw_response.list(limit=100)
    valid("ListVectorStoresResponse", raw)
    assert "handbook" in [store.id for store in client.vector_stores.list(limit=1)]
    found = client.vector_stores.search("handbook", query="secret door")
    assert all(SECRET not in each.content[0].text for each in found.data)
    as_ada: Any = {"x-backstay-principals": "user:ada"}
    found = client.vector_stores.search("handbook", query="secret door", extra_headers=as_ada)
    assert SECRET in found.data[0].content[0].text
    counts = [
        client.vector_stores.retrieve("handbook", extra_headers=headers).file_counts.total for headers in (None, as_ada)
    ]
    assert counts[1] == counts[0] + 1
    with pytest.raises(openai.PermissionDeniedError):
        client.vector_stores.delete("handbook")
    made = wires.ask("keys", "create", "--name", "stranger", "--rights", "call")
    store = client.vector_stores.create(name="Mine")
    with openai.OpenAI(base_url=f"{wires.url}/v1", api_key=made["key"], max_retries=0) as stranger:
        for act in (stranger.vector_stores.delete, stranger.vector_stores.files.list):
            with pytest.raises(openai.PermissionDeniedError):
                act(store.id)
        assert stranger.vector_stores.search(store.id, query="x").data == []


def test_a_file_may_be_some_peoples_alone(client: openai.OpenAI, store: VectorStore) -> None:
    """By a field of Backstay's own."""
    file_id = upload(client, "bern.md", BERN)
    client.vector_stores.files.create(
        store.id, file_id=file_id, extra_body={"backstay": {"principals": ["user:ada"]}}
    )  # fmt: skip
    assert client.vector_stores.files.poll(file_id, vector_store_id=store.id).status == "completed"
    assert client.vector_stores.search(store.id, query="bears").data == []
    as_ada = {"x-backstay-principals": "user:ada"}
    assert len(client.vector_stores.search(store.id, query="bears", extra_headers=as_ada).data) == 1


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"query": ""}, "query"),
        ({"query": "x", "max_num_results": 51}, "max_num_results"),
        ({"query": "x", "filters": {"type": "about", "key": "a", "value": 1}}, "filters.type"),
        ({"query": "x", "filters": {"type": "and", "filters": []}}, "filters.filters"),
        ({"query": "x", "filters": {"type": "eq", "key": "not", "value": 1}}, "filters.key"),
        ({"query": "x", "ranking_options": {"score_threshold": 2}}, "ranking_options.score_threshold"),
    ],
)
def test_bad_searches_are_told_by_their_field(client: openai.OpenAI, body: Any, param: str) -> None:
    """In OpenAI's shape."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/vector_stores/handbook/search", body=body, cast_to=object)
    assert caught.value.param == param


def test_what_is_not_there_is_refused(client: openai.OpenAI, store: VectorStore) -> None:
    """Stores that expire, files that are not there, and chunks of a file's own."""
    with pytest.raises(openai.BadRequestError, match="do not expire"):
        client.vector_stores.create(expires_after={"anchor": "last_active_at", "days": 1})
    with pytest.raises(openai.NotFoundError):
        client.vector_stores.files.create(store.id, file_id="file-none")
    chunked: Any = {"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 0}}
    with pytest.raises(openai.BadRequestError, match="all its files alike"):
        client.vector_stores.files.create(store.id, file_id=upload(client, "a.md", BERN), chunking_strategy=chunked)
    made = client.vector_stores.create(chunking_strategy=chunked)
    assert made.name == made.id
