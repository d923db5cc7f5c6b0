"""Owns the local chat model: SmolLM2 on llama.cpp, listening on a Unix socket in a private folder."""

import importlib
from pathlib import Path
from typing import Any

from backstay.providers.local_types import CHAT_MODEL

CONTEXT_TOKENS = 8192
"""What SmolLM2 was trained for; all calls that run at the same time share it."""

PARALLEL_CALLS = 4


class Engine:
    """llama.cpp's own server, in threads of this process that do not hold the interpreter's lock.

    It is reached over HTTP rather than through the binding's calls, because its HTTP side notices a caller that
    went away and stops computing, also in the middle of a prompt.
    """

    def __init__(self, weights: Path, socket: Path, *, threads: int):
        """Load the model: 0.3 s when the file is in the page cache. Blocks; run it in a thread.

        Raises:
            RuntimeError: llama.cpp cannot load the weights or listen on the socket.
        """
        self.socket = socket
        self._server: Any = importlib.import_module("xllamacpp").Server(_parameters(weights, socket, threads))

    def close(self) -> None:
        """Stop at once, free the model's memory and remove the socket."""
        self._server = None
        self.socket.unlink(missing_ok=True)


def _parameters(weights: Path, socket: Path, threads: int) -> Any:
    parameters: Any = importlib.import_module("xllamacpp").CommonParams()
    parameters.model.path = str(weights)
    parameters.model_alias = {CHAT_MODEL}
    parameters.hostnames = [str(socket)]
    parameters.n_ctx = CONTEXT_TOKENS
    parameters.n_parallel = PARALLEL_CALLS
    parameters.kv_unified = True
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    parameters.n_gpu_layers = 0
    parameters.use_jinja = True
    # Measuring free memory and a warm-up run are worth it for large models; for 98 MB they double the start.
    parameters.fit_params = False
    parameters.warmup = False
    # llama.cpp would keep up to 8 GiB of past prompts in memory.
    parameters.cache_ram_mib = 0
    parameters.ui = False
    parameters.endpoint_slots = False
    # Its log would repeat each caller's mistake; those are answered.
    parameters.verbosity = 0
    return parameters
