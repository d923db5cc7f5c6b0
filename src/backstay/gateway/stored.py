"""Owns responses that were kept: shown and deleted, here or at the provider that keeps them."""

from typing import Literal

import msgspec

from backstay.conversations import Conversations
from backstay.core.caller import Caller
from backstay.core.errors import Forbidden, NotFound, ProviderError
from backstay.gateway.call import Gateway
from backstay.providers import RESPONSES, ProviderRequest

PATH = "/v1/responses"


class StoredResponses:
    """The responses that callers may have again. Every method may raise:

    - ``Forbidden``: the caller may not use this wire;
    - ``NotFound``: there is none for this caller;
    - ``StoreUnavailable``: Postgres does not answer;
    - ``ProviderError``: the provider that keeps it says so.
    """

    def __init__(self, gateway: Gateway):
        self._gateway = gateway

    async def show(self, caller: Caller, response_id: str) -> bytes:
        """Return a response as it was answered."""
        turn = await self._allowed(caller).find(caller, response_id)
        if turn.target is None:
            return (turn.response or "").encode()
        return await self._ask(turn.target, "GET", response_id)

    async def delete(self, caller: Caller, response_id: str) -> bytes:
        """Delete a response, first at the provider that keeps it, and say so."""
        conversations = self._allowed(caller)
        turn = await conversations.find(caller, response_id)
        if turn.target is not None:
            try:
                await self._ask(turn.target, "DELETE", response_id)
            except ProviderError as error:
                if error.status != 404:  # else it is gone there already
                    raise
        await conversations.delete(caller, response_id)
        return msgspec.json.encode({"id": response_id, "object": "response", "deleted": True})

    def _allowed(self, caller: Caller) -> Conversations:
        if not caller.may("call") or (caller.routes is not None and PATH not in caller.routes):
            raise Forbidden(f"This key may not use {PATH}.")
        if self._gateway.conversations is None:
            raise NotFound("This server keeps no responses.")
        return self._gateway.conversations

    async def _ask(self, target_name: str, method: Literal["GET", "DELETE"], response_id: str) -> bytes:
        """Do something with a response at the provider that keeps it."""
        target = self._gateway.models.target(target_name)
        if target is None or "responses" not in target.provider.speaks:
            raise NotFound(f"Response {response_id!r} is kept by {target_name}, which is not there any more.")
        exchange = await target.provider.send(
            ProviderRequest(
                operation="chat",
                model_id=target.model_id,
                body=b"",
                dialect="responses",
                method=method,
                resource=response_id,
            )
        )
        try:
            body = await exchange.read()
            if exchange.status >= 400:
                raise RESPONSES.read_error(exchange.status, exchange.headers, body)
            return body
        finally:
            await exchange.close()
