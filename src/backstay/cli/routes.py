"""Owns ``backstay routes``: where calls go, which target is ill, and taking one out of use."""

from typing import Any
from urllib.parse import quote

import click

from backstay.cli.context import Cli, command
from backstay.cli.output import dump, duration, hint, local_time, say, table

_HEAD = ["target", "models", "state", "since", "errors", "first token p50", "p95", "in flight", "traffic", "last error"]
_RIGHT = ["errors", "first token p50", "p95", "in flight", "traffic"]
_WORDS = {
    "drained": "out of use",
    "open": "left alone",
    "checking": "being checked",
    "limited": "rate limit used up",
    "busy": "full",
    "ready": "in use",
    "unknown": "not asked yet",
}


@click.group(invoke_without_command=True)
@command
def routes(cli: Cli) -> None:
    """Show where calls go and how the targets stand; take one out of use."""
    if click.get_current_context().invoked_subcommand is None:
        _list(cli)


@routes.command("list")
@command
def list_routes(cli: Cli) -> None:
    """List the targets, and how each stands over all workers."""
    _list(cli)


@routes.command()
@click.argument("target")
@command
def drain(cli: Cli, target: str) -> None:
    """Send no more calls to TARGET; those under way end as they would have."""
    answer = cli.client().post(f"/v1/routes/{quote(target)}/drain")
    if cli.json:
        dump(answer)
        return
    say(f"{target} is out of use for all workers within a second. Calls under way end as they would have.")
    hint(f"backstay routes undrain {target}")


@routes.command()
@click.argument("target")
@command
def undrain(cli: Cli, target: str) -> None:
    """Put TARGET in use again."""
    answer = cli.client().post(f"/v1/routes/{quote(target)}/undrain")
    if cli.json:
        dump(answer)
        return
    say(f"{target} is in use again.")


def _list(cli: Cli) -> None:
    answer = cli.client().get("/v1/routes")
    if cli.json:
        dump(answer)
        return
    if not answer["targets"]:
        say("No model has a target. Name one in backstay.toml.", err=True)
        return
    table(_HEAD, [_row(target) for target in answer["targets"]], right=_RIGHT)
    hint("backstay routes drain TARGET", "backstay traces")


def _row(target: dict[str, Any]) -> list[str]:
    drained, error = target["drained"], target["last_error"]
    state = str(_WORDS.get(target["standing"], target["standing"]))
    if target["problem"] and not target["workers"]:
        state = str(target["problem"])
    limit = target["concurrency_limit"]
    return [
        target["name"],
        ", ".join(target["models"]),
        state,
        local_time(drained["at"] if drained else target["ill_since"]),
        _percent(target["error_share"]),
        duration(target["first_token_p50_ms"]),
        duration(target["first_token_p95_ms"]),
        "" if target["in_flight"] is None else str(target["in_flight"]) + (f" of {limit}" if limit else ""),
        _percent(target["traffic_share"]),
        "" if error is None else " ".join(filter(None, (_status(error), error["fault"], local_time(error["at"])))),
    ]


def _status(error: dict[str, Any]) -> str:
    return str(error["http_status"] or "")


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.3g} %"
