"""Owns local embeddings: texts to unit vectors with all-MiniLM-L6-v2 on ONNX Runtime, in this process."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

DIMENSIONS = 384

MAX_TOKENS = 256
"""Longer texts are truncated. Source: model card of sentence-transformers/all-MiniLM-L6-v2 (2025-05)."""

_BATCH_SIZE = 8
"""Texts run at once. On CPU larger batches are not faster, and their activations take more memory."""

Vectors = npt.NDArray[np.float32]


class Embedded(msgspec.Struct, frozen=True, kw_only=True):
    vectors: Vectors
    """One row of 384 floats a text, each of length 1."""
    tokens: int
    """Tokens read, after truncation, the model's own start and end marks included."""


class Embedder:
    """The loaded model. ``embed`` may be called from several threads at once."""

    def __init__(self, weights: Path, tokenizer: Path, *, threads: int):
        runtime: Any = importlib.import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # The arena keeps the memory of the largest batch ever run; without it runs are as fast.
        options.enable_cpu_mem_arena = False
        # Without this the worker threads spin for a while after each run and take the cores from the gateway.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session: Any = runtime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])
        self._tokenizer: Any = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.no_padding()

    def embed(self, texts: Sequence[str]) -> Embedded:
        """Embed texts, in their order. An empty text has a vector as well."""
        encodings = self._tokenizer.encode_batch(list(texts))
        vectors = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        # Texts of similar length share a batch, so that little is spent on padding.
        order = sorted(range(len(texts)), key=lambda i: len(encodings[i].ids))
        for start in range(0, len(order), _BATCH_SIZE):
            rows = order[start : start + _BATCH_SIZE]
            vectors[rows] = self._run([encodings[i] for i in rows])
        return Embedded(vectors=vectors, tokens=sum(len(encoding.ids) for encoding in encodings))

    def _run(self, batch: Sequence[Encoding]) -> Vectors:
        shape = (len(batch), max(len(encoding.ids) for encoding in batch))
        ids, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for row, encoding in enumerate(batch):
            ids[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros(shape, dtype=np.int64)}
        hidden: Vectors = self._session.run(None, feed)[0]
        weights = mask[..., None].astype(np.float32)
        pooled: Vectors = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
