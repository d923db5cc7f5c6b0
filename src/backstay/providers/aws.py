"""Owns AWS's signatures (SigV4) and the credentials for them, both by ``botocore``; what blocks is done in threads.

``botocore`` is loaded when the first request is signed, in a thread: it takes 25 MB of memory and a third of a second,
which those who use no AWS service keep.
"""

import asyncio
import importlib
import time
from collections.abc import Mapping
from typing import Any

from backstay.core.errors import ProviderError

SERVICE = "bedrock"
"""The name that Bedrock's requests are signed for, its runtime's too. Source: botocore 1.44.8, ``signingName``."""

LONG_BODY_BYTES = 256 * 1024
"""From here on hashing a body takes long enough (about a fifth of a millisecond) to be done in a thread."""

RETRY_AFTER_S = 5.0
"""Least time from one search for credentials to the next: it asks the network, and may take seconds."""

REFRESH_LIMIT_S = 30.0
"""How long a call waits for new credentials."""


class AwsSigner:
    """Signs requests with what AWS's own tools would use: environment, profile, SSO, container or instance role.

    Credentials that expire are renewed by themselves: well before, while calls go on with the old ones; or, when those
    are no good any more, with every call waiting for the same renewal.
    """

    def __init__(self, name: str, *, region: str, profile: str | None = None):
        """Describe a signer.

        Args:
            name: The provider's, for errors.
            profile: Of ``~/.aws/config``; ``None``: AWS's own choice.
        """
        self._name = name
        self._region = region
        self._profile = profile
        self._credentials: Any = None
        self._frozen: Any = None
        self._refreshing: asyncio.Task[None] | None = None
        self._failure: ProviderError | None = None
        self._tried_at = -RETRY_AFTER_S

    async def sign(self, url: str, body: bytes) -> Mapping[str, str]:
        """Return the headers that make ``POST url`` with this JSON body a request of ours.

        Raises:
            ProviderError: There are no credentials, or they could not be renewed.
        """
        await self._be_ready()
        if len(body) < LONG_BODY_BYTES:
            return self._sign(url, body)
        return await asyncio.to_thread(self._sign, url, body)

    def _sign(self, url: str, body: bytes) -> Mapping[str, str]:
        auth: Any = importlib.import_module("botocore.auth")
        awsrequest: Any = importlib.import_module("botocore.awsrequest")
        request = awsrequest.AWSRequest("POST", url, {"content-type": "application/json"}, data=body)
        auth.SigV4Auth(self._frozen, SERVICE, self._region).add_auth(request)
        return {name.lower(): str(value) for name, value in request.headers.items()}

    async def _be_ready(self) -> None:
        """See to it that there are credentials which are good now."""
        refresh_needed = getattr(self._credentials, "refresh_needed", None)  # those of a user never expire
        if self._frozen is not None and (refresh_needed is None or not refresh_needed()):
            return
        still_good = self._frozen is not None and refresh_needed is not None and not refresh_needed(refresh_in=0)
        if self._refreshing is None or self._refreshing.done():
            if time.monotonic() < self._tried_at + RETRY_AFTER_S:
                self._make_do(still_good)
                return
            self._tried_at = time.monotonic()
            self._refreshing = asyncio.create_task(self._refresh())
        if not still_good:
            async with asyncio.timeout(REFRESH_LIMIT_S):
                await asyncio.shield(self._refreshing)
        self._make_do(still_good)

    def _make_do(self, still_good: bool) -> None:
        """Go on with the credentials that are there, if they are good. Raises ``ProviderError``: why there are none."""
        if self._failure is not None and not still_good:
            raise self._failure

    async def _refresh(self) -> None:
        """Look credentials up, or renew them. What went wrong is kept for those who wait, and for the next calls."""
        try:
            self._frozen = await asyncio.to_thread(self._fetch)
            self._failure = None
        except ProviderError as failure:
            self._failure = failure

    def _fetch(self) -> Any:
        """Ask ``botocore``. Blocks: it reads files, and may ask STS, SSO or the machine's metadata over the network."""
        session_module: Any = importlib.import_module("botocore.session")
        for module in ("botocore.auth", "botocore.awsrequest"):
            importlib.import_module(module)
        try:
            if self._credentials is None:
                self._credentials = session_module.Session(profile=self._profile).get_credentials()
            frozen = None if self._credentials is None else self._credentials.get_frozen_credentials()
        except Exception as error:  # credentials come from other people's programs and servers
            raise ProviderError(
                f"{self._name} got no AWS credentials: {error}", status=502, kind="authentication", retryable=True
            ) from error
        if frozen is None or frozen.access_key is None:
            raise ProviderError(
                f"{self._name} has no AWS credentials. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a `profile`, "
                "or a Bedrock API key as api_key.",
                status=502,
                kind="authentication",
            )
        return frozen
