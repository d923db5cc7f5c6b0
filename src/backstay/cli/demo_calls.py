"""Owns the demo's three calls, made with the official SDKs as anybody's own code makes them."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from anthropic import Anthropic, AnthropicError
from openai import OpenAI, OpenAIError
from openai.types.chat import ChatCompletionMessageParam

from backstay.core.errors import BackstayError

MODEL = "local"
MAX_TOKENS = 64
SYSTEM = (
    "You answer for a small shop, in one short sentence. "
    "Items may be returned within 30 days, unused, with the receipt. Parcels arrive in 3 days."
)
TRACE_HEADER = "x-backstay-trace-id"
FEATURE = {"x-backstay-feature": "demo"}


@dataclass(frozen=True, kw_only=True)
class Made:
    """One call that was made, and what its caller saw."""

    sdk: str
    question: str
    answer: str
    seconds: float
    trace_id: str


def plain(url: str, key: str) -> Made:
    """Ask through the OpenAI SDK."""
    question, began = "How long may I return an item?", time.monotonic()
    answer = _openai(url, key).chat.completions.with_raw_response.create(
        model=MODEL, messages=_messages(question), max_tokens=MAX_TOKENS, temperature=0, user="demo"
    )
    text = answer.parse().choices[0].message.content or ""
    return _made("openai", question, text, began, answer.headers[TRACE_HEADER])


def streamed(url: str, key: str) -> Made:
    """Ask through the OpenAI SDK, and read the answer while it is written."""
    question, began = "When will my parcel arrive?", time.monotonic()
    answer = _openai(url, key).chat.completions.with_raw_response.create(
        model=MODEL, messages=_messages(question), max_tokens=MAX_TOKENS, temperature=0, user="demo", stream=True
    )
    with answer.parse() as chunks:
        text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    return _made("openai, streamed", question, text, began, answer.headers[TRACE_HEADER])


def anthropic(url: str, key: str) -> Made:
    """Ask through the Anthropic SDK."""
    question, began = "Do I need the receipt?", time.monotonic()
    client = Anthropic(base_url=url, api_key=key, default_headers=FEATURE, max_retries=0)
    answer = client.messages.with_raw_response.create(
        model=MODEL, system=SYSTEM, messages=[{"role": "user", "content": question}], max_tokens=MAX_TOKENS,
        metadata={"user_id": "demo"}, extra_body={"temperature": 0},
    )  # fmt: skip
    text = "".join(block.text for block in answer.parse().content if block.type == "text")
    return _made("anthropic", question, text, began, answer.headers[TRACE_HEADER])


def make_calls(url: str, key: str) -> Iterator[Made]:
    """Make the three calls, one after the other.

    Raises:
        BackstayError: One failed; the message is the SDK's.
    """
    for call in (plain, streamed, anthropic):
        try:
            yield call(url, key)
        except (OpenAIError, AnthropicError) as error:
            raise BackstayError(f"The demo's call failed: {error}") from error


def _openai(url: str, key: str) -> OpenAI:
    return OpenAI(base_url=f"{url}/v1", api_key=key, default_headers=FEATURE, max_retries=0)


def _messages(question: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]


def _made(sdk: str, question: str, answer: str, began: float, trace_id: str) -> Made:
    return Made(sdk=sdk, question=question, answer=answer.strip(), seconds=time.monotonic() - began, trace_id=trace_id)
