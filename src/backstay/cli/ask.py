"""Owns ``backstay ask``: one question to a model, or to documents, from a terminal."""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPResponse
from typing import Any

import click
from click.core import ParameterSource

from backstay.cli.ask_documents import ask_documents
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
@click.option("--collection", metavar="NAME", help="Ask the documents of a collection instead of a model.")
@click.option("--principal", "principals", multiple=True, help="For whom, with --collection; none: for everybody.")
@click.option("--stream/--no-stream", default=True, show_default=True, help="Print the answer while it is written.")
@command
def ask(
    cli: Cli, question: str, stream: bool, collection: str | None, principals: tuple[str, ...], **about: str | None
) -> None:
    """Ask a model or a collection of documents a question; `-` reads it from standard input."""
    question = sys.stdin.read() if question == "-" else question
    if collection is not None:
        _require_no_model(about)
        feature = about["feature"]
        ask_documents(cli, question, collection=collection, principals=principals, feature=feature, stream=stream)
        return
    if principals:
        raise click.UsageError("--principal goes with --collection.")
    _ask_model(cli, question, stream=stream and not cli.json, **about)


def _require_no_model(about: Mapping[str, str | None]) -> None:
    """Refuse what would be ignored: a collection has a model of its own."""
    source = click.get_current_context().get_parameter_source
    named = [name for name in ("model", "system", "user") if about[name] and source(name) != ParameterSource.DEFAULT]
    if named:
        raise click.UsageError(f"--{named[0]} does not go with --collection, which has a model of its own.")


def _ask_model(cli: Cli, question: str, *, stream: bool, **about: str | None) -> None:
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
    messages.append({"role": "user", "content": question})
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
