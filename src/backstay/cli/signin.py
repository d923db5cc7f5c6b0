"""Owns ``backstay login``: a one-time link into the console."""

from typing import Any

import click

from backstay.cli.context import Cli, command
from backstay.cli.http import Client
from backstay.cli.output import dump, local_time, say
from backstay.cli.people import find_person

FIRST_ADMIN = "admin@localhost"


@click.command()
@click.argument("email", default=FIRST_ADMIN)
@command
def login(cli: Cli, email: str) -> None:
    """Print a link that signs a person into the console, once."""
    link = sign_in_link(cli.client(), email)
    if cli.json:
        dump(link)
        return
    say(link["url"])
    say(f"Signs {link['person']['email']} in, once, until {local_time(link['expires_at'])}.", err=True)


def first_link(client: Client) -> dict[str, Any] | None:
    """Make the tenant's first admin and return their link; ``None`` where somebody is there already."""
    if client.get("/v1/people")["people"]:
        return None
    return client.post("/v1/people", {"email": FIRST_ADMIN, "role": "admin"})


def sign_in_link(client: Client, email: str) -> dict[str, Any]:
    """Make a link that signs somebody in; asked for the first admin, make that account on the way.

    Raises:
        NotFound: Nobody has that address.
    """
    made = first_link(client) if email == FIRST_ADMIN else None
    return made or client.post(f"/v1/people/{find_person(client, email)['id']}/link")
