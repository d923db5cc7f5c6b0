"""Owns ``backstay reconcile``: the ledger beside what a vendor has billed."""

import hashlib
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from backstay.cli.context import Cli, command
from backstay.cli.exits import DIFFERENT
from backstay.cli.output import count, dump, money, printable, say, table
from backstay.core.errors import ConfigError, InvalidRequest

if TYPE_CHECKING:
    from backstay.ledger.reconcile import Billed


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--provider",
    "providers",
    multiple=True,
    metavar="NAME",
    help="Providers of the policy that the bill is for; several may share an account.  [default: the vendor]",
)
@click.option(
    "--vendor-key",
    "keys",
    multiple=True,
    metavar="ID",
    help="Only the vendor's lines of this key or project, by the name that the export has.",
)
@click.option(
    "--key",
    "of_keys",
    multiple=True,
    metavar="ID=PROVIDER",
    help="Compare key by key: this provider of the policy calls with this key or project of the vendor.",
)
@click.option("--all-tenants", is_flag=True, help="Compare with the calls of all tenants; for the operator.")
@click.option("--all", "everything", is_flag=True, help="Show what agrees, too.")
@click.option("--book", is_flag=True, help="Book what differs as adjustments, each line of a file once.")
@click.option("--yes", is_flag=True, help="Book without asking.")
@command
def reconcile(
    cli: Cli,
    files: tuple[Path, ...],
    providers: tuple[str, ...],
    keys: tuple[str, ...],
    of_keys: tuple[str, ...],
    all_tenants: bool,
    everything: bool,
    book: bool,
    yes: bool,
) -> None:
    """Compare the ledger with FILES: exports (CSV) of OpenAI's or Anthropic's usage or costs.

    A usage export tells of tokens, a cost export of money; give both of one vendor for the best answer. Ends with 7
    where they differ, unless that was booked.
    """
    if book and cli.json and not yes:
        raise InvalidRequest("--book with --json needs --yes: nobody can be asked.")
    mapped = _mapped(of_keys)
    vendor, rows = _read(files, (*keys, *mapped), by_key=bool(mapped))
    bill = {"providers": list(providers) or [vendor], "rows": rows, "keys": mapped, "all_tenants": all_tenants}
    answer = cli.client().post("/v1/costs/reconcile", bill)
    if not cli.json:
        _tell(answer, vendor, everything=everything)
    is_needed = any(Decimal(row["to_book_usd"]) for row in answer["rows"])
    if book and is_needed and (yes or _agreed(answer)):
        order = {"file": _digest(files), "amount_usd": answer["to_book_usd"]}
        answer = cli.client().post("/v1/costs/reconcile", {**bill, "book": order})
        if not cli.json:
            _tell_booked(answer)
    if cli.json:
        dump({"vendor": vendor, **answer})
    if not answer["ok"] and not answer["booked"]:
        raise SystemExit(DIFFERENT)


def _mapped(of_keys: Sequence[str]) -> dict[str, str]:
    mapped: dict[str, str] = {}
    for each in of_keys:
        key, separator, provider = each.partition("=")
        if not separator or not key or not provider or key in mapped:
            raise InvalidRequest(f"--key {each!r}: expected ID=PROVIDER, as in key_1=openai, each key once.")
        mapped[key] = provider
    return mapped


def _digest(files: Sequence[Path]) -> str:
    """Name the bill by what is in its files, whatever they are called and in whatever order they are given."""
    digests = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in files)
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _agreed(answer: dict[str, Any]) -> bool:
    lines = sum(Decimal(row["to_book_usd"]) != 0 for row in answer["rows"])
    what = f"{lines} adjustments" if lines != 1 else "1 adjustment"
    return click.confirm(f"Book {what} of ${answer['to_book_usd']} in sum? Nobody can take it back", err=True)


def _tell_booked(answer: dict[str, Any]) -> None:
    for line in answer["booked"]:
        say(f"{line['tenant']}: {line['day']} {printable(line['model'] or 'no model')} {money(line['amount_usd'])}")
    if not answer["booked"]:
        say("Nothing was booked: these lines were booked from this file before. Take a newer export.", err=True)


def _read(files: Sequence[Path], keys: Sequence[str], *, by_key: bool) -> tuple[str, list[dict[str, Any]]]:
    """Read exports of one vendor, added up by day and model, and by key if that is wanted; all of them, or none."""
    from backstay.ledger.billing_files import read_export
    from backstay.ledger.reconcile import add_up

    vendors: dict[str, Path] = {}
    if len({path.resolve() for path in files}) < len(files):
        raise InvalidRequest("One file is given twice: its lines would count twice.")

    def lines() -> "Iterator[Billed]":
        for path in files:
            try:
                with path.open(encoding="utf-8", newline="") as file:
                    export, billed = read_export(file, str(path), keys=keys, by_key=by_key)
                    vendors.setdefault(export.vendor, path)
                    yield from billed
            except UnicodeDecodeError as error:
                raise InvalidRequest(f"{path}: it is not UTF-8, at byte {error.start}.") from None
            except OSError as error:
                raise ConfigError(f"it cannot be read: {error.strerror}.", file=str(path)) from None

    rows = add_up(lines())
    if len(vendors) > 1:
        _refuse_two(vendors)
    return next(iter(vendors)), [_row(row) for row in rows]


def _refuse_two(vendors: dict[str, Path]) -> NoReturn:
    each = ", ".join(f"{path} is of {vendor}" for vendor, path in vendors.items())
    raise InvalidRequest(f"Compare one vendor at a time: {each}.")


def _row(billed: "Billed") -> dict[str, Any]:
    from backstay.core.money import usd

    row = {
        "day": billed.day.isoformat(),
        "model": billed.model,
        "vendor_key": billed.key,
        "cost_usd": None if billed.cost_nanousd is None or billed.currency != "USD" else usd(billed.cost_nanousd),
        "input_tokens": billed.input_tokens,
        "output_tokens": billed.output_tokens,
    }
    if billed.cost_nanousd is not None and billed.currency != "USD":
        row["cost"] = f"{usd(billed.cost_nanousd)} {billed.currency}"
    return {name: value for name, value in row.items() if value is not None}


def _tell(answer: dict[str, Any], vendor: str, *, everything: bool) -> None:
    shown = [row for row in answer["rows"] if everything or row["causes"]]
    if shown:
        figures = ["billed", "booked", "difference", "billed tokens", "booked tokens"]
        head = ["day", *(["key"] if any(row["vendor_key"] for row in shown) else []), "model", *figures]
        table(head, [_figures(row, with_key="key" in head) for row in shown], right=figures)
    for row in shown:
        for cause in row["causes"]:
            whose = f" {printable(row['vendor_key'])}" if row["vendor_key"] else ""
            say(f"{row['day']}{whose} {printable(row['model'] or 'all models')}: {cause}")
    for rate in answer["rates"]:
        say(f"Converted by {rate}.")
    agree = sum(1 for row in answer["rows"] if not row["causes"])
    say(f"{vendor}: {agree} of {len(answer['rows'])} days and models agree; billed {money(answer['billed_usd'])}, "
        f"booked {money(answer['booked_usd'])}.", err=bool(shown))  # fmt: skip


def _figures(row: dict[str, Any], *, with_key: bool) -> list[str]:
    told = [row["billed_input_tokens"], row["billed_output_tokens"]]
    billed = None if None in told else sum(told)
    booked = row["booked_input_tokens"] + row["booked_output_tokens"]
    key = [printable(row["vendor_key"] or "—")] if with_key else []
    return [row["day"], *key, printable(row["model"] or "all models"), money(row["billed_usd"]),
            money(row["booked_usd"]), money(row["difference_usd"]), count(billed), count(booked)]  # fmt: skip
