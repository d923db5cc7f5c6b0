"""Owns ``backstay drill``: how an outage that was played on purpose is told in a terminal."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backstay.cli.context import Cli, command
from backstay.cli.exits import FAILED, OK
from backstay.cli.output import dump, hint, paint, printable, say, table
from backstay.core.errors import BackstayError, ConfigError

if TYPE_CHECKING:
    from backstay.drills import Drilled, Scenario


@click.command()
@click.argument("name")
@click.option("--quick", is_flag=True, help="A few seconds only, for CI; recovery is not judged.")
@click.option("--compare", is_flag=True, help="Play the same on the bare OpenAI SDK, and on LiteLLM if installed.")
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="Write a page with plots to this file.")
@click.option("--live", metavar="MODEL", help="Drill this model of the running server instead of a private one.")
@click.option(
    "--simulator", "simulators", metavar="TARGET=URL", multiple=True,
    help="With --live: the `backstay simulate` that a target of the model is; once for each.",
)  # fmt: skip
@command
def drill(
    cli: Cli, name: str, quick: bool, compare: bool, report: Path | None, live: str | None, simulators: tuple[str, ...]
) -> None:
    """Play an outage on purpose and judge how it was ridden out; `backstay drill list` names those that there are."""
    from backstay.drills import document, find_scenario, write_report

    if name == "list":
        _list(cli)
        return
    scenario = find_scenario(name)
    drilled = asyncio.run(_play(cli, scenario.shortened() if quick else scenario, live, simulators, compare=compare))
    if report is not None:
        write_report(drilled, report)
    if cli.json:
        dump(document(drilled, str(report) if report else None))
    else:
        _print(drilled, report)
    sys.exit(OK if drilled.passed else FAILED)


async def _play(
    cli: Cli, scenario: "Scenario", live: str | None, simulators: tuple[str, ...], *, compare: bool
) -> "Drilled":
    from backstay.drills import Live, drill_live, drill_private

    make_peers = None
    if compare:
        try:
            from backstay.drills.peers import peers as make_peers
        except ImportError as error:
            raise BackstayError("--compare calls through the official SDK: `pip install openai`.") from error
    if live is None and simulators:
        raise ConfigError("--simulator names the targets of a model that runs: say which with --live MODEL.")
    if live is None:
        return await drill_private(scenario, tell=_tell, make_peers=make_peers)
    client = cli.client()
    known = dict(_parts(each) for each in simulators)
    running = Live(url=client.url, headers=client.headers, model=live, simulators=known)
    return await drill_live(scenario, running, tell=_tell, make_peers=make_peers)


def _parts(simulator: str) -> tuple[str, str]:
    target, _, url = simulator.partition("=")
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"{simulator!r} is not TARGET=URL, such as acme/gpt-4o-mini=http://127.0.0.1:8499.")
    return target, url


def _tell(what: str) -> None:
    say(paint(f"  {what} …", "dim", sys.stderr), err=True)


def _list(cli: Cli) -> None:
    from backstay.drills import built_in

    scenarios = built_in()
    if cli.json:
        rows = [{"name": name, "title": each.title, "seconds": each.seconds} for name, each in scenarios.items()]
        dump({"drills": rows})
        return
    table(
        ["drill", "seconds", "what happens"],
        [[name, f"{each.seconds:g}", each.title] for name, each in scenarios.items()],
        right=["seconds"],
    )
    hint("backstay drill provider-down", "backstay drill FILE.toml")


def _print(drilled: "Drilled", report: Path | None) -> None:
    from backstay.drills import timeline
    from backstay.drills.words import check_words, milliseconds, ratio, share

    lines = timeline(drilled)
    width = max(len(line.what) for line in lines) + 3
    for line in lines:
        note = line.note
        if line.figures is not None:
            figures = line.figures
            rate = f"{figures.calls / line.seconds:.0f} calls/s"
            good = "" if figures.ok == figures.calls else f"   {share(figures.success_rate)} succeeded"
            note = f"{rate:>12}   p50 {milliseconds(figures.p50_ms):>8}   p99 {milliseconds(figures.p99_ms):>8}{good}"
        say(f"{line.at_s:>5.1f} s   {line.what:<{width}}{note}".rstrip())
    for check in drilled.checks:
        if not check.passed:
            what, found, limit = check_words(check)
            of = f"{check.stretch}: " if check.stretch else ""
            say(f"{paint('fail', 'wrong')}     {of}{what} {found}, {limit}")
    for reason, number in drilled.backstay.whole.reasons.items():
        say(paint(f"{number:>7}   {printable(reason)}", "dim"))
    _print_verdict(drilled)
    for peer in drilled.peers:
        whole = peer.whole
        times = ratio(whole.upstream_calls, whole.calls)
        say(f"{peer.name:<8} {share(whole.success_rate)} succeeded · {times} calls · p99 {milliseconds(whole.p99_ms)}")
    if report is not None:
        say(f"report   {report}")
    hint("backstay drill list", f"backstay drill {drilled.scenario.name} --compare --report drill.html")


def _print_verdict(drilled: "Drilled") -> None:
    from backstay.drills import document
    from backstay.drills.words import cost

    told = document(drilled)
    verdict = paint("pass", "good") if drilled.passed else paint("fail", "wrong")
    parts = [
        f"callers saw {told['calls'] - told['succeeded']:,} of {told['calls']:,} fail",
        f"{abs(told['extra_calls']):,} {'fewer' if told['extra_calls'] < 0 else 'extra'} upstream calls",
    ]
    if told["outage_cost_usd"] is not None:
        parts.append(f"{cost(told['outage_cost_usd'])} more")
    if told["recovery_s"] is not None:
        parts.append(f"recovered in {told['recovery_s']:g} s")
    if told["breaker_openings"] is not None:
        parts.append(f"breakers opened {told['breaker_openings']} ×")
    say(f"verdict  {verdict}   {' · '.join(parts)}")
