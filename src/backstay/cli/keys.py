"""Owns ``backstay keys``: credentials for callers."""

from typing import Any
from urllib.parse import quote

import click

from backstay.cli.context import Cli, command
from backstay.cli.output import dump, hint, local_time, paint, say, table
from backstay.cli.values import CommaList, Moment
from backstay.core.caller import PRIORITIES


@click.group(invoke_without_command=True)
@command
def keys(cli: Cli) -> None:
    """Make, list, revoke and rotate the keys that callers use."""
    if click.get_current_context().invoked_subcommand is None:
        _list(cli)


@keys.command()
@click.option("--name", required=True, help="What the key is for.")
@click.option("--models", type=CommaList(), help="Models that it may use.  [default: all]")
@click.option("--routes", type=CommaList(), help="Paths that it may use, such as /v1/messages.  [default: all]")
@click.option("--rights", type=CommaList(), help="Of call, read, admin.  [default: call,read]")
@click.option("--feature", help="Feature that its calls are attributed to, where they name none.")
@click.option("--tags", type=CommaList(), help="Tags of its calls, where they bring none.")
@click.option("--priority", type=click.Choice(PRIORITIES), help="Of its calls that name none.  [default: interactive]")
@click.option("--expires", type=Moment(), help="When it ends: 90d, 12h or an RFC 3339 time.  [default: never]")
@click.option("--requests-per-min", type=click.IntRange(1), help="Requests in any 60 seconds.  [default: the policy's]")
@click.option("--tokens-per-min", type=click.IntRange(1), help="Tokens in any 60 seconds.  [default: the policy's]")
@click.option("--principals", type=CommaList(), help="Whom it may search documents for.  [default: anybody]")
@click.option("--concurrency", type=click.IntRange(1), help="Calls at once.  [default: the policy's]")
@command
def create(cli: Cli, name: str, expires: str | None, **limits: Any) -> None:
    """Make a key. Its text is shown this once."""
    asked = {"name": name, "expires_at": expires, **limits}
    made = cli.client().post("/v1/keys", {field: value for field, value in asked.items() if value is not None})
    if cli.json:
        dump(made)
        return
    say(made["key"])
    say(f"{made['id']} “{made['name']}” of tenant {made['tenant']}. It is not shown again.", err=True)


@keys.command("list")
@command
def list_keys(cli: Cli) -> None:
    """List keys, without their secrets."""
    _list(cli)


def _list(cli: Cli) -> None:
    answer = cli.client().get("/v1/keys")
    if cli.json:
        dump(answer)
        return
    if not answer["keys"]:
        say("No keys yet. `backstay keys create --name NAME` makes one.", err=True)
        return
    rows = [
        [key["id"], key["prefix"], key["name"], key["status"], ", ".join(key["rights"]),
         "all" if key["models"] is None else ", ".join(key["models"]),
         _limits(key), local_time(key["created_at"]), local_time(key["expires_at"]) or "never"]
        for key in answer["keys"]
    ]  # fmt: skip
    table(["id", "begins", "name", "status", "rights", "models", "limits", "made", "ends"], rows)
    hint("backstay keys create --name NAME", "backstay keys revoke ID")


def _limits(key: dict[str, Any]) -> str:
    named = (("requests_per_min", "req/min"), ("tokens_per_min", "tok/min"), ("concurrency", "at once"))
    limits = [f"{key[name]} {unit}" for name, unit in named if key[name] is not None]
    return ", ".join([*limits, "batch"] if key["priority"] == "batch" else limits)


@keys.command()
@click.argument("key_id", metavar="ID")
@command
def revoke(cli: Cli, key_id: str) -> None:
    """Refuse a key from now on."""
    answer = cli.client().post(f"/v1/keys/{quote(key_id)}/revoke")
    if cli.json:
        dump(answer)
    else:
        say(f"{key_id} is refused from now on.")


@keys.command()
@click.argument("key_id", metavar="ID")
@command
def rotate(cli: Cli, key_id: str) -> None:
    """Make a new key with the same rights; the old one works for a while longer."""
    made = cli.client().post(f"/v1/keys/{quote(key_id)}/rotate")
    if cli.json:
        dump(made)
        return
    say(made["key"])
    say(f"{made['id']} takes the place of {key_id}. {paint('It is not shown again.', 'dim')}", err=True)
