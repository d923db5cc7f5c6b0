"""Owns ``backstay collections migration``: another embedding model or chunking, while the collection is searched."""

import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from backstay.cli.chunking_options import chunking_options, name_of, told_chunking
from backstay.cli.context import Cli, command
from backstay.cli.labelled import read_lines, read_qrels
from backstay.cli.output import bar, count, dump, hint, is_fancy, local_time, printable, say, table

_POLL_S = 0.5
_COMPARED = 500
_ANSWER_S = 600.0


@click.group()
def migration() -> None:
    """Build a new index of a collection beside the one that is searched, compare the two, and switch."""


@migration.command()
@click.argument("name")
@click.option("--embedding-model", help="The model that texts become vectors by.  [default: as it is]")
@chunking_options(may_stay=True)
@click.option("--wait", is_flag=True, help="Show its progress until it is built.")
@command
def start(cli: Cli, name: str, embedding_model: str | None, wait: bool, **chunking: Any) -> None:
    """Begin to build it. Searches and ingests go on; what is written meanwhile is in both."""
    client = cli.client()
    place = f"/v1/collections/{quote(name)}"
    told = told_chunking(chunking)
    body: dict[str, Any] = {"embedding_model": embedding_model} if embedding_model else {}
    if told:
        body["chunking"] = {**client.get(place)["chunking"], **told}
    made = client.post(f"{place}/migration", body)
    while wait and not made["other"]["is_complete"]:
        time.sleep(_POLL_S)
        made = client.get(f"{place}/migration")
        _draw(made["other"])
    _tell(cli, name, made)


@migration.command()
@click.argument("name")
@command
def show(cli: Cli, name: str) -> None:
    """Show the index that is searched and the one beside it."""
    _tell(cli, name, cli.client().get(f"/v1/collections/{quote(name)}/migration"))


_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@migration.command()
@click.argument("name")
@click.option("--queries", type=_FILE, help="JSON lines with `_id` and `text`.  [default: those asked last]")
@click.option("--qrels", type=_FILE, help="Judgements: query, document and grade between tabs.")
@command
def compare(cli: Cli, name: str, queries: Path | None, qrels: Path | None) -> None:
    """Ask both the same queries, and show how far they agree, and how good each is where that is known."""
    judged = read_qrels(qrels) if qrels is not None else {}
    asked = [
        {"query": str(line["text"]), "relevant": judged.get(str(line["_id"]), {})}
        for line in (read_lines(queries) if queries is not None else [])
    ][:_COMPARED]
    place = f"/v1/collections/{quote(name)}/migration/compare"
    told: Any = cli.client().post(place, {"queries": asked}, timeout_s=_ANSWER_S)
    if cli.json:
        dump(told)
        return
    if not told["queries"]:
        say("Nothing was asked of this collection yet. Name queries: --queries queries.jsonl.", err=True)
        return
    say(f"{count(told['queries'])} queries: {told['overlap']:.0%} of the first ten documents are the same, "
        f"the first one in {told['same_first']:.0%}.")  # fmt: skip
    if told["live"]:
        rows = [[measure, f"{told['live'][measure]:.4f}", f"{told['other'][measure]:.4f}"] for measure in told["live"]]
        table(["", "searched", "other"], rows, right=["searched", "other"])
    for row in told["differences"][:5]:
        say(f"\n{printable(row['query'])}: {row['overlap']:.0%}")
        say(f"  searched  {printable(', '.join(row['live'][:5])) or '–'}")
        say(f"  other     {printable(', '.join(row['other'][:5])) or '–'}")


@migration.command()
@click.argument("name")
@click.option("--back", is_flag=True, help="To the one that was searched before.")
@command
def switch(cli: Cli, name: str, back: bool) -> None:
    """Search the new one from now on; the old one is kept current for a week, so that you can switch back."""
    told = cli.client().post(f"/v1/collections/{quote(name)}/migration/switch", {"back": back})
    _tell(cli, name, told)
    if not cli.json and not back:
        hint(f"backstay collections migration switch {name} --back", f"backstay collections migration drop {name}")


@migration.command()
@click.argument("name")
@command
def drop(cli: Cli, name: str) -> None:
    """Drop the one that is not searched."""
    _tell(cli, name, cli.client().post(f"/v1/collections/{quote(name)}/migration/drop"))


def _draw(other: dict[str, Any]) -> None:
    """Show how far it is, on a terminal."""
    if is_fancy(sys.stderr):
        told = f"{count(other['done'])} of {count(other['documents'])} documents"
        click.echo(f"\r{bar(other['done'], other['documents'])} {told}\x1b[K", err=True, nl=other["is_complete"])


def _tell(cli: Cli, name: str, told: dict[str, Any]) -> None:
    if cli.json:
        dump(told)
        return
    generations = [each for each in (told["live"], told["other"]) if each is not None]
    words = {"live": "searched", "building": "new", "retired": "old"}
    rows = [
        [
            words[each["state"]],
            each["embedding_model"],
            name_of(each["chunking"]),
            f"{count(each['done'])} of {count(each['documents'])}",
            "complete" if each["is_complete"] else "being built",
            local_time(each["created_at"]),
        ]
        for each in generations
    ]
    table([name, "embedding", "chunking", "documents", "", "made"], rows, right=["documents"])
    for each in generations:
        if each["problem"]:
            say(f"It rests: {each['problem']}", err=True)
