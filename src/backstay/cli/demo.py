"""Owns ``backstay demo``: everything started here, three real calls, what they left, and the lines to go on with."""

import asyncio
import os
import shutil
import sys
import textwrap
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backstay.cli.board import Board
from backstay.cli.books import recorded_call
from backstay.cli.context import Cli, command
from backstay.cli.http import Client
from backstay.cli.output import dump, money, paint, printable, say
from backstay.cli.serve import banner
from backstay.cli.signin import FIRST_ADMIN, sign_in_link
from backstay.core.errors import BackstayError

if TYPE_CHECKING:
    from backstay.cli.demo_calls import Made
    from backstay.core.settings import Settings

NAME = "demo"
"""Of the key, and of the feature that the calls are attributed to."""


@click.command()
@click.option("--once", is_flag=True, help="End when the calls are in the books, instead of staying up.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one.  [default: 8400]")
@command
def demo(cli: Cli, once: bool, port: int | None) -> None:
    """Run everything here, make three real calls, and show what they left."""
    from backstay.core.settings import load_settings

    cli.data_dir = (cli.named_data_dir or Path(".backstay")).absolute()
    settings = load_settings(port=port, data_dir=cli.data_dir)
    sys.exit(asyncio.run(_run(cli, settings, once=once)))


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What the demo made and found."""

    url: str
    key: str
    sign_in: str
    calls: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


async def _run(cli: Cli, settings: "Settings", *, once: bool) -> int:
    from backstay.supervisor import supervise

    banner()
    ready, stop = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(supervise(settings, Board(ready.set).tell, stop=stop))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    try:
        if not running.done():
            await asyncio.to_thread(_show, cli)
        if once:
            stop.set()
        return await running
    finally:
        stop.set()
        await asyncio.wait((running,))


def _show(cli: Cli) -> None:
    """Make the calls, see that each is in the books, and print what can be done next.

    Raises:
        BackstayError: A call failed, or its trace or cost did not arrive.
    """
    try:
        from backstay.cli.demo_calls import make_calls
    except ImportError as error:
        raise BackstayError("The demo calls with the official SDKs: `pip install openai anthropic`.") from error

    client = cli.own_client()
    shown = Shown(url=client.url, key=_key(client), sign_in=sign_in_link(client, FIRST_ADMIN)["url"])
    say("\nThree calls, made with the official SDKs:", err=cli.json)
    for made in make_calls(client.url, shown.key):
        call = _in_the_books(client, made.trace_id)
        link = f"{client.url}/traces/{made.trace_id}"
        shown.calls.append({**asdict(made), **call, "trace_url": link})
        _print_call(made, call, link, err=cli.json)
    _print_total(client.get("/v1/costs", {"by": "feature"}), len(shown.calls), err=cli.json)
    _print_lines(shown, err=cli.json)
    if cli.json:
        dump(asdict(shown))


def _key(client: Client) -> str:
    """Make the key ``demo``; if there is one, its text is gone: rotate it, and the old one works for a while longer."""
    for key in client.get("/v1/keys")["keys"]:
        if key["name"] == NAME and key["status"] == "live" and key["replaced_by"] is None:
            return client.post(f"/v1/keys/{key['id']}/rotate")["key"]
    return client.post("/v1/keys", {"name": NAME})["key"]


def _in_the_books(client: Client, trace_id: str) -> dict[str, Any]:
    call = recorded_call(client, trace_id)
    if call is None or call["status"] != "ok" or call["cost_usd"] is None:
        raise BackstayError(f"The call {trace_id} is not in the books as it should be. The log above may say why.")
    return {name: call[name] for name in ("input_tokens", "output_tokens", "cost_usd")}


def _print_call(made: "Made", call: dict[str, Any], link: str, *, err: bool) -> None:
    figures = f"{call['output_tokens']:>4} tokens   {made.seconds:.2f} s   {money(call['cost_usd'])}"
    say(f"  {made.sdk:<17} {made.question:<31} {figures}   trace {made.trace_id[:8]}", err=err)
    width = max(40, shutil.get_terminal_size().columns - 24)
    for line in textwrap.wrap(printable(" ".join(made.answer.split())), width):
        say(f"  {'':<17} {line}", err=err)
    say(f"  {'':<17} {paint(link, 'dim', sys.stderr if err else sys.stdout)}", err=err)


def _print_total(report: dict[str, Any], calls: int, *, err: bool) -> None:
    """Print what the ledger says of the demo's calls, this start's and earlier ones'."""
    row = next((row for row in report["rows"] if row["feature"] == NAME), None)
    if row is None or row["calls"] < calls:
        raise BackstayError("The calls are not in the ledger as they should be. The log above may say why.")
    tokens = row["input_tokens"] + row["output_tokens"]
    say(
        f"  {'in the ledger':<17} feature {NAME}: {row['calls']} calls, {tokens} tokens, {money(row['cost_usd'])}",
        err=err,
    )


def _print_lines(shown: Shown, *, err: bool) -> None:
    me, hello = _own_name(), '[{"role": "user", "content": "Hello"}]'
    text = f"""
        Yours to try (the key is shown this once):
          curl {shown.url}/v1/chat/completions -H "authorization: Bearer {shown.key}" \\
            -H "content-type: application/json" -d '{{"model": "local", "messages": {hello}}}'

          from openai import OpenAI
          client = OpenAI(base_url="{shown.url}/v1", api_key="{shown.key}")
          print(client.chat.completions.create(model="local", messages={hello}).choices[0].message.content)

          from anthropic import Anthropic
          client = Anthropic(base_url="{shown.url}", api_key="{shown.key}")
          print(client.messages.create(model="local", max_tokens=64, messages={hello}).content[0].text)

          {me} ask "…"     {me} traces     {me} costs --by feature     Ctrl-C stops
          Sign in to the console: {shown.sign_in}   (once)
        """
    say(textwrap.dedent(text), err=err)


def _own_name() -> str:
    """Write how this program can be run from here: by its name, or by its path where the shell does not find it."""
    path = sys.argv[0]
    return "backstay" if shutil.which("backstay") else min(path, os.path.relpath(path), key=len)
