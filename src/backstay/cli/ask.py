"""Owns ``backstay ask``: one question to a model, from a terminal."""

import json
import sys
import time
from collections.abc import Iterator
from http.client import HTTPResponse
from typing import Any

import click

from backstay.cli.books import recorded_call
from backstay.cli.context import Cli, command
from backstay.cli.http import ServerError, events
from backstay.cli.output import dump, money, paint, say

PATH = "/v1/chat/completions"
LONGEST_S = 600.0


@click.command()
@click.argument("question")
@click.option("--model", default="local", show_default=True, help="The model to ask; `backstay models` lists them.")
@click.option("--system", help="What the model is told first.")
@click.option("--user", help="Whom the call is attributed to.")
@click.option("--feature", help="What the call is attributed to.")
@click.option("--stream/--no-stream", default=True, show_default=True, help="Print the answer while it is written.")
@command
def ask(cli: Cli, question: str, stream: bool, **about: str | None) -> None:
    """Ask a model a question; `-` reads it from standard input."""
    stream = stream and not cli.json
    body, headers = _request(question, stream=stream, **about)
    client, began = cli.client(), time.monotonic()
    with client.open("POST", PATH, body=body, headers=headers, timeout_s=LONGEST_S) as response:
        text, usage = _print_stream(response) if stream else _read(response)
        seconds = time.monotonic() - began
        trace_id, cost = response.headers["x-backstay-trace-id"], response.headers["x-backstay-cost-usd"]
    if stream:
        recorded = recorded_call(client, trace_id)
        cost = recorded["cost_usd"] if recorded else None  # not known yet: the books are late while Postgres is away
    if cli.json:
        figures = {"trace_id": trace_id, "cost_usd": cost, "seconds": round(seconds, 3), **usage}
        dump({"answer": text, "model": body["model"], **figures})
        return
    if not stream:
        say(text)
    tokens = f"{usage['input_tokens']} → {usage['output_tokens']} tokens"
    say(paint(f"{tokens}   {seconds:.2f} s   {money(cost)}   trace {trace_id[:8]}", "dim", sys.stderr), err=True)


def _request(
    question: str, *, stream: bool, model: str | None, system: str | None, user: str | None, feature: str | None
) -> tuple[dict[str, Any], dict[str, str]]:
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": sys.stdin.read() if question == "-" else question})
    body: dict[str, Any] = {"model": model, "messages": messages}
    if user:
        body["user"] = user
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body, {"x-backstay-feature": feature} if feature else {}


def _read(response: HTTPResponse) -> tuple[str, dict[str, Any]]:
    answer = json.loads(response.read())
    return answer["choices"][0]["message"]["content"] or "", _usage(answer.get("usage"))


def _print_stream(response: HTTPResponse) -> tuple[str, dict[str, Any]]:
    usage: dict[str, Any] | None = None
    pieces: list[str] = []
    for chunk in _chunks(response):
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            piece = choice["delta"].get("content") or ""
            pieces.append(piece)
            click.echo(piece, nl=False)
    say()
    return "".join(pieces), _usage(usage)


def _chunks(response: HTTPResponse) -> Iterator[dict[str, Any]]:
    for event in events(response):
        if event == "[DONE]":
            return
        chunk = json.loads(event)
        if "error" in chunk:
            raise ServerError(chunk["error"]["message"], status=502, code=chunk["error"].get("code") or "unknown")
        yield chunk


def _usage(usage: dict[str, Any] | None) -> dict[str, Any]:
    usage = usage or {}
    return {"input_tokens": usage.get("prompt_tokens"), "output_tokens": usage.get("completion_tokens")}
