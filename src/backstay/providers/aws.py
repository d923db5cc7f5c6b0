"""Owns AWS's credentials, found and renewed by ``botocore``, and the signing with them; what blocks is done in threads.

``botocore`` is loaded when the first request is signed, in a thread: it takes 25 MB of memory and a third of a second,
which those who use no AWS service keep.
"""

import asyncio
import importlib
from collections.abc import Mapping
from typing import Any

from yarl import URL

from backstay.core.clock import Clock, SystemClock
from backstay.core.errors import ProviderError
from backstay.providers.secrets import Secret
from backstay.providers.sigv4 import Credentials, RequestSigner, hash_body
from backstay.providers.types import Body

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

    def __init__(self, name: str, *, region: str, profile: str | None = None, clock: Clock | None = None):
        """Describe a signer.

        Args:
            name: The provider's, for errors.
            profile: Of ``~/.aws/config``; ``None``: AWS's own choice.
        """
        self._name = name
        self._profile = profile
        self._clock = clock or SystemClock()
        self._signer = RequestSigner(region=region, service=SERVICE)
        self._source: Any = None
        """``botocore``'s credentials, which know when they must be renewed."""
        self._credentials: Credentials | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._failure: ProviderError | None = None
        self._tried_at_s: float | None = None

    async def sign(self, url: URL, body: Body) -> Mapping[str, str]:
        """Return the headers that make ``POST url`` with this JSON body a request of ours.

        Raises:
            ProviderError: There are no credentials, or they could not be renewed.
        """
        credentials = await self._get_ready()
        is_short = isinstance(body, bytes) and len(body) < LONG_BODY_BYTES
        body_hash = hash_body(body) if is_short else await asyncio.to_thread(hash_body, body)
        return self._signer.sign(url, body_hash, credentials, now_s=self._clock.now_ns() / 1e9)

    async def _get_ready(self) -> Credentials:
        """Return credentials that are good now. Raises ``ProviderError``."""
        refresh_needed = getattr(self._source, "refresh_needed", None)  # those of a user never expire
        if self._credentials is not None and (refresh_needed is None or not refresh_needed()):
            return self._credentials
        still_good = self._credentials is not None and refresh_needed is not None and not refresh_needed(refresh_in=0)
        if self._refreshing is None or self._refreshing.done():
            now_s = self._clock.monotonic_ns() / 1e9
            if self._tried_at_s is not None and now_s < self._tried_at_s + RETRY_AFTER_S:
                return self._make_do(still_good)
            self._tried_at_s = now_s
            self._refreshing = asyncio.create_task(self._refresh())
        if not still_good:
            async with asyncio.timeout(REFRESH_LIMIT_S):
                await asyncio.shield(self._refreshing)
        return self._make_do(still_good)

    def _make_do(self, still_good: bool) -> Credentials:
        """Return the credentials that are there, if they are good. Raises ``ProviderError``: why there are none."""
        if self._failure is not None and not still_good:
            raise self._failure
        assert self._credentials is not None, "a search that did not fail has found some"
        return self._credentials

    async def _refresh(self) -> None:
        """Look credentials up, or renew them. What went wrong is kept for those who wait, and for the next calls."""
        try:
            self._credentials = await asyncio.to_thread(self._fetch)
            self._failure = None
        except ProviderError as failure:
            self._failure = failure

    def _fetch(self) -> Credentials:
        """Ask ``botocore``. Blocks: it reads files, and may ask STS, SSO or the machine's metadata over the network."""
        try:
            session: Any = importlib.import_module("botocore.session")
            if self._source is None:
                self._source = session.Session(profile=self._profile).get_credentials()
            found = None if self._source is None else self._source.get_frozen_credentials()
        except Exception as error:  # credentials come from other people's programs and servers
            raise ProviderError(
                f"{self._name} got no AWS credentials: {error}", status=502, kind="authentication", retryable=True
            ) from error
        if found is None or found.access_key is None:
            raise ProviderError(
                f"{self._name} has no AWS credentials. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a `profile`, "
                "or a Bedrock API key as api_key.",
                status=502,
                kind="authentication",
            )
        return Credentials(access_key=found.access_key, secret_key=Secret(found.secret_key), token=found.token or None)
