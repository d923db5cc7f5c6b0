"""The pages of collections: what there is, documents and who may read them, and a search that fails in words."""

from collections.abc import Awaitable, Callable

import msgspec
import numpy as np
from console_site import TENANT, Browser, Site

from backstay.access.types import Role
from backstay.api.auth import operator
from backstay.console import ConsoleDeps
from backstay.retrieval import NewDocument, RetrievalStore, Settings
from backstay.retrieval.ingest_store import Ended, IngestStore
from backstay.retrieval.ingesting import hash_of
from backstay.retrieval.quality_store import AskRow, Measure, QualityStore
from backstay.retrieval.ranking_types import Ranking
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


async def test_a_document_shows_the_passage_that_is_cited(site: Site, deps: ConsoleDeps, enter: Enter) -> None:
    """Marked in its place, to editors; a place that is not there is said to be gone."""
    await seed(deps, site)
    editor = await enter("editor")
    place = "/collections/handbook/document?id=refunds%2F%3Cb%3E.md"
    assert "<mark" not in await editor.get(place)
    page = await editor.get(f"{place}&start=5&end=19")
    assert 'Paid <mark id="passage">within 14 days</mark>.' in page and "refunds/&lt;b&gt;.md" in page
    page = await editor.get("/collections/handbook/document?id=salaries.md&start=0&end=999999")
    assert "group:hr" in page and ">On the last day.</mark>" in page
    for wrong in (f"{place}&start=900&end=901", "/collections/handbook/document?id=nothing"):
        assert (await editor.http.get(wrong)).status_code == 404
    assert (await (await enter("viewer")).http.get(place)).status_code == 403


async def test_a_long_document_is_shown_in_parts(site: Site, deps: ConsoleDeps, enter: Enter) -> None:
    """By its pages where it has some, each leading to its neighbours."""
    await seed(deps, site)
    store = RetrievalStore(site.database)
    text = "\n".join(f"Line {number} of it." for number in range(2000))
    paged = NewDocument(external_id="paged.pdf", text=text, page_starts=(0, 9000, 20_000))
    plain = NewDocument(external_id="plain.txt", text=text)
    hashes = {each.external_id: hash_of(each) for each in (paged, plain)}
    collection = await store.find(TENANT, "handbook")
    await store.put(collection, [paged, plain], hashes, {collection.generation: []})
    editor = await enter("editor")
    page = await editor.get("/collections/handbook/document?id=paged.pdf&start=9100&end=9200")
    assert "page 2 of 3" in page and "from=0" in page and "from=20000" in page
    page = await editor.get("/collections/handbook/document?id=plain.txt&start=9100&end=9200")
    assert "characters 7,600 to 13,600" in page and "from=1600" in page and "from=13600" in page


async def test_an_answer_that_fails_says_why(site: Site, deps: ConsoleDeps, enter: Enter) -> None:
    """The question stays in its field; without the form's token nothing is asked."""
    await seed(deps, site)
    editor = await enter("editor")
    place = "/collections/handbook"
    page = await editor.send(place, f"{place}/answer", q="When are refunds paid?")
    assert "could not be reached" in page.text and 'value="When are refunds paid?"' in page.text
    asked = await editor.http.post(f"{place}/answer", data={"q": "x"})
    assert asked.status_code == 403


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


async def test_a_model_that_is_a_collection_leads_there(enter: Enter) -> None:
    """Who may not open the collection sees its name."""
    assert '<a href="/collections/handbook">collection handbook</a>' in await (await enter("editor")).get("/models")
    page = await (await enter("viewer")).get("/models")
    assert "collection handbook" in page and "/collections/handbook" not in page


async def test_the_page_shows_how_a_collection_does(site: Site, deps: ConsoleDeps, enter: Enter) -> None:
    """What is not answered, and what labelled sets measured; nothing of it before there is anything."""
    await seed(deps, site)
    editor = await enter("editor")
    assert "Quality" not in await editor.get("/collections/handbook")
    collection, quality = await RetrievalStore(site.database).find(TENANT, "handbook"), QualityStore(site.database)
    asked = AskRow(
        tenant_id=TENANT,
        collection="handbook",
        generation=collection.generation,
        results=2,
        relevance=0.03,
        abstained=True,
        direction=np.ones(4, dtype=np.float16).tobytes(),
        query="Who waters the <plants>?",
    )
    await quality.note_asks([asked, asked])
    measure = Measure(mean=0.812, low=0.7, high=0.9)
    measures = {"ndcg@10": measure, "recall@10": measure, "mrr@10": measure}
    await quality.keep_evaluation(
        collection, label="first", mode="hybrid", ranking=Ranking(), queries=40, measures=measures
    )
    page = await editor.get("/collections/handbook")
    assert "Not answered" in page and "Who waters the &lt;plants&gt;?" in page
    assert "first" in page and "0.812" in page and "0.70–0.90" in page
