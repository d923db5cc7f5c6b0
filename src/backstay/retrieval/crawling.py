"""Owns crawls: pages and sitemaps that are fetched again and again, what is new and changed and gone."""

import asyncio
import datetime as dt
import html
import logging
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from backstay.core.caller import Caller
from backstay.core.errors import BackstayError, Conflict, NotFound, StoreUnavailable
from backstay.core.ids import new_id
from backstay.retrieval.building import CallerOf
from backstay.retrieval.ingests import Ingests
from backstay.retrieval.parsing import Unreadable
from backstay.retrieval.store import RetrievalStore
from backstay.retrieval.taking_in import Fetch
from backstay.store import Database, load_queries

MOST_PAGES = 10_000
"""Of one sitemap."""

_AGAIN_S = 600
"""After which a crawl that was taken by one who was killed is taken again."""
_MOST_SITEMAPS = 50
_LONG_S = 60.0
_LOC = re.compile(r"<loc>\s*([^<\s]+)\s*</loc>", re.IGNORECASE)
_INDEX = re.compile(r"<sitemapindex[\s>]", re.IGNORECASE)
_QUERIES = load_queries("backstay.retrieval", "crawls.sql")

_log = logging.getLogger(__name__)


class CrawlView(msgspec.Struct, frozen=True, kw_only=True):
    """A crawl as it is shown."""

    id: str
    url: str
    is_sitemap: bool
    every_s: int
    principals: tuple[str, ...] | None
    created_at: dt.datetime
    due_at: dt.datetime
    """When it is fetched next."""
    last_ingest: str | None
    problem: str | None
    """Why nothing came of the last time."""


class Crawl(msgspec.Struct, frozen=True, kw_only=True):
    """A crawl that is due."""

    tenant_id: str
    crawl_id: str
    collection: str
    url: str
    is_sitemap: bool
    every_s: int
    key_id: str
    principals: tuple[str, ...] | None


class Crawls:
    """The crawls of all tenants. Every verb raises ``StoreUnavailable`` where Postgres does not answer."""

    def __init__(self, database: Database, store: RetrievalStore):
        self._database = database
        self._store = store

    async def add(
        self, caller: Caller, collection: str, url: str, *, is_sitemap: bool, every_s: int,
        principals: Sequence[str] | None,
    ) -> str:  # fmt: skip
        """Begin to fetch an address every so many seconds, and return the crawl's id. The calls are the caller's own.

        Raises:
            NotFound: There is no such collection.
            Conflict: This address is crawled into it already.
        """
        found = await self._store.find(caller.tenant_id, collection)
        values = {
            "tenant_id": found.tenant_id,
            "crawl_id": new_id("crl"),
            "collection": found.name,
            "url": url,
            "is_sitemap": is_sitemap,
            "every_s": every_s,
            "key_id": caller.id,
            "principals": None if principals is None else list(principals),
        }
        async with self._database.tenant(found.tenant_id) as connection:
            if await (await connection.execute(_QUERIES["add"], values)).fetchone() is None:
                raise Conflict(f"{url} is crawled into {collection} already. Remove that crawl first.")
            await connection.execute(_QUERIES["notify"])
        return str(values["crawl_id"])

    async def all(self, tenant_id: str, collection: str) -> list[CrawlView]:
        """List the crawls into a collection. Raises ``NotFound``."""
        await self._store.find(tenant_id, collection)
        async with self._database.tenant(tenant_id) as connection:
            values = {"tenant_id": tenant_id, "collection": collection}
            rows = await (await connection.execute(_QUERIES["list"], values)).fetchall()
        return msgspec.convert(rows, list[CrawlView])

    async def remove(self, tenant_id: str, collection: str, crawl_id: str) -> None:
        """End a crawl; what it brought stays. Raises ``NotFound``."""
        async with self._database.tenant(tenant_id) as connection:
            values = {"tenant_id": tenant_id, "collection": collection, "crawl_id": crawl_id}
            if await (await connection.execute(_QUERIES["remove"], values)).fetchone() is None:
                raise NotFound(f"There is no crawl {crawl_id} into {collection}.")

    async def claim(self) -> Crawl | None:
        """Take a crawl that is due."""
        async with self._database.system() as connection:
            row = await (await connection.execute(_QUERIES["claim"], {"again_s": _AGAIN_S})).fetchone()
        return None if row is None else msgspec.convert(row, Crawl)

    async def end(self, crawl: Crawl, *, ingest_id: str | None, problem: str | None) -> None:
        """Say what came of a crawl, until it is due again."""
        values = {"tenant_id": crawl.tenant_id, "crawl_id": crawl.crawl_id, "ingest_id": ingest_id, "problem": problem}
        async with self._database.tenant(crawl.tenant_id) as connection:
            await connection.execute(_QUERIES["end"], values)

    async def prune(self, crawl: Crawl, urls: Sequence[str]) -> int:
        """Delete what a crawl brought and does not bring any more, and return how many documents that was."""
        values = {
            "tenant_id": crawl.tenant_id,
            "collection": crawl.collection,
            "crawl_id": crawl.crawl_id,
            "urls": list(urls),
        }
        async with self._store.keeper(crawl.tenant_id, timeout_s=_LONG_S) as connection:
            rows = await (await connection.execute(_QUERIES["left"], values)).fetchall()
        left = [row["external_id"] for row in rows]
        collection = await self._store.find(crawl.tenant_id, crawl.collection)
        return await self._store.remove(collection, left) if left else 0


class Crawling:
    """The work on the crawls of an installation: each becomes an ingest when it is due."""

    def __init__(
        self, crawls: Crawls, ingests: Ingests, caller_of: CallerOf, fetch: Fetch, *, wake: Callable[[], None]
    ):  # fmt: skip
        self._crawls = crawls
        self._ingests = ingests
        self._caller_of = caller_of
        self._fetch = fetch
        self._wake = wake

    async def run_once(self) -> bool:
        """Begin the ingest of a crawl that is due; ``False`` if none is.

        Raises:
            StoreUnavailable: Postgres does not answer.
        """
        crawl = await self._crawls.claim()
        if crawl is None:
            return False
        try:
            ingest_id = await self._begin(crawl)
        except StoreUnavailable:
            raise
        except BackstayError as error:
            _log.info("the crawl of %s came to nothing: %s", crawl.url, error.message)
            await self._crawls.end(crawl, ingest_id=None, problem=error.message)
        else:
            await self._crawls.end(crawl, ingest_id=ingest_id, problem=None)
            self._wake()
        return True

    async def _begin(self, crawl: Crawl) -> str:
        caller = await self._caller_of(crawl.tenant_id, crawl.key_id)
        urls = await self._pages(crawl.url) if crawl.is_sitemap else [crawl.url]
        ingest_id = await self._ingests.begin(
            caller, crawl.collection, urls=urls, principals=crawl.principals, metadata={"crawl": crawl.crawl_id}
        )
        await self._ingests.close(crawl.tenant_id, ingest_id)
        await self._crawls.prune(crawl, urls)
        return ingest_id

    async def _pages(self, url: str) -> list[str]:
        """Read a sitemap, or those that an index of sitemaps names. Source: sitemaps.org, protocol 0.9."""
        found, is_index = await self._sitemap(url)
        if is_index:
            told = [await self._sitemap(each) for each in found[:_MOST_SITEMAPS]]
            found = [page for pages, _ in told for page in pages]
        pages = list(dict.fromkeys(page for page in found if page.startswith(("http://", "https://"))))
        if not pages:
            raise Unreadable(f"{url} is no sitemap: it names no page. Name the page itself, without --sitemap.")
        return pages[:MOST_PAGES]

    async def _sitemap(self, url: str) -> tuple[list[str], bool]:
        with tempfile.NamedTemporaryFile(prefix="backstay-") as file:
            await self._fetch(url, file)
            file.flush()
            text = await asyncio.to_thread(Path(file.name).read_text, "utf-8", "replace")
        return [html.unescape(loc) for loc in _LOC.findall(text)], _INDEX.search(text) is not None
