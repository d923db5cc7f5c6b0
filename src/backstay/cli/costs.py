"""Owns ``backstay costs``: who spends what."""

from typing import Any

import click

from backstay.cli.context import Cli, command
from backstay.cli.output import count, dump, hint, money, printable, say, table
from backstay.cli.values import CommaList

DIMENSIONS = ("user", "feature", "model", "target", "key", "tag", "day", "hour")


@click.command()
@click.option(
    "--by", type=CommaList(), default="model", show_default=True, help=f"What to tell apart: {', '.join(DIMENSIONS)}."
)
@click.option("--since", default="7d", show_default=True, help="15m, 24h, 7d or an RFC 3339 time.")
@click.option("--until", help="An RFC 3339 time.  [default: now]")
@command
def costs(cli: Cli, by: list[str], since: str, until: str | None) -> None:
    """Show what calls cost, most expensive first."""
    answer = cli.client().get("/v1/costs", {"by": ",".join(by), "since": since, "until": until})
    if cli.json:
        dump(answer)
        return
    if not answer["rows"]:
        say(f'No calls since {since}. `backstay ask "…"` makes one.', err=True)
        return
    rows = [[*(printable(str(row[name] or "—")) for name in by), *_figures(row)] for row in answer["rows"]]
    rows.append([*("total", *[""] * len(by))[: len(by)], *_figures(answer["total"])])
    figures = ["calls", "input", "output", "cost", "unpriced"]
    table([*by, *figures], rows, right=figures)
    hint("backstay costs --by user,feature,model", "backstay traces")


def _figures(row: dict[str, Any]) -> list[str]:
    return [
        count(row["calls"]), count(row["input_tokens"]), count(row["output_tokens"]), money(row["cost_usd"]),
        count(row["unknown_cost_calls"] or None),
    ]  # fmt: skip
