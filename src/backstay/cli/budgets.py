"""Owns ``backstay budgets``: what may be spent; and ``backstay workers``, which hold money of them."""

from typing import Any
from urllib.parse import quote

import click

from backstay.cli.context import Cli, command
from backstay.cli.output import dump, hint, local_time, money, say, table

WINDOWS = ("minute", "hour", "day", "week", "month", "lifetime")
DIMENSIONS = ("key", "user", "feature", "model", "tag")
ON_LOW = ("clamp", "downgrade", "refuse", "queue")
ON_UNKNOWN = ("refuse", "bound")


@click.group(invoke_without_command=True)
@command
def budgets(cli: Cli) -> None:
    """Make, list, change and delete budgets: what may be spent, never overspent."""
    if click.get_current_context().invoked_subcommand is None:
        _list(cli)


@budgets.command()
@click.option("--scope", multiple=True, help="feature:F, user:U, key:ID, model:M, tag:X; several must all fit.")
@click.option("--per", type=click.Choice(DIMENSIONS), help="Each user, key, … has the amount for itself.")
@click.option("--limit-usd", help="US dollars per window, as in 0.05.")
@click.option("--limit", help="The same in a currency of the policy, as in '50 EUR'.")
@click.option("--window", type=click.Choice(WINDOWS), default="month", show_default=True, help="How long it lasts.")
@click.option("--time-zone", default="UTC", show_default=True, help="Whose days, weeks and months.")
@click.option("--name", default="", help="What it is for.")
@click.option("--soft", is_flag=True, help="Mark calls beyond it, refuse none.")
@click.option("--on-low", type=click.Choice(ON_LOW), default="clamp", show_default=True,
              help="What is done where a call's worst case does not fit.")  # fmt: skip
@click.option("--on-unknown-price", type=click.Choice(ON_UNKNOWN), default="refuse", show_default=True,
              help="Refuse calls of unknown price, or take them to cost the policy's [unknown_price].")  # fmt: skip
@click.option("--rollover", is_flag=True, help="Let what is left go into the next window.")
@command
def create(cli: Cli, scope: tuple[str, ...], soft: bool, on_low: str, **asked: Any) -> None:
    """Make a budget. Every worker follows within a second."""
    body = {**asked, "scope": list(scope), "hard": not soft, "on_low_budget": on_low}
    made = cli.client().post("/v1/budgets", body)
    if cli.json:
        dump(made)
        return
    say(f"{made['id']}: {made['scope']} may spend ${made['limit_usd']} per {made['window']}{_given(made)}.")


@budgets.command("list")
@command
def list_budgets(cli: Cli) -> None:
    """List budgets, and what is spent and held of each."""
    _list(cli)


def _list(cli: Cli) -> None:
    answer = cli.client().get("/v1/budgets")
    if cli.json:
        dump(answer)
        return
    if not answer["budgets"]:
        say("No budgets yet. `backstay budgets create --scope feature:chat --limit-usd 5` makes one.", err=True)
        return
    rows = [
        [each["id"], each["scope"] + (f", each {each['per']}" if each["per"] else ""), each["window"],
         money(each["limit_usd"]), money(each["spent_usd"]), money(each["reserved_usd"]), _kind(each), each["state"],
         local_time(each["resets_at"]) or "never"]
        for each in answer["budgets"]
    ]  # fmt: skip
    head = ["id", "scope", "window", "limit", "spent", "held", "kind", "state", "begins anew"]
    table(head, rows, right=["limit", "spent", "held"])
    hint("backstay budgets set ID --limit-usd 10", "backstay costs --by feature")


def _given(budget: dict[str, Any]) -> str:
    return f" ({budget['limit_given']})" if budget["limit_given"] else ""


def _kind(budget: dict[str, Any]) -> str:
    return "hard" if budget["hard"] else "soft"


@budgets.command("set")
@click.argument("budget_id", metavar="ID")
@click.option("--limit-usd", help="US dollars per window.")
@click.option("--limit", help="The same in a currency of the policy, as in '50 EUR'.")
@click.option("--hard/--soft", default=None, help="Refuse calls beyond it, or mark them.")
@click.option("--on-low", type=click.Choice(ON_LOW), help="What is done where a call's worst case does not fit.")
@click.option("--on-unknown-price", type=click.Choice(ON_UNKNOWN), help="What is done with calls of unknown price.")
@command
def set_budget(cli: Cli, budget_id: str, on_low: str | None, **changed: Any) -> None:
    """Change a budget for calls from now on."""
    _change(cli, budget_id, {**changed, "on_low_budget": on_low})


@budgets.command()
@click.argument("budget_id", metavar="ID")
@command
def stop(cli: Cli, budget_id: str) -> None:
    """Refuse every call of a budget's scope, whatever is left."""
    _change(cli, budget_id, {"stopped": True})


@budgets.command()
@click.argument("budget_id", metavar="ID")
@command
def resume(cli: Cli, budget_id: str) -> None:
    """Let calls through again that `stop` refused."""
    _change(cli, budget_id, {"stopped": False})


def _change(cli: Cli, budget_id: str, change: dict[str, Any]) -> None:
    body = {name: value for name, value in change.items() if value is not None}
    changed = cli.client().post(f"/v1/budgets/{quote(budget_id)}/change", body)
    if cli.json:
        dump(changed)
    else:
        kind = "stopped" if changed["stopped"] else _kind(changed)
        say(f"{changed['id']}: ${changed['limit_usd']} per {changed['window']}{_given(changed)}, {kind}.")


@budgets.command()
@click.argument("budget_id", metavar="ID")
@command
def delete(cli: Cli, budget_id: str) -> None:
    """End a budget: it counts no call from now on."""
    answer = cli.client().post(f"/v1/budgets/{quote(budget_id)}/delete")
    if cli.json:
        dump(answer)
    else:
        say(f"{budget_id} counts no call from now on.")


@click.group()
def workers() -> None:
    """See which workers hold money of budgets, and write off what lost ones held."""


@workers.command("list")
@command
def list_workers(cli: Cli) -> None:
    """List who holds money of budgets."""
    answer = cli.client().get("/v1/workers")
    if cli.json:
        dump(answer)
        return
    if not answer["workers"]:
        say("No worker holds anything.", err=True)
        return
    rows = [
        [each["id"], money(each["reserved_usd"]),
         "never" if each["seen_s"] is None else f"{each['seen_s']:.0f} s ago",
         "frozen" if each["is_frozen"] else "live"]
        for each in answer["workers"]
    ]  # fmt: skip
    table(["id", "holds", "seen", "state"], rows, right=["holds"])


@workers.command()
@click.argument("worker_id", metavar="ID")
@command
def forget(cli: Cli, worker_id: str) -> None:
    """Book what a worker held as spent: its machine and journal are lost."""
    answer = cli.client().post(f"/v1/workers/{quote(worker_id)}/forget")
    if cli.json:
        dump(answer)
    else:
        say(f"{worker_id}: ${answer['spent_usd']} is booked as spent.")
