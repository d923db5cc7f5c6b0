"""Owns ``backstay ingests``: what is being taken in, and what became of it."""

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import quote

import click

from backstay.cli.context import Cli, command
from backstay.cli.exits import Unreachable
from backstay.cli.http import Client
from backstay.cli.output import bar, count, dump, is_fancy, local_time, printable, say, table
from backstay.core.errors import BackstayError

T = TypeVar("T")

_POLL_S = 0.2
_AWAY_S = 60.0
"""How long a server may be away: one that is started again goes on with what it was at."""
_UNSERVED_S = 30.0
_PAGE = 1000
_ENDED = ("added", "changed", "unchanged", "unreadable", "failed", "cancelled")


class NobodyServes(BackstayError):
    """No process of this installation runs jobs, so that nothing is taken in. Set BACKSTAY_JOBS_CONCURRENCY above 0."""

    code = "nobody_runs_jobs"


@click.group()
def ingests() -> None:
    """Look at what is being taken into collections, or stop it."""


@ingests.command("list")
@click.option("--collection", required=True, metavar="NAME", help="Of which collection.")
@command
def list_ingests(cli: Cli, collection: str) -> None:
    """List the last ingests into a collection."""
    answer = cli.client().get(f"/v1/collections/{quote(collection)}/ingests")
    if cli.json:
        dump(answer)
        return
    rows = [
        [each["id"], each["state"], f"{count(ended(each))} of {count(each['items'])}",
         count(each["unreadable"] + each["failed"]), count(each["chunks"]), local_time(each["created_at"])]
        for each in answer["ingests"]
    ]  # fmt: skip
    if rows:
        table(["ingest", "state", "done", "problems", "chunks", "begun"], rows, right=["done", "problems", "chunks"])
    else:
        say(f"Nothing was taken into {collection} yet.", err=True)


@ingests.command()
@click.argument("ingest")
@click.option("--wait", is_flag=True, help="Show its progress until it has ended.")
@command
def show(cli: Cli, ingest: str, wait: bool) -> None:
    """Show how far an ingest is, and which files made trouble."""
    client = cli.client()
    told = follow(client, ingest) if wait else client.get(_place(ingest))["ingest"]
    problems = list(problems_of(client, told))
    if cli.json:
        dump({**told, "problems": problems})
        return
    rows = [[name, count(told[name])] for name in ("items", "writing", "waiting", "running", *_ENDED, "chunks")]
    table([f"{told['collection']}, {told['state']}", ""], [row for row in rows if row[1] != "0"], right=[""])
    for each in problems:
        say(printable(each["problem"]), err=True)


@ingests.command()
@click.argument("ingest")
@command
def cancel(cli: Cli, ingest: str) -> None:
    """Stop an ingest. What was taken in stays."""
    told = cli.client().post(f"{_place(ingest)}/close", {"cancel": True})["ingest"]
    if cli.json:
        dump(told)
    else:
        say(f"{count(told['cancelled'])} were not taken in any more.")


def follow(client: Client, ingest: str) -> dict[str, Any]:
    """Show the progress of an ingest until it has ended, and return it.

    Raises:
        NobodyServes: Nobody works on it.
        Unreachable: The server is away for longer than a restart takes.
    """
    unserved_since: float | None = None
    while True:
        answer = through_a_restart(lambda: client.get(_place(ingest)))
        told = answer["ingest"]
        is_over = told["state"] not in ("open", "running")
        draw(told, is_over=is_over)
        if is_over:
            return told
        unserved_since = None if answer["is_served"] else unserved_since or time.monotonic()
        if unserved_since is not None and time.monotonic() - unserved_since > _UNSERVED_S:
            raise NobodyServes
        time.sleep(_POLL_S)


def through_a_restart(ask: Callable[[], T]) -> T:
    """Ask what may be asked twice, and again while the server is away for no longer than a restart takes.

    Raises:
        Unreachable: It is away for longer.
    """
    began = time.monotonic()
    while True:
        try:
            return ask()
        except Unreachable:
            if time.monotonic() - began > _AWAY_S:
                raise
            time.sleep(1.0)


def draw(told: dict[str, Any], *, total: int | None = None, is_over: bool = False) -> None:
    """Show how far an ingest is, on a terminal."""
    if not is_fancy(sys.stderr):
        return
    items = total or told["items"]
    line = (
        f"\r{bar(ended(told), items)} {count(ended(told))} of {count(items)} documents, {count(told['chunks'])} chunks"
    )
    click.echo(line + "\x1b[K", err=True, nl=is_over)


def ended(told: dict[str, Any]) -> int:
    """Count the items of an ingest that have ended."""
    return sum(told[name] for name in _ENDED)


def problems_of(client: Client, told: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Go through the items of an ingest that could not be taken in."""
    for state in ("unreadable", "failed"):
        after = "" if told[state] else None
        while after is not None:
            page = client.get(f"{_place(told['id'])}/items", {"state": state, "after": after, "limit": _PAGE})
            yield from ({"external_id": each["external_id"], "problem": each["problem"]} for each in page["items"])
            after = page["next"]


def _place(ingest: str) -> str:
    return f"/v1/ingests/{quote(ingest, safe='')}"
