"""Owns what every command is given: where the server is, the credential, the tenant, and how to answer."""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, NoReturn, ParamSpec, TypeVar

import click
from click.core import ParameterSource

from backstay.cli.exits import exit_code
from backstay.cli.http import Client, ServerError, read_url
from backstay.cli.output import dump, paint
from backstay.core.errors import BackstayError
from backstay.core.places import default_data_dir
from backstay.data_folder import read_operator_token, running_server

DEFAULT_URL = "http://127.0.0.1:8400"

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Cli:
    """One invocation of a command."""

    def __init__(self, *, json: bool, url: str | None, data_dir: Path | None, tenant: str):
        self.json = json
        self.named_data_dir = data_dir
        self.data_dir = (data_dir or default_data_dir()).absolute()
        self._url = url
        self._tenant = tenant

    def client(self) -> Client:
        """Connect to the server that was named, or the one of the data folder, or the usual address."""
        server = None if self._url else running_server(self.data_dir)
        url = self._url or (server.url if server else DEFAULT_URL)
        return Client(url, token=self._credential(url), tenant=self._tenant)

    def own_client(self) -> Client:
        """Connect to the server that this process runs, as the operator, whatever the environment names."""
        server = running_server(self.data_dir)
        assert server is not None, "it is announced before anybody asks"
        return Client(server.url, token=read_operator_token(self.data_dir), tenant=self._tenant)

    def _credential(self, url: str) -> str | None:
        """Choose ``BACKSTAY_TOKEN``, else the data folder's own, which never leaves this machine."""
        named = os.environ.get("BACKSTAY_TOKEN", "").strip()  # of a file, its last line break would be included
        return named or (read_operator_token(self.data_dir) if is_loopback(url) else None)


def is_loopback(url: str) -> bool:
    host = read_url(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def command(function: Callable[Concatenate[Cli, P], R]) -> Callable[P, R]:
    """Give a command the options that all share, and turn errors into a sentence and an exit code."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document, for machines.")
    @click.option("--url", envvar="BACKSTAY_URL", metavar="URL", help=f"The server.  [default: {DEFAULT_URL}]")
    @click.option(
        "--data-dir", envvar="BACKSTAY_DATA_DIR", metavar="DIR", type=click.Path(path_type=Path, file_okay=False),
        help="The installation's data folder on this machine.",
    )  # fmt: skip
    @click.option(
        "--tenant", envvar="BACKSTAY_TENANT", metavar="NAME", default="default", show_default=True,
        help="The tenant to speak for; only the operator can choose.",
    )  # fmt: skip
    @functools.wraps(function)
    def run(
        as_json: bool, url: str | None, data_dir: Path | None, tenant: str, *args: P.args, **kwargs: P.kwargs
    ) -> R:  # fmt: skip
        cli = Cli(
            json=_given("as_json", as_json),
            url=_given("url", url),
            data_dir=_given("data_dir", data_dir),
            tenant=_given("tenant", tenant),
        )
        try:
            return function(cli, *args, **kwargs)
        except BackstayError as error:
            fail(error, as_json=cli.json)

    return run  # pyright: ignore[reportReturnType]


def _given(name: str, value: T) -> T:
    """Return a shared option's value: its own, or the one that stands before the subcommand's name."""
    context: click.Context | None = click.get_current_context()
    while context is not None:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            return context.params.get(name, value)
        context = context.parent
    return value


def fail(error: BackstayError, *, as_json: bool) -> NoReturn:
    """Say what went wrong and end the process with the code that belongs to it."""
    if as_json:
        code = error.told_code if isinstance(error, ServerError) else error.code
        dump({"error": {"code": code, "message": str(error)}})
    click.echo(f"{paint('backstay:', 'wrong', sys.stderr)} {error}", err=True)
    sys.exit(exit_code(error))
