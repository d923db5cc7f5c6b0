"""Owns ``backstay traces``: what was asked and answered."""

import json
import shutil
import textwrap
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote

import click

from backstay.cli import draw
from backstay.cli.context import Cli, command
from backstay.cli.http import events
from backstay.cli.output import count, dump, duration, hint, local_time, money, paint, printable, say, table

HEAD = ["at", "trace", "model", "status", "input", "output", "took", "cost", "user", "feature"]
LONGEST_TEXT = 12
"""Lines of each message that are shown; `--json` has all."""
FIGURES = ["input", "output", "took", "cost"]
_ROLES = {"ok": "good", "cancelled": "waiting", "interrupted": "waiting", "error": "wrong"}

F = TypeVar("F", bound=Callable[..., Any])


def filters(function: F) -> F:
    """Give a command the filters of calls."""
    for option in reversed(
        (
            click.option(
                "--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="At most so many."
            ),
            click.option("--since", help="15m, 24h, 7d or an RFC 3339 time."),
            click.option("--before", metavar="CURSOR", help="Go on where a list ended."),
            click.option("--model", help="Calls of this model."),
            click.option("--user", help="Calls for this user."),
            click.option("--feature", help="Calls of this feature."),
            click.option("--tag", help="Calls with this tag."),
            click.option("--key", metavar="ID", help="Calls made with this key."),
            click.option("--batch", metavar="ID", help="Calls made for this batch's lines."),
            click.option("--status", type=click.Choice(list(_ROLES)), help="Calls that ended so."),
            click.option("--q", metavar="TEXT", help="Calls whose messages or errors contain this."),
        )
    ):
        function = option(function)
    return function


@click.group(invoke_without_command=True)
@filters
@command
def traces(cli: Cli, **query: Any) -> None:
    """List calls, newest first; show one; follow them."""
    if click.get_current_context().invoked_subcommand is None:
        _list(cli, query)


@traces.command("list")
@filters
@command
def list_traces(cli: Cli, **query: Any) -> None:
    """List calls, newest first."""
    _list(cli, query)


@traces.command()
@click.argument("trace_id", metavar="ID")
@command
def show(cli: Cli, trace_id: str) -> None:
    """Draw one trace; the first 8 characters of its id are enough."""
    trace = cli.client().get(f"/v1/traces/{quote(trace_id, safe='')}")
    if cli.json:
        dump(trace)
        return
    say(f"trace {trace['trace_id']}\n")
    _draw(trace["spans"])
    for span in trace["spans"]:
        for role, text in draw.conversation(span):
            say(f"\n{paint(role, 'dim')}")
            say(textwrap.fill(text, max(40, shutil.get_terminal_size().columns - 2), max_lines=LONGEST_TEXT))
    hint(f"backstay traces show {trace['trace_id'][:8]} --json", "backstay traces")


def _draw(spans: list[draw.Span]) -> None:
    drawn = draw.rows(spans, max(10, min(40, shutil.get_terminal_size().columns - 70)))
    widths = [max(len(row[column]) for row in drawn) for column in range(3)]
    for row in drawn:
        status = paint(row.status.ljust(widths[1]), _ROLES[row.status])
        name, took = row.name.ljust(widths[0]), row.took.rjust(widths[2])
        say(f"{name}  {status}  {took}  {paint(row.bar, 'accent')}  {row.note}".rstrip())


@traces.command()
@command
def tail(cli: Cli) -> None:
    """Follow calls as they end, until Ctrl-C. With --json: one document a line."""
    with cli.client().open("GET", "/v1/traces/tail", timeout_s=3600) as response:
        for event in events(response):
            call = json.loads(event)
            if cli.json:
                say(json.dumps(call, ensure_ascii=False))
            else:
                say("  ".join(cell for cell in _row(call) if cell))


def _list(cli: Cli, query: dict[str, Any]) -> None:
    answer = cli.client().get("/v1/traces", query)
    if cli.json:
        dump(answer)
        return
    if not answer["traces"]:
        say('No calls here yet. `backstay ask "…"` makes one.', err=True)
        return
    table(HEAD, [_row(call) for call in answer["traces"]], right=FIGURES)
    more = [f"backstay traces list --before {answer['next']}"] if answer.get("next") else []
    hint(f"backstay traces show {answer['traces'][0]['trace_id'][:8]}", "backstay traces tail", *more)


def _row(call: dict[str, Any]) -> list[str]:
    return [
        local_time(call["started_at"]), call["trace_id"][:8], printable(call["model"] or "—"), call["status"],
        count(call["input_tokens"]), count(call["output_tokens"]), duration(call["duration_ms"]),
        money(call["cost_usd"]), printable(call["user"] or ""), printable(call["feature"] or ""),
    ]  # fmt: skip
