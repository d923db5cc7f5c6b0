"""Owns the list of commands."""

from typing import Any

import click

from backstay import __version__
from backstay.cli.alerts import alerts
from backstay.cli.ask import ask
from backstay.cli.audit import audit
from backstay.cli.budgets import budgets, workers
from backstay.cli.cache import cache
from backstay.cli.check import check
from backstay.cli.collections import collections
from backstay.cli.completion import completion
from backstay.cli.context import Cli, command
from backstay.cli.costs import costs
from backstay.cli.crawls import crawls
from backstay.cli.demo import demo
from backstay.cli.drill import drill
from backstay.cli.ingest import ingest
from backstay.cli.ingests import ingests
from backstay.cli.keys import keys
from backstay.cli.mcp import mcp
from backstay.cli.models import models
from backstay.cli.output import dump, say
from backstay.cli.people import people
from backstay.cli.prices import prices
from backstay.cli.reconcile import reconcile
from backstay.cli.retrieval import retrieval
from backstay.cli.routes import routes
from backstay.cli.search import search
from backstay.cli.serve import serve
from backstay.cli.signin import login
from backstay.cli.simulate import simulate
from backstay.cli.traces import traces
from backstay.cli.webhooks import webhooks


class Commands(click.Group):
    """All commands. What is wrong with a command line is a JSON document too, for who asked for one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["backstay.json"] = "--json" in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            if ctx.meta["backstay.json"]:
                dump({"error": {"code": "usage_error", "message": error.format_message()}})
            raise


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="%(version)s")
def main() -> None:
    """Everything around the model: gateway, ledger, traces and console."""


@click.command()
@command
def version(cli: Cli) -> None:
    """Print the version."""
    if cli.json:
        dump({"version": __version__})
    else:
        say(__version__)


for _command in (
    serve, demo, check, ask, keys, traces, costs, budgets, alerts, audit, workers, reconcile, prices, models, routes,
    cache, collections, ingest, ingests, crawls, search, retrieval, mcp, simulate, drill, people, login, webhooks,
    completion, version,
):  # fmt: skip
    main.add_command(_command)
