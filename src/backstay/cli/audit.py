"""Owns ``backstay audit``: whether the books are right, proven a day at a time."""

import sys
from decimal import Decimal
from typing import Any

import click

from backstay.cli.context import Cli, command
from backstay.cli.http import Client
from backstay.cli.output import count, dump, is_fancy, money, say, table

_TIMEOUT_S = 900.0
"""For one part: a day of the ledger, or all postings of budgets."""


@click.command()
@command
def audit(cli: Cli) -> None:
    """Prove the books: ledger against traces, sums against entries, every account against its postings."""
    proof = _prove(cli.client())
    if cli.json:
        dump(proof)
    else:
        budgets = proof["budgets"]
        table(
            ["what", "found"],
            [
                ["ledger", money(proof["ledger_usd"])],
                ["traces", money(proof["traces_usd"])],
                ["adjustments", money(proof["adjusted_usd"])],
                ["calls that differ", count(proof["differing_calls"])],
                ["sums that differ", count(proof["differing_rollups"])],
                ["postings", count(budgets["postings"])],
                ["accounts that differ", count(budgets["differing"])],
                ["their sums over time that differ", count(budgets["differing_burns"])],
                ["windows over their limit", count(budgets["over"])],
            ],
            right=["found"],
        )
        say("The books are right." if proof["ok"] else "The books are wrong.")
    if not proof["ok"]:
        raise SystemExit(1)


def _prove(client: Client) -> dict[str, Any]:
    """Prove each day, and then the accounts; show how far it is."""
    days = client.get("/v1/books/days", timeout_s=_TIMEOUT_S)["days"]
    ledger, traces, calls, rollups = Decimal(), Decimal(), 0, 0
    for number, day in enumerate(days):
        _draw(f"{day}, day {number + 1} of {len(days)}; {count(calls)} calls and {count(rollups)} sums differ so far")
        proven = client.get(f"/v1/books/days/{day}", timeout_s=_TIMEOUT_S)
        ledger += Decimal(proven["ledger_usd"])
        traces += Decimal(proven["traces_usd"])
        calls += proven["differing_calls"]
        rollups += proven["differing_rollups"]
    _draw("accounts of budgets")
    accounts = client.get("/v1/books/accounts", timeout_s=_TIMEOUT_S)
    _draw("")
    budgets = accounts["budgets"]
    return {
        "ok": not (calls or rollups or budgets["differing"] or budgets["differing_burns"]),
        "ledger_usd": f"{ledger:f}",
        "traces_usd": f"{traces:f}",
        "differing_calls": calls,
        "differing_rollups": rollups,
        **accounts,
    }


def _draw(text: str) -> None:
    """Replace the line that says how far it is, on a terminal."""
    if is_fancy(sys.stderr):
        click.echo(f"\r{text}\x1b[K", err=True, nl=False)
