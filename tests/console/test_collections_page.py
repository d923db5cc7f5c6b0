"""The pages of collections: what there is, documents and who may read them, and a search that fails in words."""

from collections.abc import Awaitable, Callable

import msgspec
from console_site import TENANT, Browser, Site

from backstay.access.types import Role
from backstay.api.auth import operator
from backstay.console import ConsoleDeps
from backstay.retrieval import NewDocument, RetrievalStore, Settings
from backstay.retrieval.ingest_store import Ended, IngestStore
from backstay.retrieval.ingesting import hash_of
from backstay.retrieval.types import Chunking

Enter = Callable[[Role], Awaitable[Browser]]


async def seed(deps: ConsoleDeps, site: Site) -> None:
    """Keep a collection with a public document and one that is not."""
    await deps.collections.create(TENANT, "handbook", Settings(language="en"))
    store = RetrievalStore(site.database)
    documents = [
        NewDocument(external_id="refunds/<b>.md", title="Refunds", text="Paid within 14 days."),
        NewDocument(external_id="salaries.md", text="On the last day.", principals=("group:hr",)),
    ]
    hashes = {each.external_id: hash_of(each) for each in documents}
    collection = await store.find(TENANT, "handbook")
    await store.put(collection, documents, hashes, {collection.generation: []})


async def test_collections_are_listed_for_all_and_opened_by_editors(
    site: Site, deps: ConsoleDeps, enter: Enter
) -> None:
    """Who may only look sees counts and no document; an editor sees who may read each."""
    viewer = await enter("viewer")
    assert "No collections yet" in await viewer.get("/collections")
    await seed(deps, site)
    page = await viewer.get("/collections")
    assert "handbook" in page and "/collections/handbook" not in page and "salaries" not in page
    assert (await viewer.http.get("/collections/handbook")).status_code == 403
    editor = await enter("editor")
    assert 'href="/collections/handbook"' in await editor.get("/collections")
    page = await editor.get("/collections/handbook")
    assert "refunds/&lt;b&gt;.md" in page and "group:hr" in page and "everybody" in page
    assert (await editor.http.get("/collections/nothing")).status_code == 404


async def test_a_search_that_fails_says_why(site: Site, deps: ConsoleDeps, enter: Enter) -> None:
    """The documents stay there beneath it."""
    await seed(deps, site)
    page = await (await enter("editor")).get("/collections/handbook?q=refunds&as=group:hr")
    assert "could not be reached" in page and "salaries.md" in page
    assert msgspec.json.encode("group:hr").decode() in page


async def test_work_on_a_collection_is_shown(site: Site, deps: ConsoleDeps, enter: Enter) -> None:
    """How far an ingest is, and what could not be taken in and why; and an index that is being built."""
    await seed(deps, site)
    ingest = await deps.ingests.begin(operator(TENANT), "handbook", urls=["https://a.example/<x>"])
    editor = await enter("editor")
    page = await editor.get("/collections/handbook")
    assert ingest in page and "being sent" in page and "Another index" not in page
    store = IngestStore(site.database)
    (item,) = await store.claim("here", limit=1, most_bytes=1)
    ended = Ended(external_id=item.external_id, state="unreadable", problem="<x> is not there.")
    await store.end_alone(item, [ended])
    await deps.ingests.close(TENANT, ingest)
    await deps.migrations.start(operator(TENANT), "handbook", chunking=Chunking(max_chars=500), embedding_model=None)
    page = await editor.get("/collections/handbook")
    assert "&lt;x&gt; is not there." in page and "done" in page
    assert "It is being built: 0 of 2 documents" in page
