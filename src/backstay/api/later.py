"""Owns ``x-backstay-async``: a model call that is taken in now, and made and answered later."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from backstay.core.errors import InvalidRequest
from backstay.core.ids import new_trace_id
from backstay.gateway import Gateway, Headers, Incoming
from backstay.gateway.resolve import resolve
from backstay.idempotency.types import IdempotencyKeyReused
from backstay.jobs import Later, WebhookSecrets
from backstay.jobs.later import Bounds, NewCall
from backstay.jobs.types import WINDOW_S, Terms
from backstay.jobs.views import STATUS
from backstay.jobs.webhooks import find_address, read_url

_HOST = re.compile(rb"[0-9A-Za-z.:\[\]-]{1,255}")


class LaterCalls:
    """Takes calls in for later."""

    def __init__(
        self, gateway: Gateway, later: Later, secrets: WebhookSecrets, named_hosts: frozenset[str], bounds: Bounds
    ):
        self._gateway = gateway
        self._later = later
        self._secrets = secrets
        self._named_hosts = named_hosts
        self._bounds = bounds

    async def take(
        self, incoming: Incoming, headers: Mapping[bytes, bytes], scope: Mapping[str, Any]
    ) -> tuple[Headers, bytes]:
        """Take a call in, and return the head and body of the 202 that says where its answer will be.

        Raises:
            InvalidRequest: It cannot be made, or not later: what is wrong with it is told now, as far as it can be.
            IdempotencyKeyReused: Its key belongs to another request.
            TooManyUnfinished: The key or its tenant has as many as it may.
            StoreUnavailable: Postgres does not answer. Nothing was taken.
        """
        if resolve(self._gateway.models, incoming).stream:
            raise InvalidRequest("An answer that comes later cannot be streamed. Leave `stream` out.", param="stream")
        webhook_url = await self._webhook(incoming.caller.tenant_id, headers)
        taken = await self._later.take(
            incoming.caller,
            NewCall(
                path=incoming.path,
                body=incoming.body,
                terms=Terms(
                    forward=incoming.forward,
                    feature=incoming.feature,
                    tags=incoming.tags,
                    parent_id=incoming.parent_id,
                    cache_control=headers.get(b"cache-control", b"").decode("latin-1") or None,
                    max_cost_nanousd=incoming.max_cost_nanousd,
                ),
                trace_id=incoming.trace_id or new_trace_id(),
                within_s=min(incoming.deadline_s or WINDOW_S, WINDOW_S),
                webhook_url=webhook_url,
                repeat_key=incoming.idempotency_key,
            ),
            self._bounds,
        )
        if not taken.is_same:
            raise IdempotencyKeyReused
        place = f"/v1/async/{taken.job_id}"
        told = {"id": taken.job_id, "status": STATUS[taken.state], "url": _origin(headers, scope) + place}
        return [(b"content-type", b"application/json"), (b"location", place.encode())], msgspec.json.encode(told)

    async def _webhook(self, tenant_id: str, headers: Mapping[bytes, bytes]) -> str | None:
        value = headers.get(b"x-backstay-webhook")
        if value is None:
            return None
        url = value.decode("latin-1")
        await find_address(read_url(url, self._named_hosts))
        if not await self._secrets.has(tenant_id):
            raise InvalidRequest(
                "This tenant has no secret to sign webhooks with. `backstay webhooks secret` makes one.",
                param="x-backstay-webhook",
            )
        return url


def _origin(headers: Mapping[bytes, bytes], scope: Mapping[str, Any]) -> str:
    """Return where this server was reached; nothing where the caller does not say it well."""
    host = headers.get(b"host", b"")
    return f"{scope['scheme']}://{host.decode()}" if _HOST.fullmatch(host) else ""
