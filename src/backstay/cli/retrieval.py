"""Owns ``backstay retrieval`` and its ``eval``: how well a labelled set is searched, by mode."""

import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backstay.cli.calibrate import calibrate
from backstay.cli.compare import compare
from backstay.cli.context import Cli, command
from backstay.cli.evaluations import history, measure
from backstay.cli.http import Client
from backstay.cli.labelled import read_lines, read_qrels
from backstay.cli.output import dump, say, table
from backstay.cli.ranking import ranking_options
from backstay.cli.trial import MODES, as_document, fill

if TYPE_CHECKING:
    from backstay.retrieval.evaluation import Rankings

Ranking = Mapping[str, Any] | None

_DEPTH = 100
_AT_ONCE = 2

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group()
def retrieval() -> None:
    """Measure how well documents are found, and calibrate what is told of it."""


retrieval.add_command(calibrate)


retrieval.add_command(compare)
retrieval.add_command(measure)
retrieval.add_command(history)


@retrieval.command("eval")
@click.option("--corpus", required=True, type=_FILE, help="Documents: JSON lines with `_id`, `text`, `title`.")
@click.option("--queries", required=True, type=_FILE, help="Queries: JSON lines with `_id` and `text`.")
@click.option("--qrels", required=True, type=_FILE, help="Judgements: query, document and grade between tabs.")
@click.option("--mode", "modes", multiple=True, type=click.Choice(MODES), help="Only these modes.  [default: all]")
@click.option("--embedding-model", default="embed", show_default=True, help="The model that texts become vectors by.")
@click.option("--language", default="auto", show_default=True, help="Whose words.")
@ranking_options
@command
def evaluate_set(
    cli: Cli, corpus: Path, queries: Path, qrels: Path, modes: Sequence[str], ranking: Ranking, **settings: str
) -> None:
    """Search a labelled set in a collection that is gone afterwards, and print nDCG@10, recall and MRR by mode."""
    from backstay.retrieval.evaluation import evaluate

    asked = {str(line["_id"]): str(line["text"]) for line in read_lines(queries)}
    judged = read_qrels(qrels)
    client, name = cli.client(), f"eval-{secrets.token_hex(6)}"
    client.post("/v1/collections", {"name": name, **settings, **({} if ranking is None else {"ranking": ranking})})
    try:
        fill(client, name, [as_document(line) for line in read_lines(corpus)])
        found = {
            mode: evaluate(
                _search(client, name, mode, {query: asked[query] for query in judged if query in asked}), judged
            )
            for mode in modes or MODES
        }
    finally:
        client.post(f"/v1/collections/{name}/delete")
    if cli.json:
        dump({"queries": len(judged), "modes": found})
        return
    measures = list(next(iter(found.values())))
    rows = [[mode, *(f"{figures[measure]:.4f}" for measure in measures)] for mode, figures in found.items()]
    table(["mode", *measures], rows, right=measures)
    say(f"{len(judged)} queries.", err=True)


def _search(client: Client, name: str, mode: str, queries: dict[str, str]) -> "Rankings":
    def ask(text: str) -> list[str]:
        body = {"query": text, "mode": mode, "limit": _DEPTH, "group_by": "document"}
        return [each["external_id"] for each in client.post(f"/v1/collections/{name}/search", body)["results"]]

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return dict(zip(queries, threads.map(ask, queries.values()), strict=True))
