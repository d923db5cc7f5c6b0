"""Owns ``backstay retrieval calibrate``: what labelled queries show of a collection's relevance and abstention."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from backstay.cli.context import Cli, command
from backstay.cli.labelled import read_lines, read_qrels
from backstay.cli.output import dump, say, table
from backstay.core.errors import InvalidRequest

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_LONGEST_S = 900.0
_KEPT = ("answerable", "principals")
"""Fields of a line that go along."""


@click.command()
@click.argument("collection")
@click.option("--queries", type=_FILE, help="JSON lines with `_id`, `text`, and perhaps `answerable`, `principals`.")
@click.option("--qrels", type=_FILE, help="Judgements: query, document and grade between tabs.")
@click.option("--forget", is_flag=True, help="Go back to what holds elsewhere.")
@command
def calibrate(cli: Cli, collection: str, queries: Path | None, qrels: Path | None, forget: bool) -> None:
    """Calibrate relevance and abstention by labelled queries, each of which is searched."""
    client, path = cli.client(), f"/v1/collections/{quote(collection)}/calibration"
    if forget:
        if queries or qrels:
            raise click.UsageError("--forget goes alone.")
        client.post(f"{path}/delete")
        _tell(cli, {}, f"{collection} goes by what holds elsewhere.")
        return
    if queries is None:
        raise click.UsageError("Give --queries, or --forget.")
    body = {"queries": _labelled(queries, qrels)}
    with client.open("POST", path, body=body, timeout_s=_LONGEST_S) as response:
        made = json.load(response)
    if cli.json:
        dump(made)
        return
    _show(made)


def _labelled(queries: Path, qrels: Path | None) -> list[dict[str, Any]]:
    """Put queries and judgements together; without any label of a query, it is left out."""
    judged = read_qrels(qrels) if qrels else {}
    found: list[dict[str, Any]] = []
    for line in read_lines(queries):
        labelled = {"query": str(line["text"]), **{name: line[name] for name in _KEPT if name in line}}
        if (grades := judged.get(str(line["_id"]))) is not None:
            labelled["relevant"] = [document for document, grade in grades.items() if grade > 0]
        if "relevant" in labelled or "answerable" in labelled:
            found.append(labelled)
    if not found:
        raise InvalidRequest(f"No query of {queries} has a judgement or says whether it is `answerable`.")
    return found


def _show(made: dict[str, Any]) -> None:
    relevance, answers = made["relevance"], made["answers"]
    rows: list[list[str]] = []
    if relevance is not None:
        rows += [
            ["judged results", f"{relevance['results']}, {relevance['relevant']} of them relevant"],
            ["error of relevance", f"{relevance['error_before']:.3f} before, {relevance['error_after']:.3f} now"],
        ]
    if answers is not None:
        threshold = answers["threshold"]
        told = "nothing is: right and wrong look alike" if threshold is None else f"evidence of {threshold:.2f}"
        most = f"at most {answers['wrong_answers']:.0%} of all questions"
        rows += [
            ["questions", f"{answers['questions']}, {answers['unanswerable']} of them not to be answered"],
            ["answered from", told],
            ["answered", f"{answers['answered']}, {answers['wrong']} of them wrong ({most})"],
        ]
    table([made["collection"], ""], rows)
    if answers is not None and not answers["enough"]:
        fewest = -(-1 // answers["wrong_answers"])
        say(f"Fewer than {fewest:.0f} questions show nothing: answers go by what holds elsewhere.", err=True)
    if relevance is None:
        say("No relevance was learnt: no query has judgements, or all of its results have the same.", err=True)


def _tell(cli: Cli, answer: dict[str, Any], sentence: str) -> None:
    if cli.json:
        dump(answer)
    else:
        say(sentence)
