"""Owns the callers that are compared with: the bare SDK with its own retries, and LiteLLM's router where it is."""

import importlib.util
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam

from backstay.drills.callers import Answered, Caller
from backstay.drills.scenario import MODEL_ID
from backstay.providers.litellm_adaptor.library import load


def peers(urls: Mapping[str, str]) -> dict[str, Caller]:
    """Make the callers that can be compared with here, by name."""
    found: dict[str, Caller] = {"bare SDK": SdkCaller(next(iter(urls.values())))}
    if importlib.util.find_spec("litellm") is not None:
        found["LiteLLM"] = LiteLLMCaller(urls)
    return found


class SdkCaller:
    """Calls the first target with the official OpenAI SDK and its own retries, as code without a gateway does."""

    def __init__(self, url: str):
        self._client = AsyncOpenAI(base_url=f"{url}/v1", api_key="simulated")

    async def call(self, text: str, *, stream: bool) -> Answered:
        messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": text}]
        create = self._client.chat.completions.create
        began = time.monotonic()
        try:
            if stream:
                chunks = await create(model=MODEL_ID, messages=messages, stream=True)
                return await _read(cast(AsyncIterator[Any], chunks), text, began)
            answer = await create(model=MODEL_ID, messages=messages)
        except Exception as error:  # noqa: BLE001 - the SDK's own errors and those of its HTTP client: the call failed
            return _failed(error)
        return Answered("ok" if answer.choices[0].message.content == text else "wrong")

    async def close(self) -> None:
        await self._client.close()


class LiteLLMCaller:
    """Calls through LiteLLM's router: the first target, three retries, and the others as its fallbacks."""

    def __init__(self, urls: Mapping[str, str]):
        deployments = [
            {
                "model_name": name,
                "litellm_params": {"model": f"openai/{MODEL_ID}", "api_base": f"{url}/v1", "api_key": "simulated"},
            }
            for name, url in urls.items()
        ]
        self._first, *others = urls
        self._router = load().Router(
            model_list=deployments, fallbacks=[{self._first: others}] if others else [], num_retries=3
        )

    async def call(self, text: str, *, stream: bool) -> Answered:
        messages = [{"role": "user", "content": text}]
        began = time.monotonic()
        try:
            answer = await self._router.acompletion(model=self._first, messages=messages, stream=stream)
            if stream:
                return await _read(answer, text, began)
        except Exception as error:  # noqa: BLE001 - LiteLLM raises many kinds: whatever it is, the call failed
            return _failed(error)
        return Answered("ok" if answer.choices[0].message.content == text else "wrong")

    async def close(self) -> None:
        self._router.reset()


async def _read(chunks: AsyncIterator[Any], text: str, began: float) -> Answered:
    """Read a stream to its end."""
    said, finished, first_s = "", False, None
    async for chunk in chunks:
        for choice in chunk.choices:
            piece = choice.delta.content or ""
            first_s = first_s or (time.monotonic() - began if piece else None)
            said += piece
            finished = finished or choice.finish_reason is not None
    if not finished:
        return Answered("failed", first_token_s=first_s, detail="the stream broke")
    return Answered("ok" if said == text else "wrong", first_token_s=first_s)


def _failed(error: Exception) -> Answered:
    return Answered("failed", detail=f"{type(error).__name__}: {error}"[:200])
