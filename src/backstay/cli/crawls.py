"""Owns ``backstay crawls``: web pages and sitemaps that are fetched into a collection again and again."""

from typing import Any
from urllib.parse import quote

import click

from backstay.cli.context import Cli, command
from backstay.cli.output import dump, local_time, printable, say, table
from backstay.cli.values import Every


@click.group()
def crawls() -> None:
    """Fetch web pages and sitemaps into a collection again and again."""


_COLLECTION = click.option("--collection", required=True, metavar="NAME", help="Into which collection.")


@crawls.command()
@click.argument("address", metavar="URL")
@_COLLECTION
@click.option("--sitemap", "is_sitemap", is_flag=True, help="It is a sitemap: fetch the pages that it names.")
@click.option("--every", "every_s", type=Every(), default="24h", show_default=True, help="How often: 15m, 6h, 7d.")
@click.option("--principal", "principals", multiple=True, help="Who may read these documents; none: everybody.")
@command
def add(cli: Cli, address: str, collection: str, is_sitemap: bool, every_s: int, principals: tuple[str, ...]) -> None:
    """Begin to fetch an address, now and every so often."""
    body: dict[str, Any] = {"url": address, "is_sitemap": is_sitemap, "every_s": every_s}
    if principals:
        body["principals"] = list(principals)
    made = cli.client().post(f"/v1/collections/{quote(collection)}/crawls", body)
    if cli.json:
        dump(made)
    else:
        say(f"{made['id']} fetches {printable(address)} every {every_s // 60} minutes.")


@crawls.command("list")
@_COLLECTION
@command
def list_crawls(cli: Cli, collection: str) -> None:
    """List what is fetched, when next, and why nothing came of the last time."""
    answer = cli.client().get(f"/v1/collections/{quote(collection)}/crawls")
    if cli.json:
        dump(answer)
        return
    rows = [
        [each["id"], each["url"], "sitemap" if each["is_sitemap"] else "page", f"{each['every_s'] // 60} min",
         local_time(each["due_at"]), each["problem"] or ""]
        for each in answer["crawls"]
    ]  # fmt: skip
    if rows:
        table(["crawl", "address", "kind", "every", "next", "problem"], [[*map(printable, row)] for row in rows])
    else:
        say(f"Nothing is fetched into {collection} again and again.", err=True)


@crawls.command()
@click.argument("crawl")
@_COLLECTION
@command
def remove(cli: Cli, crawl: str, collection: str) -> None:
    """Fetch it no more. What it brought stays."""
    answer = cli.client().post(f"/v1/collections/{quote(collection)}/crawls/{quote(crawl, safe='')}/delete")
    if cli.json:
        dump(answer)
    else:
        say(f"{crawl} has ended.")
