"""Owns the package ``litellm`` itself: whether it is there, its loading, and what it does unasked, switched off.

Source: litellm 1.110.2, ``__init__.py``, ``_process_defaults.py`` and ``litellm_core_utils/offline_mode.py`` (2026-11).
"""

import importlib
import importlib.util
import logging
import os
from collections.abc import Iterable
from typing import Any

from backstay.core.embeddings import EmbeddingInput
from backstay.core.errors import ConfigError

_ENVIRONMENT = {
    "LITELLM_OFFLINE_MODE": "true",  # or it fetches prices, tokenizers and headers from the internet while it loads
    "LITELLM_MODE": "PRODUCTION",  # or it reads a `.env` file into the environment
}

_LOGGERS = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy")
"""They may hold prompts; what went wrong comes as an exception anyway."""


def check_installed() -> None:
    """Look whether the package is there, without loading it. Raises ``ConfigError``."""
    if importlib.util.find_spec("litellm") is None:
        raise ConfigError("The package `litellm` is not installed. `pip install 'backstay[litellm]'` brings it.")


def load() -> Any:
    """Load the package and quieten it. The first time takes seconds: call it in a thread."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    litellm: Any = importlib.import_module("litellm")
    litellm.suppress_debug_info = True  # it prints advice at every error
    litellm.turn_off_message_logging = True
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    _warm_up(litellm)
    return litellm


def _warm_up(litellm: Any) -> None:
    """Make it load here what it else would load at the first call, for 0.3 s in the event loop. Nothing is sent."""
    for _ in litellm.completion(model="openai/none", messages=[], mock_response="warm", stream=True):
        pass


def count_tokens(litellm: Any, messages: Any, answer: Any) -> dict[str, int]:
    """Count what a chat has used, as litellm does for streams whose vendor does not tell: call it in a thread."""
    said = "".join(choice.message.content or "" for choice in answer.choices)
    prompt: int = litellm.token_counter(messages=messages)
    completion: int = litellm.token_counter(text=said, count_response_tokens=True)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def count_inputs(litellm: Any, inputs: Iterable[EmbeddingInput]) -> int:
    """Count the tokens of what is embedded: call it in a thread."""
    return sum(litellm.token_counter(text=each) if isinstance(each, str) else len(each) for each in inputs)


def timeout(total_s: float, connect_s: float) -> Any:
    """Write a time limit in litellm's terms. Vendors for which it cannot tell the two apart get the first alone."""
    httpx: Any = importlib.import_module("httpx")
    return httpx.Timeout(total_s, connect=connect_s)
