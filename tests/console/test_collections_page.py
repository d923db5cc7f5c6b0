"""The pages of collections: what there is, documents and who may read them, and a search that fails in words."""

from collections.abc import Awaitable, Callable

import msgspec
from console_site import TENANT, Browser, Site

from backstay.access.types import Role
from backstay.console import ConsoleDeps
from backstay.retrieval import NewDocument, RetrievalStore, Settings
from backstay.retrieval.ingesting import hash_of

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
    await store.put(await store.find(TENANT, "handbook"), documents, hashes, [])


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
