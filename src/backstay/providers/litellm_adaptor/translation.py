"""Owns the step from a body of OpenAI's dialect to litellm's arguments, and from its answers back. No I/O.

Only what is named here becomes an argument. litellm takes its own controls as arguments of the same call
(``api_base``, ``fallbacks``, ``mock_response``, …): passed on as they come, a caller could send the key anywhere.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from backstay.core.errors import InvalidRequest, ProviderError, Untranslatable
from backstay.providers.embedding_wire import read_embeddings_request, write_vectors
from backstay.providers.sse import write_frame

END = write_frame(b"[DONE]")

CHAT_FIELDS = frozenset(
    {
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "modalities",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
    }
)
"""Parameters of ``litellm.acompletion`` that say what the model shall do. ``metadata`` is none: litellm takes it for
its own logs. Source: litellm 1.110.2, ``main.py`` (2026-11)."""

EMBEDDING_FIELDS = frozenset({"input", "dimensions", "encoding_format", "user"})

_ESTIMATED = {"x_backstay_estimated": True}
"""In a usage: it is not the vendor's."""

_HEADER_PREFIX = "llm_provider-"
"""What litellm puts before a vendor's headers."""


class _Tool(msgspec.Struct):
    type: str = "function"


class _Chat(msgspec.Struct):
    """What litellm does not check, and trips over."""

    messages: list[dict[str, Any]]
    n: int = 1
    stream: bool = False
    tools: list[_Tool] | None = None


def read_chat(body: bytes) -> dict[str, Any]:
    """Read a chat's body into arguments.

    Raises:
        InvalidRequest: It is not JSON of that form.
        Untranslatable: It has a field that has no place among them.
    """
    fields = _read_fields(body, CHAT_FIELDS)
    try:
        chat = msgspec.convert(fields, _Chat)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"The request is not valid: {error}.") from None
    if chat.stream and chat.n > 1:
        raise Untranslatable("litellm loses the ends of all candidates but the first in a stream.", param="n")
    for index, tool in enumerate(chat.tools or ()):
        if tool.type != "function":  # litellm runs some of the others by itself
            raise Untranslatable(f"litellm gets only functions as tools, not {tool.type!r}.", param=f"tools[{index}]")
    return fields


def read_embeddings(body: bytes) -> dict[str, Any]:
    """Read an embeddings body into arguments. Numbers are asked for, in whatever form the caller wants them. Raises as
    ``read_chat`` does."""
    read_embeddings_request(body)
    fields = _read_fields(body, EMBEDDING_FIELDS)
    fields.pop("encoding_format", None)
    return fields


def _read_fields(body: bytes, known: frozenset[str]) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequest(f"The body is not a JSON object: {error}.") from None
    fields.pop("model", None)
    given = {name: value for name, value in fields.items() if value is not None}
    unknown = next((name for name in given if name not in known), None)
    if unknown is not None:
        raise Untranslatable(f"litellm has no form for {unknown}. Leave it out or choose another model.", param=unknown)
    return given


def reports_usage(answer: Any) -> bool:
    """Whether there is usage in a whole answer: where the vendor sent none, litellm says 0."""
    usage = getattr(answer, "usage", None)
    return usage is not None and bool(usage.prompt_tokens or usage.completion_tokens)


def write_answer(answer: Any, *, estimate: Mapping[str, int] | None = None, is_estimated: bool = False) -> bytes:
    """Write a whole answer, with the fields that OpenAI's dialect demands even where they are null.

    Args:
        estimate: Usage in the place of the answer's.
        is_estimated: Whether the answer's own usage is counted by litellm.
    """
    body: dict[str, Any] = answer.model_dump(mode="json", exclude_none=True)
    if estimate is not None:
        body["usage"] = {**estimate, **_ESTIMATED}
    elif is_estimated:
        body["usage"] |= _ESTIMATED
    for choice in body["choices"]:
        choice["message"] = {"content": None, "refusal": None} | choice["message"]
        choice.setdefault("logprobs", None)
    return msgspec.json.encode(body)


def write_chunk(chunk: Any, *, is_estimated: bool = False) -> bytes:
    """Write one piece of a stream as a frame; ``is_estimated``: litellm has counted the usage in it."""
    body: dict[str, Any] = chunk.model_dump(mode="json", exclude_none=True)
    if is_estimated:
        body["usage"] |= _ESTIMATED
    for choice in body["choices"]:
        choice.setdefault("finish_reason", None)
    return write_frame(msgspec.json.encode(body))


def write_embeddings(answer: Any, body: bytes, *, estimate: int | None = None) -> bytes:
    """Write the answer to an embeddings body, with an estimate of its tokens where the vendor sent none.

    Raises:
        ProviderError: The vendor sent no numbers.
    """
    request = read_embeddings_request(body)
    rows: list[dict[str, Any]] = answer.model_dump()["data"]
    vectors: list[Any] = [row["embedding"] for row in sorted(rows, key=lambda row: row["index"])]
    if not all(isinstance(vector, list) for vector in vectors):
        raise ProviderError("The vendor's embeddings are no lists of numbers.")
    return write_vectors(
        vectors,
        model=answer.model or request.model,
        as_base64=request.encoding_format == "base64",
        tokens=answer.usage.prompt_tokens if estimate is None else estimate,
        is_estimated=estimate is not None,
    )


def read_headers(answer: Any) -> dict[str, str]:
    """Return the vendor's own headers of an answer or stream, such as its rate limits."""
    found: Mapping[str, Any] = getattr(answer, "_hidden_params", {}).get("additional_headers") or {}
    return {name.lower().removeprefix(_HEADER_PREFIX): str(value) for name, value in found.items()}
