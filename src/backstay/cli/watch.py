"""Owns ``backstay costs anomalies`` and ``backstay costs forecast``: what is out of the ordinary, what is to come."""

from typing import Any

import click

from backstay.cli.context import Cli, command
from backstay.cli.output import count, dump, hint, local_time, money, paint, printable, say, table

_READING_S = 60.0
_VERDICTS = {"over": "will exceed", "may_exceed": "may exceed", "within": "within", "unknown": "—"}


@click.command()
@click.option("--since", default="7d", show_default=True, help="15m, 24h, 7d, a date, or an RFC 3339 time.")
@click.option("--until", help="The same, as the end.  [default: now]")
@click.option("--min-usd", type=float, help="So much above the usual.  [default: as [anomalies] says]")
@command
def anomalies(cli: Cli, since: str, until: str | None, min_usd: float | None) -> None:
    """List hours in which somebody spent far more than usual, and what changed."""
    least = None if min_usd is None else str(min_usd)
    query = {"since": since, "until": until, "min_usd": least}
    answer = cli.client().get("/v1/costs/anomalies", query, timeout_s=_READING_S)
    if cli.json:
        dump(answer)
        return
    if not answer["anomalies"]:
        say(f"Nothing out of the ordinary since {since}, by ${answer['min_usd']} or more above the usual.", err=True)
        return
    for found in answer["anomalies"]:
        say(paint(f"+{_cents(found['excess_usd'])}  {printable(found['scope'])} {printable(found['name'])}", "wrong"))
        say(f"  {printable(found['text'])}")
        if found["also"]:
            say(f"  The same in {printable(', '.join(found['also']))}.")
    first = answer["anomalies"][0]
    hint(f"backstay costs --by request --since {first['since']} --until {first['until']}")


@click.command()
@click.option("--by", type=click.Choice(["feature", "model", "key", "user"]), help="What to tell apart.")
@command
def forecast(cli: Cli, by: str | None) -> None:
    """Forecast what this month, and budgets' windows, will have cost at their end."""
    answer = cli.client().get("/v1/costs/forecast", {"by": by})
    if cli.json:
        dump(answer)
        return
    rows = [[printable(row["name"] or "—"), *_figures(row)] for row in answer["rows"]]
    rows.append(["total", *_figures(answer["total"])])
    figures = ["spent", "month's end", "at least", "at most"]
    table([by or "month", *figures], rows, right=figures)
    if answer["budgets"]:
        say("")
        head = ["budget", "scope", "limit", *figures, "verdict", "spent on"]
        told = [_budget(budget) for budget in answer["budgets"]]
        table(head, told, right=["limit", *figures])
    total = answer["total"]
    if total["expected_usd"] is None:
        say(f"\nThere is no forecast: {count(total['history_days'])} days of history are too few. Three are needed.")
    elif total["low_usd"] is None:
        say(f"\nThere is no interval: {count(total['history_days'])} days of history are too few. 21 are needed.")
    else:
        say(f"\nIn {answer['coverage']:.0%} of months the sum should lie between `at least` and `at most`.")


def _figures(row: dict[str, Any]) -> list[str]:
    return [_cents(row[name]) for name in ("spent_usd", "expected_usd", "low_usd", "high_usd")]


def _budget(row: dict[str, Any]) -> list[str]:
    return [
        printable(row["name"] or row["budget_id"]), printable(row["scope"]), money(row["limit_usd"]), *_figures(row),
        _VERDICTS[row["verdict"]], local_time(row["spent_at"]),
    ]  # fmt: skip


def _cents(amount: str | None) -> str:
    """Write an amount as far as a forecast can be meant: to the cent, and small ones whole."""
    if amount is None:
        return "—"
    return f"${float(amount):,.2f}" if float(amount) >= 1 else money(amount)
