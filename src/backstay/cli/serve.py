"""Owns ``backstay serve``: runs an installation and tells what becomes ready."""

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backstay import __version__
from backstay.cli.board import Board
from backstay.cli.context import Cli, command
from backstay.cli.output import dump, hint, say
from backstay.cli.signin import first_link
from backstay.core.errors import BackstayError

if TYPE_CHECKING:
    from backstay.core.settings import Settings


@click.command()
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one.  [default: 8400]")
@click.option("--workers", type=click.IntRange(1, 256), help="Worker processes that share the port.  [default: 1]")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="The policy.  [default: backstay.toml]")
@command
def serve(cli: Cli, host: str | None, port: int | None, workers: int | None, config: Path | None) -> None:
    """Run the gateway, the console and their Postgres, until Ctrl-C."""
    from backstay.core.settings import load_settings
    from backstay.policy import load_policy

    settings = load_settings(host=host, port=port, workers=workers, config=config, data_dir=cli.data_dir)
    load_policy(settings.config, os.environ)
    banner()
    sys.exit(asyncio.run(_run(cli, settings)))


async def _run(cli: Cli, settings: "Settings") -> int:
    from backstay.supervisor import supervise

    ready = asyncio.Event()
    greeting = asyncio.create_task(_greet(cli, ready))
    try:
        return await supervise(settings, Board(ready.set).tell)
    finally:
        greeting.cancel()


async def _greet(cli: Cli, ready: asyncio.Event) -> None:
    """Say what to do next, once all is there."""
    await ready.wait()
    client = cli.own_client()
    if cli.json:
        dump({"url": client.url, "data_dir": str(cli.data_dir), "version": __version__})
    try:
        link = await asyncio.to_thread(first_link, client)
    except BackstayError as error:
        say(f"  No link could be made: {error} `backstay login` makes one.", err=True)
        return
    if link:
        say(f"\n  Sign in to the console: {link['url']}   (once)", err=True)
    hint('backstay ask "…"', "backstay keys create --name NAME", "backstay login", "Ctrl-C stops")


def banner() -> None:
    say(f"Backstay {__version__} · everything around the model, on this machine\n", err=True)
