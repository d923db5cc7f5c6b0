"""Owns ``backstay reconcile``: the ledger beside what a vendor has billed."""

from collections.abc import Iterator, Sequence
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
@click.option("--all", "everything", is_flag=True, help="Show what agrees, too.")
@command
def reconcile(
    cli: Cli, files: tuple[Path, ...], providers: tuple[str, ...], keys: tuple[str, ...], everything: bool
) -> None:
    """Compare the ledger with FILES: exports (CSV) of OpenAI's or Anthropic's usage or costs.

    A usage export tells of tokens, a cost export of money; give both of one vendor for the best answer. Ends with 7
    where they differ.
    """
    vendor, rows = _read(files, keys)
    answer = cli.client().post("/v1/costs/reconcile", {"providers": list(providers) or [vendor], "rows": rows})
    if cli.json:
        dump({"vendor": vendor, **answer})
    else:
        _tell(answer, vendor, everything=everything)
    if not answer["ok"]:
        raise SystemExit(DIFFERENT)


def _read(files: Sequence[Path], keys: tuple[str, ...]) -> tuple[str, list[dict[str, Any]]]:
    """Read exports of one vendor, added up by day and model. Nothing is sent before all of them are read."""
    from backstay.ledger.billing_files import read_export
    from backstay.ledger.reconcile import add_up

    vendors: dict[str, Path] = {}
    if len({path.resolve() for path in files}) < len(files):
        raise InvalidRequest("One file is given twice: its lines would count twice.")

    def lines() -> "Iterator[Billed]":
        for path in files:
            try:
                with path.open(encoding="utf-8", newline="") as file:
                    export, billed = read_export(file, str(path), keys=keys)
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
        "cost_usd": None if billed.cost_nanousd is None else usd(billed.cost_nanousd),
        "input_tokens": billed.input_tokens,
        "output_tokens": billed.output_tokens,
    }
    return {name: value for name, value in row.items() if value is not None}


def _tell(answer: dict[str, Any], vendor: str, *, everything: bool) -> None:
    shown = [row for row in answer["rows"] if everything or row["causes"]]
    if shown:
        figures = ["billed", "booked", "difference", "billed tokens", "booked tokens"]
        table(["day", "model", *figures], [_figures(row) for row in shown], right=figures)
    for row in shown:
        for cause in row["causes"]:
            say(f"{row['day']} {printable(row['model'] or 'all models')}: {cause}")
    agree = sum(1 for row in answer["rows"] if not row["causes"])
    say(f"{vendor}: {agree} of {len(answer['rows'])} days and models agree; billed {money(answer['billed_usd'])}, "
        f"booked {money(answer['booked_usd'])}.", err=bool(shown))  # fmt: skip


def _figures(row: dict[str, Any]) -> list[str]:
    told = [row["billed_input_tokens"], row["billed_output_tokens"]]
    billed = None if None in told else sum(told)
    booked = row["booked_input_tokens"] + row["booked_output_tokens"]
    return [row["day"], printable(row["model"] or "all models"), money(row["billed_usd"]), money(row["booked_usd"]),
            money(row["difference_usd"]), count(billed), count(booked)]  # fmt: skip
