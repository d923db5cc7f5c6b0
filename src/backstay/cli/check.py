"""Owns ``backstay check``: says what ``serve`` would say of settings and policy, without starting anything."""

import os
import sys
from pathlib import Path

import click

from backstay.cli.context import Cli, command
from backstay.cli.exits import CONFIG
from backstay.cli.output import dump, paint, say
from backstay.core.errors import ConfigError


@click.command()
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="The policy.  [default: backstay.toml]")
@click.option("--schema", is_flag=True, help="Print the JSON schema of backstay.toml instead, for editors.")
@command
def check(cli: Cli, config: Path | None, schema: bool) -> None:
    """Check settings and backstay.toml without starting anything."""
    from backstay.core.settings import load_settings
    from backstay.policy import load_policy, policy_schema

    if schema:
        dump(policy_schema())
        return
    try:
        settings = load_settings(config=config, data_dir=cli.data_dir)
        policy = load_policy(settings.config, os.environ)
    except ConfigError as error:
        if cli.json:
            dump({"ok": False, "file": error.file, "line": error.line, "reason": error.message})
        say(f"{paint('wrong', 'wrong', sys.stderr)}  {error}", err=True)
        sys.exit(CONFIG)
    if cli.json:
        dump({"ok": True, "models": sorted(policy.models), "providers": sorted(policy.providers)})
    else:
        say(f"{paint('right', 'good')}  models {', '.join(policy.models)}; providers {', '.join(policy.providers)}")
