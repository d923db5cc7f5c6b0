"""Owns the credential of a request: a key, or the operator's token, from the headers that the vendors' SDKs send."""

import hmac
from collections.abc import Awaitable, Callable, Mapping

from backstay.access import KeyRing
from backstay.core.caller import DEFAULT_TENANT, Caller
from backstay.core.errors import Unauthenticated

Authenticate = Callable[[Mapping[bytes, bytes]], Awaitable[Caller]]
"""From a request's headers (names in lower case) to who is calling.

Raises ``Unauthenticated``, or ``StoreUnavailable`` where only Postgres could tell."""

OPERATOR_ID = "operator"
OPERATOR_RIGHTS = frozenset({"call", "read", "admin"})


class Authenticator:
    """Knows the keys of all tenants and the operator's token."""

    def __init__(self, ring: KeyRing, operator_token: str):
        self._ring = ring
        self._operator_token = operator_token.encode()

    async def __call__(self, headers: Mapping[bytes, bytes]) -> Caller:
        credential = read_credential(headers)
        if credential is None:
            raise Unauthenticated()
        key = credential.decode("latin-1")
        caller = self._ring.find(key)
        if caller is not None:
            return caller
        if hmac.compare_digest(credential, self._operator_token):
            return operator(headers.get(b"x-backstay-tenant", b"").decode("latin-1") or DEFAULT_TENANT)
        return await self._ring.authenticate(key)


def operator(tenant_id: str) -> Caller:
    """Be the operator of the installation, acting for one tenant."""
    return Caller(tenant_id=tenant_id, kind="operator", id=OPERATOR_ID, name="operator", rights=OPERATOR_RIGHTS)


def read_credential(headers: Mapping[bytes, bytes]) -> bytes | None:
    """Read the credential: ``Authorization: Bearer …`` (OpenAI) or ``x-api-key: …`` (Anthropic)."""
    authorization = headers.get(b"authorization")
    if authorization is not None and authorization[:7].lower() == b"bearer ":
        return authorization[7:].strip() or None
    return headers.get(b"x-api-key") or None
