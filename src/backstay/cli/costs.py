"""Owns ``backstay costs``: who spends what, on what for nothing, and the same as files and invoices."""

import csv
import sys
from pathlib import Path
from typing import Any

import click

from backstay.cli.context import Cli, command
from backstay.cli.invoice import invoice_page
from backstay.cli.output import count, dump, hint, local_time, money, printable, say, table
from backstay.cli.savings import savings, what_if
from backstay.cli.values import CommaList
from backstay.cli.watch import anomalies, forecast
from backstay.core.errors import InvalidRequest

DIMENSIONS = ("user", "feature", "model", "target", "key", "tag", "day", "hour", "request")
FIGURES = ("calls", "input_tokens", "output_tokens", "cost_usd", "unknown_cost_calls")
REQUEST = ("started_at", "trace_id", "model", "target", "user", "feature", "key_id", "input_tokens", "output_tokens",
           "cost_usd")  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_EXPORT_S = 3600.0
_BLOCK_BYTES = 64 * 1024

since_option = click.option(
    "--since", default="7d", show_default=True, help="15m, 24h, 7d, a date, or an RFC 3339 time."
)
until_option = click.option("--until", help="The same, as the end.  [default: now]")


@click.group(invoke_without_command=True)
@click.option(
    "--by", type=CommaList(), default="model", show_default=True, help=f"What to tell apart: {', '.join(DIMENSIONS)}."
)
@since_option
@until_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@command
def costs(cli: Cli, by: list[str], since: str, until: str | None, as_csv: bool) -> None:
    """Show what calls cost, most expensive first."""
    if click.get_current_context().invoked_subcommand is not None:
        return
    window = {"since": since, "until": until}
    if "request" in by:
        if by != ["request"]:
            raise InvalidRequest("`request` stands alone: `--by request` lists the dearest calls.", param="by")
        _requests(cli, cli.client().get("/v1/costs/requests", window), as_csv)
        return
    answer = cli.client().get("/v1/costs", {"by": ",".join(by), **window})
    if cli.json:
        dump(answer)
    elif as_csv:
        _print_csv((*by, *FIGURES), answer["rows"])
    elif not answer["rows"]:
        say(f'No calls since {since}. `backstay ask "…"` makes one.', err=True)
    else:
        rows = [[*(printable(str(row[name] or "—")) for name in by), *_figures(row)] for row in answer["rows"]]
        rows.append([*("total", *[""] * len(by))[: len(by)], *_figures(answer["total"])])
        figures = ["calls", "input", "output", "cost", "unpriced"]
        table([*by, *figures], rows, right=figures)
        hint("backstay costs --by user,feature,model", "backstay costs waste", "backstay costs savings")


@costs.command()
@since_option
@until_option
@command
def waste(cli: Cli, since: str, until: str | None) -> None:
    """Show what was paid for and not used, and what caches saved."""
    answer = cli.client().get("/v1/costs/waste", {"since": since, "until": until})
    if cli.json:
        dump(answer)
        return
    rows = [[row["reason"], count(row["attempts"]), money(row["cost_usd"])] for row in answer["waste"]]
    table(
        ["lost to", "attempts", "cost"], [*rows, ["total", "", money(answer["wasted_usd"])]], right=["attempts", "cost"]
    )
    say(f"\nspent                    {money(answer['cost_usd'])}")
    say(f"for each answered call   {money(answer['cost_per_answered_call_usd'])}")
    if answer["cache_saved_usd"] is not None:
        say(f"saved by caches          {money(answer['cache_saved_usd'])}, {count(answer['cache_hits'])} hits")


@costs.command()
@click.option(
    "--format", "form", type=click.Choice(["csv", "parquet", "focus"]), default="csv", show_default=True,
    help="`csv` and `parquet`: a row for each attempt; `focus`: FOCUS 1.2 as CSV, a row for each line of its bill.",
)  # fmt: skip
@click.option("--since", default="30d", show_default=True, help="15m, 24h, 7d, a date, or an RFC 3339 time.")
@until_option
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False),
    help="The file; packed where its name ends in `.gz`.  [default: standard output]",
)  # fmt: skip
@command
def export(cli: Cli, form: str, since: str, until: str | None, output: Path | None) -> None:
    """Write ledger entries into a file, however many."""
    if cli.json and output is None:
        raise click.UsageError("With --json, name the file with --output: entries and a document cannot share stdout.")
    packed = "true" if output is not None and output.suffix == ".gz" else None
    query = {"format": form, "since": since, "until": until, "gzip": packed}
    partial = None if output is None else output.with_name(f"{output.name}.part")
    try:
        with cli.client().open("GET", "/v1/costs/export", query=query, timeout_s=_EXPORT_S) as response:
            left_out = int(response.headers["x-backstay-unknown-cost-calls"])
            file = sys.stdout.buffer if partial is None else partial.open("wb")
            try:
                while block := response.read(_BLOCK_BYTES):
                    file.write(block)
                file.flush()
            finally:
                if partial is not None:
                    file.close()
        if partial is not None and output is not None:
            partial.replace(output)
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)
    if cli.json and output is not None:
        dump({"file": str(output), "size_bytes": output.stat().st_size, "unknown_cost_calls": left_out})
    elif left_out:
        what = "are left out" if form == "focus" else "have no amount"
        say(f"Calls of unknown cost {what}: {count(left_out)}.", err=True)


@costs.command()
@click.option("--month", required=True, metavar="YYYY-MM", help="A month, UTC.")
@click.option("--markup", default="0", show_default=True, metavar="PERCENT", help="Added to each line, such as 15%.")
@click.option("--currency", default="USD", show_default=True, help="One that the policy has a rate for, as in EUR.")
@click.option("--html", "as_html", is_flag=True, help="Print a page to send or to print.")
@command
def invoice(cli: Cli, month: str, markup: str, currency: str, as_html: bool) -> None:
    """Write the tenant's invoice of a month: lines by model, feature and key."""
    asked = {"month": month, "markup": markup.removesuffix("%"), "currency": currency.upper()}
    bill = cli.client().get("/v1/costs/invoice", asked)
    if as_html:
        say(invoice_page(bill))
        return
    if cli.json:
        dump(bill)
        return
    rows = [
        [line["model"], line["feature"] or "—", line["key"] or "—", count(line["calls"]), money(line["cost_usd"]),
         money(line["amount_usd"]), *([line["amount"]] if bill["rate"] else [])]
        for line in bill["lines"]
    ]  # fmt: skip
    figures = ["calls", "cost", "amount", *([f"amount, {bill['currency']}"] if bill["rate"] else [])]
    sums = [money(bill["cost_usd"]), money(bill["amount_usd"]), *([bill["amount"]] if bill["rate"] else [])]
    rows.append(["total", "", "", "", *sums])
    table(["model", "feature", "key", *figures], rows, right=figures)
    due = f"{bill['due']} {bill['currency']} at {bill['rate']}" if bill["rate"] else money(bill["due_usd"])
    say(f"\ndue {due}   {bill['rounding']}")


costs.add_command(what_if)
costs.add_command(savings)
costs.add_command(anomalies)
costs.add_command(forecast)


def _requests(cli: Cli, answer: dict[str, Any], as_csv: bool) -> None:
    if cli.json:
        dump(answer)
    elif as_csv:
        _print_csv(REQUEST, answer["requests"])
    else:
        head = ["at", "trace", "model", "input", "output", "cost", "user", "feature"]
        rows = [
            [local_time(row["started_at"]), row["trace_id"][:8], row["model"] or "—", count(row["input_tokens"]),
             count(row["output_tokens"]), money(row["cost_usd"]), row["user"] or "", row["feature"] or ""]
            for row in answer["requests"]
        ]  # fmt: skip
        table(head, rows, right=["input", "output", "cost"])


def _print_csv(head: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    """Print rows as CSV. What a spreadsheet would run as a formula gets a quote in front of it."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(head)
    for row in rows:
        cells = ["" if row[name] is None else str(row[name]) for name in head]
        writer.writerow(f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in cells)


def _figures(row: dict[str, Any]) -> list[str]:
    return [
        count(row["calls"]), count(row["input_tokens"]), count(row["output_tokens"]), money(row["cost_usd"]),
        count(row["unknown_cost_calls"] or None),
    ]  # fmt: skip
