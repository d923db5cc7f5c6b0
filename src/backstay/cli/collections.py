"""Owns ``backstay collections``: making, listing, showing and deleting collections of documents."""

from typing import Any
from urllib.parse import quote

import click

from backstay.cli.chunking_options import chunking_options, name_of, told_chunking
from backstay.cli.context import Cli, command
from backstay.cli.migration import migration
from backstay.cli.output import count, dump, hint, local_time, say, table
from backstay.cli.ranking import ranking_options, ranking_override

UNSUPPORTED = ("mark", "cut", "ask_again")


@click.group()
def collections() -> None:
    """Make, list, show and delete collections of documents, which `backstay ingest` fills."""


@collections.command()
@click.argument("name")
@click.option("--embedding-model", default="embed", show_default=True, help="The model that texts become vectors by.")
@click.option("--answer-model", default="local", show_default=True, help="The model that answers from the documents.")
@click.option("--language", default="auto", show_default=True, help="Whose words: en, de, zh, …; auto: the documents'.")
@chunking_options(may_stay=False)
@click.option(
    "--wrong-answers",
    type=float,
    default=0.1,
    show_default=True,
    help="The share of questions that may get an answer that the documents do not hold.",
)
@click.option("--unsupported", type=click.Choice(UNSUPPORTED), default="mark", show_default=True,
              help="What becomes of an answer's sentences that no passage supports.")  # fmt: skip
@ranking_options
@command
def create(
    cli: Cli, name: str, embedding_model: str, answer_model: str, language: str, wrong_answers: float, unsupported: str,
    ranking: dict[str, Any] | None, **chunking: Any,
) -> None:  # fmt: skip
    """Make a collection."""
    body: dict[str, Any] = {
        "name": name, "embedding_model": embedding_model, "answer_model": answer_model, "language": language,
        "wrong_answers": wrong_answers, "unsupported": unsupported, "chunking": told_chunking(chunking),
    }  # fmt: skip
    if ranking is not None:
        body["ranking"] = ranking
    made = cli.client().post("/v1/collections", body)
    if cli.json:
        dump(made)
        return
    say(f"{made['name']} is there.")
    hint(f"backstay ingest PATH --collection {made['name']}")


@collections.command("list")
@command
def list_collections(cli: Cli) -> None:
    """List the collections."""
    answer = cli.client().get("/v1/collections")
    if cli.json:
        dump(answer)
        return
    if not answer["collections"]:
        say("No collections yet. `backstay collections create docs` makes one.", err=True)
        return
    rows = [
        [each["name"], count(each["documents"]), count(each["chunks"]), each["language"], each["embedding_model"],
         local_time(each["created_at"])]
        for each in answer["collections"]
    ]  # fmt: skip
    table(["name", "documents", "chunks", "language", "embedding", "made"], rows, right=["documents", "chunks"])


@collections.command()
@click.argument("name")
@command
def show(cli: Cli, name: str) -> None:
    """Show a collection and its first documents."""
    client = cli.client()
    shown: dict[str, Any] = client.get(f"/v1/collections/{quote(name)}")
    if cli.json:
        dump(shown)
        return
    rows = [
        ["documents", count(shown["documents"])], ["chunks", count(shown["chunks"])],
        ["bytes of text", count(shown["size_bytes"])], ["language", shown["language"]],
        ["chunking", name_of(shown["chunking"])],
        ["embedding model", shown["embedding_model"]], ["answer model", shown["answer_model"]],
        ["unsupported sentences", shown["unsupported"]],
        ["wrong answers", f"{shown['wrong_answers']:.0%} of questions at most"],
        ["ranking", ", ".join(shown["ranking"]) or "as found"],
        ["calibrated", local_time(shown["calibrated_at"])],
    ]  # fmt: skip
    table([shown["name"], ""], rows)


@collections.command()
@click.argument("name")
@click.option("--answer-model", help="The model that answers from the documents.")
@click.option("--wrong-answers", type=float, help="The share of questions that may get a wrong answer.")
@click.option("--unsupported", type=click.Choice(UNSUPPORTED), help="What becomes of unsupported sentences.")
@ranking_override
@command
def change(cli: Cli, name: str, ranking: dict[str, Any] | None, **settings: str | float | None) -> None:
    """Change how a collection is searched and answers, from the next question on."""
    body: dict[str, Any] = {setting: value for setting, value in settings.items() if value is not None}
    if ranking is not None:
        body["ranking"] = ranking
    if not body:
        raise click.UsageError(
            "Name what to change: --answer-model, --wrong-answers, --unsupported, or a way of ranking."
        )
    changed = cli.client().post(f"/v1/collections/{quote(name)}/change", body)
    if cli.json:
        dump(changed)
    else:
        say(f"{name} is changed.")


@collections.command()
@click.argument("name")
@command
def delete(cli: Cli, name: str) -> None:
    """Delete a collection with all that is in it."""
    answer = cli.client().post(f"/v1/collections/{quote(name)}/delete")
    if cli.json:
        dump(answer)
    else:
        say(f"{name} is gone.")


collections.add_command(migration)
