"""Owns ``backstay alerts``: what somebody should know of, and whether those who should be told can be."""

from typing import Any
from urllib.parse import quote

import click

from backstay.cli.context import Cli, command
from backstay.cli.output import dump, hint, local_time, printable, say, table


@click.group()
def alerts() -> None:
    """See what somebody should know of, say that it is looked after, and try who is told."""


@alerts.command("list")
@click.option("--state", type=click.Choice(["open", "resolved", "all"]), default="open", show_default=True,
              help="Which alerts.")  # fmt: skip
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="How many.")
@command
def list_alerts(cli: Cli, state: str, limit: int) -> None:
    """List alerts, the newest first."""
    answer = cli.client().get("/v1/alerts", {"state": state, "limit": limit})
    if cli.json:
        dump(answer)
        return
    if not answer["alerts"]:
        say("Nothing is open." if state == "open" else "No alerts.", err=True)
        return
    rows = [
        [each["id"], each["severity"], each["title"], local_time(each["raised_at"]), _state(each)]
        for each in answer["alerts"]
    ]
    table(["id", "severity", "what", "raised", "state"], rows)
    hint("backstay alerts show ID", "backstay alerts acknowledge ID")


@alerts.command()
@click.argument("alert_id", metavar="ID")
@command
def show(cli: Cli, alert_id: str) -> None:
    """Show an alert, and who was told of it."""
    _tell(cli, cli.client().get(f"/v1/alerts/{quote(alert_id)}"))


@alerts.command()
@click.argument("alert_id", metavar="ID")
@command
def acknowledge(cli: Cli, alert_id: str) -> None:
    """Say that you look after an alert."""
    _tell(cli, cli.client().post(f"/v1/alerts/{quote(alert_id)}/acknowledge"))


@alerts.command()
@click.argument("channel")
@command
def test(cli: Cli, channel: str) -> None:
    """Send a test message to a channel of backstay.toml, and say what came of it."""
    came = cli.client().post(f"/v1/alert-channels/{quote(channel)}/test")
    if cli.json:
        dump(came)
    elif came["delivered"]:
        say(f"{channel} has the message" + (f": it answered {came['status']}." if came["status"] else "."))
    else:
        say(f"{channel} does not have the message. {came['problem']}", err=True)
    if not came["delivered"]:
        raise SystemExit(1)


def _tell(cli: Cli, answer: dict[str, Any]) -> None:
    if cli.json:
        dump(answer)
        return
    alert = answer["alert"]
    say(printable(f"{alert['severity']}: {alert['title']}"))
    for line in alert["details"]:
        say(printable(f"  {line}"))
    facts = [
        ["about", alert["subject"]],
        ["raised", local_time(alert["raised_at"])],
        ["state", _state(alert)],
        *([["over", f"{local_time(alert['resolved_at'])}  {alert['resolution']}"]] if alert["resolved_at"] else []),
        *([["acknowledged", local_time(alert["acknowledged_at"])]] if alert["acknowledged_at"] else []),
    ]
    say()
    table(["what", "found"], facts)
    if answer["deliveries"]:
        say()
        rows = [
            [each["channel"], each["event"], each["state"], str(each["tries"]), each["error"] or ""]
            for each in answer["deliveries"]
        ]
        table(["told", "of", "state", "tries", "error"], rows, right=["tries"])


def _state(alert: dict[str, Any]) -> str:
    if alert["state"] == "open" and alert["acknowledged_by"]:
        return f"open, {alert['acknowledged_by']} looks after it"
    return alert["state"]
