"""Owns ``backstay search``: what a collection finds for a query, with ranks and scores at each stage."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import click

from backstay.cli.context import Cli, command
from backstay.cli.output import dump, printable, say, table
from backstay.cli.ranking import ranking_override
from backstay.cli.trial import MODES

_STAGES = ("search", "rerank", "boost", "mmr")
_SHOWN_CHARS = 60
_LONGEST_S = 120.0


@click.command()
@click.argument("query")
@click.option("--collection", required=True, help="Where to look.")
@click.option("--limit", type=int, default=10, show_default=True, help="How many results.")
@click.option(
    "--mode", type=click.Choice(MODES), default="hybrid", show_default=True, help="By words, meaning, or both."
)
@click.option("--principal", "principals", multiple=True, help="For whom; none: for everybody.")
@ranking_override
@command
def search(
    cli: Cli,
    query: str,
    collection: str,
    limit: int,
    mode: str,
    principals: Sequence[str],
    ranking: Mapping[str, Any] | None,
) -> None:
    """Search a collection."""
    body: dict[str, Any] = {"query": query, "limit": limit, "mode": mode, "explain": True}
    if principals:
        body["principals"] = list(principals)
    if ranking is not None:
        body["ranking"] = ranking
    path = f"/v1/collections/{quote(collection)}/search"
    told: dict[str, Any] = cli.client().post(path, body, timeout_s=_LONGEST_S)
    if cli.json:
        dump(told)
        return
    for note in told.get("notes", ()):
        say(note, err=True)
    if not told["results"]:
        say("Nothing is found.", err=True)
        return
    stages = [stage for stage in _STAGES if any(stage in each["stages"] for each in told["results"])]
    rows = [
        [each["external_id"], *(_place(each["stages"].get(stage)) for stage in stages), _relevance(each), _text(each)]
        for each in told["results"]
    ]
    table(["document", *stages, "relevance", "text"], rows, right=[*stages, "relevance"])


def _place(place: Mapping[str, Any] | None) -> str:
    return "–" if place is None else f"{place['rank']}  {place['score']:.3f}"


def _relevance(result: Mapping[str, Any]) -> str:
    relevance = result.get("relevance")
    return "–" if relevance is None else f"{relevance:.2f}"


def _text(result: Mapping[str, Any]) -> str:
    line = printable(" ".join(result["text"].split()))
    return line if len(line) <= _SHOWN_CHARS else line[: _SHOWN_CHARS - 1] + "…"
