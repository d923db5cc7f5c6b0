"""Owns ``backstay webhooks``: the secret that they are signed with."""

import click

from backstay.cli.context import Cli, command
from backstay.cli.output import dump, say


@click.group()
def webhooks() -> None:
    """Manage the webhooks that tell of calls made later."""


@webhooks.command()
@command
def secret(cli: Cli) -> None:
    """Make the tenant's secret. Its text is shown this once; an earlier one goes on signing for a day."""
    made = cli.client().post("/v1/webhooks/secret")
    if cli.json:
        dump(made)
        return
    say(made["secret"])
    say(f"The webhooks of tenant {made['tenant']} are signed with it. It is not shown again.", err=True)
