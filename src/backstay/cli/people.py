"""Owns ``backstay people``: who may sign in to the console."""

from typing import Any

import click

from backstay.cli.context import Cli, command
from backstay.cli.http import Client
from backstay.cli.output import dump, hint, local_time, say, table
from backstay.core.errors import NotFound


@click.group(invoke_without_command=True)
@command
def people(cli: Cli) -> None:
    """Say who may use the console."""
    if click.get_current_context().invoked_subcommand is None:
        _list(cli)


@people.command()
@click.argument("email")
@click.option(
    "--role", type=click.Choice(["admin", "editor", "reviewer", "viewer"]), default="viewer", show_default=True,
    help="What they may do.",
)  # fmt: skip
@command
def invite(cli: Cli, email: str, role: str) -> None:
    """Make an account and print the link that opens it, once."""
    _show_link(cli, cli.client().post("/v1/people", {"email": email, "role": role}))


@people.command()
@click.argument("email")
@command
def link(cli: Cli, email: str) -> None:
    """Print a new link that signs somebody in, once."""
    client = cli.client()
    _show_link(cli, client.post(f"/v1/people/{find_person(client, email)['id']}/link"))


@people.command()
@click.argument("email")
@command
def disable(cli: Cli, email: str) -> None:
    """End somebody's sessions and let them in no more."""
    client = cli.client()
    answer = client.post(f"/v1/people/{find_person(client, email)['id']}/disable")
    if cli.json:
        dump(answer)
    else:
        say(f"{email} is signed out everywhere and cannot sign in.")


@people.command()
@click.argument("email")
@command
def enable(cli: Cli, email: str) -> None:
    """Let somebody in again."""
    client = cli.client()
    answer = client.post(f"/v1/people/{find_person(client, email)['id']}/enable")
    if cli.json:
        dump(answer)
    else:
        say(f"{email} can sign in again. `backstay people link {email}` prints a link.")


@people.command("list")
@command
def list_people(cli: Cli) -> None:
    """List the accounts of a tenant."""
    _list(cli)


def _list(cli: Cli) -> None:
    answer = cli.client().get("/v1/people")
    if cli.json:
        dump(answer)
        return
    if not answer["people"]:
        say("Nobody yet. `backstay people invite EMAIL` makes an account.", err=True)
        return
    rows = [
        [person["email"], person["role"], "disabled" if person["disabled_at"] else "active",
         local_time(person["created_at"]), local_time(person.get("last_signed_in_at")) or "never"]
        for person in answer["people"]
    ]  # fmt: skip
    table(["email", "role", "status", "since", "last signed in"], rows)
    hint("backstay people invite EMAIL --role editor", "backstay people link EMAIL")


def find_person(client: Client, email: str) -> dict[str, Any]:
    """Find an account by its address. Raises ``NotFound`` where there is none."""
    found = next((person for person in client.get("/v1/people")["people"] if person["email"] == email.lower()), None)
    if found is None:
        raise NotFound(f"Nobody here has the address {email}. `backstay people invite {email}` invites them.")
    return found


def _show_link(cli: Cli, answer: dict[str, Any]) -> None:
    if cli.json:
        dump(answer)
        return
    say(answer["url"])
    sent = " It was sent by mail too." if answer.get("mailed") else ""
    say(f"Signs {answer['person']['email']} in, once, until {local_time(answer['expires_at'])}.{sent}", err=True)
