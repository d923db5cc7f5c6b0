"""Owns ``backstay mcp``: the tools over documents for an agent on this machine, on standard input and output."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import click

from backstay.cli.context import Cli, command
from backstay.cli.http import Client
from backstay.core.errors import InvalidRequest


@click.command()
@click.option("--principal", "principals", multiple=True, help="For whom it searches; none: what everybody may read.")
@command
def mcp(cli: Cli, principals: tuple[str, ...]) -> None:
    """Offer search and answers to an agent by MCP, on standard input and output.

    It calls the server that other commands call, with their credential.
    """
    from backstay.api.mcp_server import Library

    library = Library()
    client = cli.client()
    headers = {"x-backstay-principals": ",".join(quote(each, safe=":@/ ") for each in principals)} if principals else {}

    async def call(name: str, arguments: dict[str, Any], request: object) -> Any:
        return await asyncio.to_thread(_call, client, name, arguments, headers)

    async def serve() -> None:
        server = library.build(call)
        async with library.stdio.stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())

    asyncio.run(serve())


def _call(client: Client, name: str, arguments: dict[str, Any], headers: Mapping[str, str]) -> Any:
    if name == "list_collections":
        return client.get("/v1/collections")
    told = dict(arguments)
    collection = told.pop("collection", None)
    if name not in ("search", "answer"):
        raise InvalidRequest(f"There is no tool {name!r}.")
    if not isinstance(collection, str):
        raise InvalidRequest("`collection` is missing: name one; list_collections lists them.", param="collection")
    if "principals" in told:
        raise InvalidRequest("`principals` is no argument: `backstay mcp --principal` names them.", param="principals")
    return client.post(f"/v1/collections/{quote(collection, safe='')}/{name}", told, headers=headers)
