"""Owns crawls on Backstay's own API: addresses that are fetched into a collection again and again."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from backstay.access import AuditLog
from backstay.api.endpoint import Asked, Endpoint, Nothing, get, post
from backstay.api.ingests import Url
from backstay.core.errors import Conflict, NotFound
from backstay.retrieval import RetrievalStore
from backstay.retrieval.crawling import Crawls, CrawlView
from backstay.retrieval.types import Principals
from backstay.store import Database


class CrawlDeps:
    """What these endpoints use."""

    def __init__(self, database: Database, store: RetrievalStore):
        self.crawls = Crawls(database, store)
        self.database = database
        self.audit = AuditLog(database)


class NewCrawl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be fetched, and how often."""

    url: Url
    is_sitemap: bool = False
    """Whether it names pages, which are fetched in its place."""
    every_s: Annotated[int, Meta(ge=60, le=31_536_000)] = 86_400
    principals: Principals | None = None


class CrawlList(msgspec.Struct, frozen=True, kw_only=True):
    """Crawls into a collection, the oldest first."""

    crawls: list[CrawlView]


class CrawlId(msgspec.Struct, frozen=True, kw_only=True):
    """A crawl."""

    id: str


async def list_crawls(deps: CrawlDeps, asked: Asked[Nothing, Nothing]) -> CrawlList:
    return CrawlList(crawls=await deps.crawls.all(asked.caller.tenant_id, asked.path("collection")))


async def add_crawl(deps: CrawlDeps, asked: Asked[Nothing, NewCrawl]) -> CrawlId:
    told, name = asked.body, asked.path("collection")
    crawl_id = await deps.crawls.add(
        asked.caller, name, told.url, is_sitemap=told.is_sitemap, every_s=told.every_s, principals=told.principals
    )
    await _note(deps, asked, "collection.crawl", name, url=told.url)
    return CrawlId(id=crawl_id)


async def remove_crawl(deps: CrawlDeps, asked: Asked[Nothing, Nothing]) -> Nothing:
    name = asked.path("collection")
    await deps.crawls.remove(asked.caller.tenant_id, name, asked.path("crawl"))
    await _note(deps, asked, "collection.end_crawl", name, crawl=asked.path("crawl"))
    return Nothing()


async def _note(deps: CrawlDeps, asked: Asked[Any, Any], action: str, subject: str, **detail: Any) -> None:
    async with deps.database.system() as connection:
        await deps.audit.note_own(connection, asked.caller, action, subject, **detail)


CRAWL_ENDPOINTS: tuple[Endpoint[CrawlDeps, Any, Any], ...] = (
    get("/v1/collections/{collection}/crawls", "List what is fetched again and again", list_crawls,
        answer=CrawlList, query=Nothing, right="admin", errors=(NotFound,)),
    post(
        "/v1/collections/{collection}/crawls", "Fetch a page, or those of a sitemap, again and again", add_crawl,
        answer=CrawlId, body=NewCrawl, right="admin", status=201, errors=(NotFound, Conflict),
    ),
    post(
        "/v1/collections/{collection}/crawls/{crawl}/delete", "Fetch it no more; what it brought stays", remove_crawl,
        answer=Nothing, body=Nothing, right="admin", errors=(NotFound,),
    ),
)  # fmt: skip
