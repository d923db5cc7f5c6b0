"""Owns errors on the responses wire: OpenAI's own, with fields named as this wire names them."""

import re
from collections.abc import Mapping

from backstay.core.errors import BackstayError, Untranslatable
from backstay.providers.openai import errors as openai
from backstay.providers.responses.stream import Progress, write_failure

_NAMES: Mapping[str, str] = {
    "logprobs": "include",
    "max_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
    "system": "instructions",
    "verbosity": "text.verbosity",
}
"""Other dialects' names of fields, as this wire has them."""


def write_error(error: BackstayError, *, request_id: str | None = None) -> tuple[int, dict[str, str], bytes]:
    """Write an error with its status and headers."""
    if isinstance(error, Untranslatable) and error.param is not None:
        error = _renamed(error, error.param)
    return openai.write_error(error, request_id=request_id)


def _renamed(error: Untranslatable, param: str) -> Untranslatable:
    """Name a field as the caller does. A message's place is not the item's place, so that only ``input`` is named."""
    name = "input" if re.match(r"messages\b", param) else _NAMES.get(param, param)
    return Untranslatable(error.message.replace(param, name, 1), param=name)


def write_stream_error(error: BackstayError, progress: Progress) -> bytes:
    """Write the events about an error inside a stream that has begun."""
    found = openai.error_object(error)
    return write_failure(progress, found["message"], found["code"], found["type"])
