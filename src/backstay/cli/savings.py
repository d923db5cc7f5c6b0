"""Owns ``backstay costs what-if`` and ``backstay costs savings``: what past calls would have cost otherwise."""

import click

from backstay.cli.context import Cli, command
from backstay.cli.output import count, dump, money, printable, say, table

_READING_S = 150.0
_SCENARIOS = {"standard": "as they are", "batch": "in batches", "prompt_cache": "with cached prompts"}


@click.command("what-if")
@click.option("--model", required=True, help="Whose traffic: a model or a target.")
@click.option("--to", help="At whose prices: a model or a target.  [default: the same]")
@click.option("--since", default="30d", show_default=True, help="15m, 24h, 7d, a date, or an RFC 3339 time.")
@click.option("--until", help="The same, as the end.  [default: now]")
@command
def what_if(cli: Cli, model: str, to: str | None, since: str, until: str | None) -> None:
    """Price past calls at another model's prices, in batches, with cached prompts."""
    query = {"model": model, "to": to, "since": since, "until": until}
    answer = cli.client().get("/v1/costs/what-if", query, timeout_s=_READING_S)
    if cli.json:
        dump(answer)
        return
    rows = [["did cost", money(answer["cost_usd"]), ""]]
    for scenario in answer["scenarios"]:
        name = f"{answer['target']} {_SCENARIOS[scenario['name']]}"
        rows.append([printable(name), money(scenario["cost_usd"]), scenario["difference_usd"] or ""])
    table(["calls", "cost", "difference"], rows, right=["cost", "difference"])
    say(f"\n{count(answer['attempts'])} attempts. {answer['note']}")
    if answer["unknown_usage_attempts"]:
        say(f"Left out, as what they used is unknown: {count(answer['unknown_usage_attempts'])}.")
    if answer["unknown_cost_attempts"]:
        say(f"Without a known cost, hence no difference: {count(answer['unknown_cost_attempts'])}.")
    if answer["prompt_cache_is_partial"]:
        say("Prompts of the newest calls alone were looked through.")


@click.command()
@click.option("--since", default="7d", show_default=True, help="15m, 24h, 7d, a date, or an RFC 3339 time.")
@click.option("--until", help="The same, as the end.  [default: now]")
@command
def savings(cli: Cli, since: str, until: str | None) -> None:
    """List what could have been saved, the largest first."""
    answer = cli.client().get("/v1/costs/savings", {"since": since, "until": until}, timeout_s=_READING_S)
    if cli.json:
        dump(answer)
        return
    if not answer["savings"]:
        say(f"Nothing found in {count(answer['read_calls'])} calls.")
        return
    rows = [
        [money(row["amount_usd"]), row["kind"], printable(row["model"]), printable(row["feature"] or "—"),
         count(row["calls"]), row["trace_id"][:8]]
        for row in answer["savings"]
    ]  # fmt: skip
    table(["saves", "by", "model", "feature", "calls", "trace"], rows, right=["saves", "calls"])
    say("")
    for kind, advice in {row["kind"]: row["advice"] for row in answer["savings"]}.items():
        say(f"{kind}: {advice}")
    if answer["is_partial"]:
        say(f"Found in the newest {count(answer['read_calls'])} calls; there are more.")
