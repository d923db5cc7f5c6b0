"""Owns ``backstay retrieval measure`` and ``history``: how well a collection does on a labelled set."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from backstay.cli.context import Cli, command
from backstay.cli.labelled import read_lines, read_qrels
from backstay.cli.output import dump, local_time, say, table
from backstay.cli.ranking import ranking_override
from backstay.cli.trial import MODES
from backstay.core.errors import InvalidRequest

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_LONGEST_S = 600.0
_SHOWN = ("ndcg@10", "recall@10", "mrr@10")


@click.command("measure")
@click.option("--collection", required=True, help="Which collection.")
@click.option("--queries", required=True, type=_FILE, help="Queries: JSON lines with `_id` and `text`.")
@click.option("--qrels", required=True, type=_FILE, help="Judgements: query, external id and grade between tabs.")
@click.option("--mode", type=click.Choice(MODES), default="hybrid", show_default=True, help="How it is searched.")
@click.option("--save", "label", metavar="LABEL", help="Keep it under this label, for the history.")
@ranking_override
@command
def measure(
    cli: Cli,
    collection: str,
    queries: Path,
    qrels: Path,
    mode: str,
    label: str | None,
    ranking: Mapping[str, Any] | None,
) -> None:
    """Measure a collection by a labelled set: nDCG@10, recall and MRR with their intervals."""
    asked = {str(line["_id"]): str(line["text"]) for line in read_lines(queries)}
    judged = [
        {"query": asked[query], "relevant": grades} for query, grades in read_qrels(qrels).items() if query in asked
    ]
    if not judged:
        raise InvalidRequest(f"{qrels} judges no query of {queries}.", param="--qrels")
    body: dict[str, Any] = {"queries": judged, "mode": mode}
    if label is not None:
        body["label"] = label
    if ranking is not None:
        body["ranking"] = ranking
    path = f"/v1/collections/{quote(collection)}/evaluations"
    told: dict[str, Any] = cli.client().post(path, body, timeout_s=_LONGEST_S)
    if cli.json:
        dump(told)
        return
    rows = [
        [name, *(f"{each[part]:.4f}" for part in ("mean", "low", "high"))] for name, each in told["measures"].items()
    ]
    table(["measure", "mean", "low", "high"], rows, right=["mean", "low", "high"])
    say(f"{told['queries']} queries; intervals of 95 %.", err=True)


@click.command("history")
@click.option("--collection", required=True, help="Of which collection.")
@command
def history(cli: Cli, collection: str) -> None:
    """List what was measured of a collection, the newest first."""
    told: dict[str, Any] = cli.client().get(f"/v1/collections/{quote(collection)}/evaluations")
    if cli.json:
        dump(told)
        return
    if not told["evaluations"]:
        say("Nothing was kept yet. `backstay retrieval measure --save LABEL` keeps what it measures.", err=True)
        return
    rows = [
        [
            local_time(each["made_at"]),
            each["label"],
            each["mode"],
            ", ".join(each["ranking"]) or "–",
            str(each["queries"]),
            *(_shown(each["measures"].get(name)) for name in _SHOWN),
        ]
        for each in told["evaluations"]
    ]
    table(["made", "label", "mode", "ranking", "queries", *_SHOWN], rows, right=["queries", *_SHOWN])


def _shown(measure: Mapping[str, float] | None) -> str:
    return "–" if measure is None else f"{measure['mean']:.3f} ({measure['low']:.3f}–{measure['high']:.3f})"
