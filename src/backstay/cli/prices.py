"""Owns ``backstay prices``: what models cost, what differs, and putting a newer public list in force."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backstay.cli.context import Cli, command
from backstay.cli.output import dump, hint, say, table
from backstay.core.errors import ConfigError, NotFound

if TYPE_CHECKING:
    from backstay.ledger.price_changes import PriceChange
    from backstay.live_policy import LivePolicy

_config = click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), help="The policy.  [default: backstay.toml]"
)
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.group()
def prices() -> None:
    """Show what models cost, compare price lists, and put a newer one in force."""


@prices.command()
@click.argument("name", required=False)
@_config
@command
def show(cli: Cli, name: str | None, config: Path | None) -> None:
    """Show today's prices of NAME: a model of the policy, a target, or a provider and model of the public list."""
    policy = _policy(cli, config)
    found = [{"name": each, **(described or _UNKNOWN)} for each, described in _described(policy, name).items()]
    if cli.json:
        dump({"prices": found})
        return
    rows = [row for price in found for row in _rows(price)]
    table(["target", "unit", "USD per million", "source", "since"], rows, right=["USD per million"])
    hint("backstay prices diff", "prices of your own are in backstay.toml")


@prices.command()
@click.argument("file", required=False, type=_FILE)
@_config
@command
def diff(cli: Cli, file: Path | None, config: Path | None) -> None:
    """Show where the policy's own prices differ from the public ones, or what FILE changes of those.

    FILE is a data file of genai-prices.
    """
    from backstay.ledger.price_changes import ListChanges, compare_lists
    from backstay.ledger.price_list import list_in_force, read_list

    if file is None:
        changes = ListChanges(tuple(_own_changes(_policy(cli, config))), (), ())
        before, after = "public list", "backstay.toml"
    else:
        now = datetime.now(UTC)
        old, new = list_in_force(cli.data_dir), read_list(file.read_bytes(), now.date(), file)
        changes = compare_lists(old, new, now)
        before, after = old.name, str(file)
    if cli.json:
        changed = [change._asdict() for change in changes.changed]
        dump({"before": before, "after": after, "changed": changed, "added": changes.added, "removed": changes.removed})
        return
    _tell(changes.changed, before, after)
    for word, models in (("new", changes.added), ("gone", changes.removed)):
        if models:
            say(f"{word}: {', '.join(models)}")


@prices.command()
@click.argument("file", required=False, type=_FILE)
@click.option("--dated", type=click.DateTime(["%Y-%m-%d"]), help="The list's date, for the ledger.  [default: today]")
@click.option("--revert", is_flag=True, help="Return to the list of the installed genai-prices.")
@command
def update(cli: Cli, file: Path | None, dated: datetime | None, revert: bool) -> None:
    """Put FILE, a data file of genai-prices, in force as the public list, on all workers of this machine."""
    from backstay.data_folder import write_private
    from backstay.ledger.price_list import KEPT_AS, installed_list, kept_form, read_list

    if (file is None) == (not revert):
        raise click.UsageError("Name a data file of genai-prices, or --revert.")
    if not cli.data_dir.is_dir():
        raise ConfigError(
            "there is no such data folder. Name the installation's with --data-dir.", file=str(cli.data_dir)
        )
    kept = cli.data_dir / KEPT_AS
    if file is None:
        kept.unlink(missing_ok=True)
        listed = installed_list()
    else:
        day = (dated or datetime.now(UTC)).date()
        data = file.read_bytes()
        listed = read_list(data, day, file)
        write_private(kept, kept_form(data, day))
    models = sum(1 for _ in listed.models())
    if cli.json:
        dump({"list": listed.name, "models": models})
    else:
        say(f"{listed.name}, {models:,} models: in force on all workers within two seconds.")


_UNKNOWN: Mapping[str, Any] = {"usd_per_million": None, "tiers": [], "source": None, "since": None}


def _policy(cli: Cli, config: Path | None) -> "LivePolicy":
    from backstay.core.settings import load_settings
    from backstay.live_policy import LivePolicy

    settings = load_settings(config=config, data_dir=cli.data_dir)

    async def load() -> LivePolicy:
        policy = LivePolicy(settings.config, os.environ, settings.data_dir)
        try:
            policy.load()
        finally:
            await policy.close()
        return policy

    return asyncio.run(load())


def _described(policy: "LivePolicy", name: str | None) -> dict[str, dict[str, Any] | None]:
    """Describe the prices of the targets that a name stands for; of all models where there is none."""
    models = [model for model in policy.models if name in (None, model.name)]
    targets = [target for model in models for target in model.all_targets]
    if name is not None and not models:
        targets = [target] if (target := policy.models.target(name)) is not None else []
    if targets or name is None:
        return {
            target.name: policy.prices.describe(
                target.price_provider, target.price_model, target=target.name, is_free=target.is_free
            )
            for target in targets
        }
    provider, _, model_id = name.partition("/")
    described = policy.prices.describe(provider, model_id)
    if described is None:
        raise NotFound(f"Nothing is known by the name {name!r}: no model or target of the policy, nor a listed model.")
    return {name: described}


def _own_changes(policy: "LivePolicy") -> list["PriceChange"]:
    from backstay.ledger import PriceBook
    from backstay.ledger.price_changes import compare

    public = PriceBook(price_list=policy.prices.price_list)
    changes: list[PriceChange] = []
    for name in policy.file.prices:
        provider, _, model_id = name.partition("/")
        target = policy.models.target(name)
        if target is not None:
            provider, model_id = target.price_provider or "", target.price_model
        own = policy.prices.describe(provider, model_id, target=name)
        changes += compare(name, public.describe(provider, model_id), own)
    return changes


def _rows(price: Mapping[str, Any]) -> list[list[str]]:
    """Write one price as rows, of which the first names it."""
    if price["usd_per_million"] is None:
        return [[price["name"], "", "unknown", "", ""]]
    units = list(price["usd_per_million"].items())
    for tier in price["tiers"]:
        units += [
            (f"{unit} above {tier['above_input_tokens']:,}", usd) for unit, usd in tier["usd_per_million"].items()
        ]
    first = [price["source"], price["since"] or ""]
    return [
        [price["name"] if place == 0 else "", unit, usd, *(first if place == 0 else ("", ""))]
        for place, (unit, usd) in enumerate(units or [("", "free")])
    ]


def _tell(changes: Sequence["PriceChange"], before: str, after: str) -> None:
    if not changes:
        say("No price differs.")
        return
    rows = [[change.model, change.unit, change.before or "none", change.after or "none"] for change in changes]
    table(["model", "unit", before, after], rows, right=[before, after])
