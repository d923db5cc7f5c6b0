"""Owns what is sent and answered: chat requests of a given size, one fixed answer, whole and as a stream."""

import json
from typing import Any

MODEL = "bench"
STREAM_MODEL = "bench-stream"
PACED_MODEL = "bench-paced"
TARGET_MODEL = "gpt-4o-mini"

SHORT_BYTES = 300
LONG_BYTES = 400_000
"""About 100,000 tokens."""

_SENTENCE = "What does a backstay do on a sailing boat, and when does it carry load? “Answer” with care.\n"
_ANSWER = "A backstay runs from the masthead to the stern and keeps the mast from falling forward."
_HEAD: dict[str, Any] = {"id": "chatcmpl-bench", "created": 1753300000, "model": "gpt-4o-mini-2024-07-18"}
_USAGE = {
    "prompt_tokens": 24,
    "completion_tokens": 41,
    "total_tokens": 65,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
}


def chat_request(model: str, size_bytes: int = SHORT_BYTES, *, stream: bool = False) -> bytes:
    """Write a chat request of about ``size_bytes``, as the official SDK does: without spaces between the values."""
    user = {"role": "user", "content": ""}
    request: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "system", "content": "You are a terse harbour assistant."}, user],
        "temperature": 0.2,
        "max_tokens": 64,
        "user": "u-1042",
    }
    if stream:
        request |= {"stream": True, "stream_options": {"include_usage": True}}
    room = max(1, size_bytes - len(_json(request)))
    repeated = _SENTENCE * (room // len(_SENTENCE) + 1)
    user["content"] = repeated[:room]
    return _json(request)


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def chat_answer() -> bytes:
    """Write an OpenAI chat completion."""
    message: dict[str, Any] = {"role": "assistant", "content": _ANSWER, "refusal": None, "annotations": []}
    choice: dict[str, Any] = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    answer = {**_HEAD, "object": "chat.completion", "choices": [choice], "usage": _USAGE, "service_tier": "default"}
    return _json(answer)


def stream_answer() -> bytes:
    """Write the same answer as OpenAI's server-sent events."""
    words = [{"content": f"{word} "} for word in _ANSWER.split()]
    deltas: list[dict[str, str]] = [{"role": "assistant", "content": ""}, *words]
    chunks: list[dict[str, Any]] = [_chunk(delta, None) for delta in deltas]
    chunks += [_chunk({}, "stop"), {**_HEAD, "object": "chat.completion.chunk", "choices": [], "usage": _USAGE}]
    return b"".join(b"data: %b\n\n" % _json(chunk) for chunk in chunks) + b"data: [DONE]\n\n"


def _chunk(delta: dict[str, str], finish_reason: str | None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return {**_HEAD, "object": "chat.completion.chunk", "choices": [choice], "usage": None}
