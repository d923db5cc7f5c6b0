"""Owns ``backstay models``: what callers can ask for."""

from typing import Any

import click

from backstay.cli.context import Cli, command
from backstay.cli.output import dump, hint, printable, table


@click.command()
@command
def models(cli: Cli) -> None:
    """List the models that callers may name, with their targets and prices in USD per million tokens."""
    answer = cli.client().get("/v1/catalog")
    if cli.json:
        dump(answer)
        return
    rows = [
        [model["name"] if first else "", target["name"], *_prices(target), printable(target["problem"] or "")]
        for model in answer["models"]
        for first, target in zip([True] + [False] * len(model["targets"]), model["targets"], strict=False)
    ]
    rows += [
        [model["name"], f"collection {model['collection']}", "", "", ""]
        for model in answer["models"]
        if model["collection"] is not None
    ]
    table(["model", "target", "input", "output", "problem"], rows, right=["input", "output"])
    hint('backstay ask "…" --model NAME', "models are named in backstay.toml")


def _prices(target: dict[str, Any]) -> tuple[str, str]:
    if target["free"]:
        return "free", "free"
    prices = target["prices"]
    return ("unknown", "unknown") if prices is None else (_price(prices, "input_mtok"), _price(prices, "output_mtok"))


def _price(prices: dict[str, str], unit: str) -> str:
    return f"${prices[unit]}" if unit in prices else ""
