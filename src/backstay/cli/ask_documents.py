"""Owns ``backstay ask --collection``: one question to documents, its citations under the answer."""

import json
import sys
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import click

from backstay.cli.context import Cli
from backstay.cli.http import Client, ServerError, events
from backstay.cli.output import dump, money, paint, printable, say

LONGEST_S = 600.0
_LONGEST_QUOTE = 100


def ask_documents(
    cli: Cli, question: str, *, collection: str, principals: Sequence[str], feature: str | None, stream: bool
) -> None:
    """Ask, print the answer as it is written, and list what supports it."""
    place = f"/v1/collections/{quote(collection)}/answer"
    body: dict[str, Any] = {"question": question, "stream": stream and not cli.json}
    if principals:
        body["principals"] = list(principals)
    headers = {"x-backstay-feature": feature} if feature else {}
    client, began = cli.client(), time.monotonic()
    if not body["stream"]:
        with client.open("POST", place, body=body, headers=headers, timeout_s=LONGEST_S) as response:
            told: dict[str, Any] = json.load(response)
    else:
        told = _print_stream(client, place, body, headers)
    if cli.json:
        dump({**told, "seconds": round(time.monotonic() - began, 3)})
        return
    if not body["stream"]:
        say(_printable_lines(told["answer"]))
    _print_citations(told)
    trace = f"trace {told['trace_id'][:8]}" if told["trace_id"] else "no model was asked"
    figures = f"{time.monotonic() - began:.2f} s   {money(told['cost_usd'])}   {trace}"
    say(paint(figures, "dim", sys.stderr), err=True)


def _print_stream(client: Client, place: str, body: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
    with client.open("POST", place, body=body, headers=headers, timeout_s=LONGEST_S) as response:
        has_text = False
        for event in events(response):
            told = json.loads(event)
            match told.get("type"):
                case "text":
                    click.echo(_printable_lines(told["text"]), nl=False)
                    has_text = True
                case "result":
                    # What was written meanwhile may not be the answer in the end.
                    if not has_text or told["result"]["abstained"]:
                        if has_text:
                            say("\n" + paint("Nothing of that is supported by the documents.", "waiting"))
                        say(_printable_lines(told["result"]["answer"]))
                    else:
                        say()
                    return told["result"]
                case "sentence":
                    pass
                case _:
                    say()
                    raise ServerError(told["detail"], status=told["status"], code=told["code"])
    raise ServerError("The answer broke off.", status=502, code="unknown")


def _print_citations(told: dict[str, Any]) -> None:
    if told["abstained"]:
        return
    say()
    for number, sentence in enumerate(told["sentences"], 1):
        if not sentence["supported"]:
            say(f"{number}  {paint('unsupported', 'waiting')}  {_short(sentence['text'])}")
        for citation in sentence["citations"]:
            page = f", page {citation['page']}" if citation.get("page") else ""
            where = f"{printable(citation['external_id'])}{page}, {citation['start']}–{citation['end']}"
            say(f"{number}  {paint(where, 'accent')}  “{_short(citation['quote'])}”")


def _short(text: str) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= _LONGEST_QUOTE else line[: _LONGEST_QUOTE - 1] + "…"


def _printable_lines(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))
