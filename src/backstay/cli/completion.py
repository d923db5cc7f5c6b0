"""Owns ``backstay completion``: commands and options at the press of Tab."""

import click
from click.shell_completion import get_completion_class

from backstay.cli.context import Cli, command
from backstay.cli.output import dump, say


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@command
def completion(cli: Cli, shell: str) -> None:
    """Print the script that teaches a shell to complete; load it with `eval "$(backstay completion bash)"`."""
    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(click.get_current_context().find_root().command, {}, "backstay", "_BACKSTAY_COMPLETE").source()
    dump({"script": script}) if cli.json else say(script)
