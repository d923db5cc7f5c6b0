"""Owns ``backstay simulate``: the simulator as a server of its own, to drill outages with."""

import asyncio
import tomllib
from pathlib import Path
from typing import Any

import click

from backstay.cli.context import Cli, command
from backstay.cli.output import dump, say
from backstay.core.errors import ConfigError


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8499, show_default=True, help="Port to listen on.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed behaves the same again.")
@click.option("--script", type=click.Path(path_type=Path, dir_okay=False), help="How it behaves: a TOML file.")
@command
def simulate(cli: Cli, host: str, port: int, seed: int, script: Path | None) -> None:
    """Run a model provider that fails as told: delays, errors, rate limits, cut streams."""
    from backstay.providers.simulator_server import serve_simulator

    def on_ready(url: str) -> None:
        if cli.json:
            dump({"url": url, "seed": seed})
        else:
            paths = (
                "/v1/chat/completions, /v1/responses, /v1/messages, /v1/embeddings, /v1beta/models, /model/ID/converse"
            )
            say(f"The simulator answers at {url}: {paths}.", err=True)

    asyncio.run(serve_simulator(host=host, port=port, script=_read(script), seed=seed, on_ready=on_ready))


def _read(script: Path | None) -> dict[str, Any]:
    if script is None:
        return {}
    try:
        return tomllib.loads(script.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"it cannot be read: {error}.", file=str(script)) from error
