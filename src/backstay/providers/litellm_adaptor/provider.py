"""Owns calls through litellm: one exchange with a vendor, our deadlines, our key, nothing that litellm adds."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp

from backstay.core.errors import (
    InvalidRequest,
    ProviderError,
    ProviderTimeout,
    ProviderUnreachable,
    ProviderUnreadable,
    Untranslatable,
)
from backstay.providers.deadlines import Deadline, Deadlines
from backstay.providers.embedding_wire import read_embeddings_request
from backstay.providers.litellm_adaptor import library
from backstay.providers.litellm_adaptor.failures import explain
from backstay.providers.litellm_adaptor.translation import (
    END,
    read_chat,
    read_embeddings,
    read_headers,
    reports_usage,
    write_answer,
    write_chunk,
    write_embeddings,
)
from backstay.providers.openai import OpenAIDialect, Quirks
from backstay.providers.secrets import Secret
from backstay.providers.types import Dialect, ProviderRequest, Timeouts

_PRICE_PROVIDERS: Mapping[str, str] = {
    "fireworks_ai": "fireworks",
    "gemini": "google",
    "moonshot": "moonshotai",
    "together_ai": "together",
    "voyage": "voyageai",
    "xai": "x-ai",
}
"""litellm's name of a vendor to that of genai-prices, where they differ (litellm 1.110.2, genai-prices 0.2.3)."""

_ESTIMATING = frozenset({"a2a", "predibase", "replicate", "sagemaker"})
"""Vendors whose every usage litellm counts itself. Source: litellm 1.110.2, ``llms/`` (2026-11)."""


class LiteLLMProvider:
    """One vendor of litellm's as a provider: OpenAI's dialect on our side, the vendor's own on theirs."""

    is_free = False
    reports_stream_usage = True

    def __init__(
        self,
        name: str,
        session: aiohttp.ClientSession,
        *,
        vendor: str,
        key: Secret,
        base_url: str | None = None,
        headers: Mapping[str, str] | None = None,
        secrets: tuple[Secret, ...] = (),
        timeouts: Timeouts | None = None,
    ):
        """Begin to load litellm. A loop must be running.

        Args:
            session: Shared with others; closing the provider leaves it open.
            vendor: litellm's name of it. A caller cannot choose another one, which would get the key.
            headers: Sent with every request.
            secrets: Values of headers that are cut out of error texts, as the key is.

        Raises:
            ConfigError: litellm is not installed.
        """
        library.check_installed()
        self.name = name
        self._deadlines = Deadlines()
        self.dialect: Dialect = OpenAIDialect(Quirks(output_limit="max_tokens", has_developer_role=False))
        self.speaks = frozenset({self.dialect.name})
        self.price_provider: str | None = _PRICE_PROVIDERS.get(vendor, vendor)
        self.problem: str | None = None
        self._vendor = vendor
        self._estimates = vendor in _ESTIMATING
        self._secrets = (key, *secrets)
        self._timeouts = timeouts or Timeouts()
        self._always: dict[str, Any] = {
            "api_key": key.reveal(),
            "api_base": base_url,
            "extra_headers": dict(headers or {}) or None,
            "shared_session": session,
            "max_retries": 0,
            "num_retries": 0,
            "caching": False,
            "drop_params": False,
            "no-log": True,
        }
        self._loading = asyncio.get_running_loop().run_in_executor(None, library.load)
        self._loading.add_done_callback(self._note_loaded)

    def _note_loaded(self, loading: "asyncio.Future[Any]") -> None:
        if loading.cancelled():
            return
        if loading.exception() is not None:
            self.problem = "litellm cannot be loaded"
        elif self._vendor not in loading.result().provider_list:
            self.problem = f"litellm knows no vendor {self._vendor!r}"

    async def send(self, request: ProviderRequest) -> "WholeExchange | StreamExchange":
        """Start an exchange and return when an answer, an error or a stream's beginning is there.

        Raises:
            ProviderUnreachable: No connection, or it broke.
            ProviderTimeout: It took too long.
            Untranslatable: The vendor, or litellm, has no form for something that the request asks.
        """
        timeouts = request.timeouts or self._timeouts
        deadline = Deadline(self._deadlines, timeouts, stream=request.stream)
        try:
            with deadline:
                return await self._exchange(request, timeouts, deadline)
        except TimeoutError:
            raise ProviderTimeout(f"{self.name} did not begin to answer in time.") from None
        except (Untranslatable, ProviderTimeout, ProviderUnreachable):
            raise
        except (InvalidRequest, ProviderError) as error:
            return WholeExchange(*self.dialect.write_error(error))

    async def _exchange(
        self, request: ProviderRequest, timeouts: Timeouts, deadline: Deadline
    ) -> "WholeExchange | StreamExchange":
        body = request.whole_body
        if request.operation == "chat":
            arguments = read_chat(body)
        elif request.operation == "embeddings":
            arguments = read_embeddings(body)
        else:
            raise Untranslatable(f"{self.name} has no endpoint for {request.operation}.", param="model")
        litellm = await self._library()
        ask = litellm.acompletion if request.operation == "chat" else litellm.aembedding
        limit = library.timeout(timeouts.total_s, timeouts.connect_s)
        model = f"{self._vendor}/{request.model_id}"
        try:
            answer = await ask(**arguments, **self._always, model=model, timeout=limit)
        except Exception as error:  # noqa: BLE001 - its vendors raise what they like: whatever it is, the call failed
            # What it chains holds prompts.
            raise explain(litellm, error, self._secrets) from None
        if request.stream:
            stream = StreamExchange(answer, deadline, litellm, self._secrets, estimates=self._estimates)
            await stream.begin()
            return stream
        if request.operation == "embeddings":
            tokens = None
            if not reports_usage(answer):
                inputs = read_embeddings_request(body).inputs()
                tokens = await asyncio.to_thread(library.count_inputs, litellm, inputs)
            return WholeExchange(200, read_headers(answer), write_embeddings(answer, body, estimate=tokens))
        estimate = None
        if not reports_usage(answer):
            estimate = await asyncio.to_thread(library.count_tokens, litellm, arguments["messages"], answer)
        written = write_answer(answer, estimate=estimate, is_estimated=self._estimates)
        return WholeExchange(200, read_headers(answer), written)

    async def _library(self) -> Any:
        """Wait until litellm is loaded. Raises ``ProviderError`` if it cannot be, or does not know the vendor."""
        await asyncio.wait((self._loading,))
        if self.problem is not None:
            raise ProviderError(f"{self.name}: {self.problem}.", status=404, kind="not_found")
        return self._loading.result()

    async def close(self) -> None:
        """Do nothing: the session is the worker's."""


class WholeExchange:
    """A whole answer, which has arrived."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes):
        self.status = status
        self.headers = headers
        self._body = body

    async def read(self) -> bytes:
        return self._body

    async def frames(self) -> AsyncIterator[bytes]:
        """Raises ``ProviderError``: it is no stream."""
        raise ProviderUnreadable("The vendor answered a request for a stream with one document.")
        yield b""

    async def close(self) -> None:
        """Do nothing: there is nothing open."""


class StreamExchange:
    """A stream of litellm's that has begun."""

    status = 200

    def __init__(self, stream: Any, deadline: Deadline, litellm: Any, secrets: tuple[Secret, ...], *, estimates: bool):
        """Take a stream. ``estimates``: what usage there is, litellm has counted."""
        self.headers: Mapping[str, str] = read_headers(stream)
        self._stream = stream
        self._deadline = deadline
        self._litellm = litellm
        self._secrets = secrets
        self._estimates = estimates
        self._first: Any = None

    async def begin(self) -> None:
        """Wait for the first piece: with some vendors nothing is sent before that is asked for.

        Raises:
            ProviderError: It does not come. Nothing is open any more.
        """
        try:
            self._first = await self._next()
        except BaseException:
            await self.close()
            raise

    async def read(self) -> bytes:
        """Read the whole stream. Raises as ``frames`` does."""
        return b"".join([frame async for frame in self.frames()])

    async def frames(self) -> AsyncIterator[bytes]:
        """Iterate over the stream's frames as they arrive.

        Raises:
            ProviderUnreachable: The connection broke, or the stream ended before the answer did.
            ProviderTimeout: The first piece, the next or the end took too long.
            ProviderError: The vendor said that it failed.
        """
        chunk = self._first
        while chunk is not None:
            self._deadline.piece_came()
            if self._deadline.is_over():
                raise ProviderTimeout("The provider's answer stalled.")
            if self._is_made_up(chunk):
                raise ProviderUnreachable("The vendor's stream ended before its end.")
            yield write_chunk(chunk, is_estimated=self._is_estimate(chunk))
            chunk = await self._next()
        yield END

    async def _next(self) -> Any:
        try:
            with self._deadline:
                return await anext(self._stream, None)
        except TimeoutError:
            raise ProviderTimeout("The provider's answer stalled.") from None
        except Exception as error:  # noqa: BLE001 - as in ``send``
            raise explain(self._litellm, error, self._secrets) from None

    def _is_estimate(self, chunk: Any) -> bool:
        """Whether litellm has counted the usage that comes with a piece: the vendor's is among what it keeps."""
        if getattr(chunk, "usage", None) is None:
            return False
        return self._estimates or all(getattr(each, "usage", None) is None for each in self._stream.chunks)

    def _is_made_up(self, chunk: Any) -> bool:
        """Whether it is the end that litellm invents for streams which broke off without one."""
        ended = any(choice.finish_reason is not None for choice in chunk.choices)
        stream = self._stream
        return ended and not (stream.received_finish_reason or stream.received_any_finish_reason)

    async def close(self) -> None:
        """Let go of the connection at once."""
        await self._stream.aclose()
