"""Owns the local models as the rest of Backstay sees them: a provider, and the child process behind it."""

import asyncio
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import aiohttp
import msgspec

from backstay.core.errors import BackstayError, ProviderUnreachable, Untranslatable
from backstay.providers.http import HttpExchange, HttpProvider, auth_headers
from backstay.providers.local_types import CHAT_MODEL, EMBEDDING_MODEL, Notice
from backstay.providers.openai import OPENAI
from backstay.providers.secrets import Secret
from backstay.providers.types import ProviderRequest

URL_VARIABLE = "BACKSTAY_LOCAL_URL"
KEY_VARIABLE = "BACKSTAY_LOCAL_KEY"

READY_LIMIT_S = 60.0

_PURPOSES = {
    CHAT_MODEL: "answers chats, and makes no vectors. Choose an embedding model, such as `embed`.",
    EMBEDDING_MODEL: "makes vectors, and answers no chats. Choose a chat model, such as `local`.",
}

_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "131072"}
"""Makes glibc give freed tensors back to the system: 150 MB less after large batches, at the same speed."""

_STOP_LIMIT_S = 5.0

_LONGEST_LINE_BYTES = 16 * 1024 * 1024

_STEADY_S = 10.0
"""A child that lived this long was well: its death does not count as one of a row."""

_LONGEST_PAUSE_S = 10.0


class LocalProvider(HttpProvider):
    """The local models as a provider: OpenAI's wire to the child process, whose address the environment holds."""

    def __init__(self, name: str, session: aiohttp.ClientSession, *, environ: Mapping[str, str]):
        url, key = environ.get(URL_VARIABLE), environ.get(KEY_VARIABLE)
        self._is_running = url is not None
        super().__init__(
            name,
            OPENAI,
            session,
            base_url=url or "http://127.0.0.1/v1",
            headers=auth_headers("bearer", Secret(key) if key else None),
            is_free=True,
        )
        self.problem = None if self._is_running else "off"

    async def send(self, request: ProviderRequest) -> HttpExchange:
        """Do as ``HttpProvider.send``. Raises ``ProviderUnreachable`` also where no local models were started.

        Raises:
            Untranslatable: The embedding model is asked to chat, or the chat model for vectors.
        """
        if request.operation == "rerank":
            raise Untranslatable(f"{self.name} has no reranker. A chat model can order passages too.", param="model")
        wrong = CHAT_MODEL if request.operation == "embeddings" else EMBEDDING_MODEL
        if request.model_id == wrong:
            raise Untranslatable(f"{self.name}/{wrong} {_PURPOSES[wrong]}", param="model")
        if not self._is_running:
            raise ProviderUnreachable("The local models are switched off. Start with BACKSTAY_LOCAL_MODELS=true.")
        return await super().send(request)


class LocalModels:
    """The child process of the local models: started, started again when it dies, and stopped.

    The listening socket is ours and the child inherits it. So the address stays the same from one child to the next,
    and calls that come between two children wait in its queue instead of being refused.
    """

    def __init__(self, on_notice: Callable[[Notice], None] = lambda _: None):
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self._key = secrets.token_urlsafe(24)
        self._scratch = Path(tempfile.gettempdir(), f"backstay-local-{secrets.token_hex(8)}")
        self._on_notice = on_notice
        self._states: dict[str, Notice] = {}
        self._settled = asyncio.Event()
        self._process: Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What workers need in their environment to find the local models."""
        return {URL_VARIABLE: self._url, KEY_VARIABLE: self._key}

    @property
    def pid(self) -> int | None:
        """The child's process id; ``None`` between two children."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Start the child and wait until each model is ready.

        Raises:
            BackstayError: A model could not be loaded; the message says why. The child runs on, with the other model.
        """
        self._keeper = self._keeper or asyncio.create_task(self._keep())
        try:
            async with asyncio.timeout(READY_LIMIT_S):
                await self._settled.wait()
        except TimeoutError:
            raise BackstayError(f"The local models were not ready within {READY_LIMIT_S:.0f} s.") from None
        failures = {notice.detail or notice.model: None for notice in self._states.values() if notice.state == "failed"}
        if failures:
            raise BackstayError(" ".join(failures))

    async def stop(self) -> None:
        """Stop the child and close the address."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait((self._keeper,))
        self._listener.close()

    async def _keep(self) -> None:
        deaths = 0
        while True:
            began = time.monotonic()
            try:
                end = f"ended with status {await self._run()}"
            except OSError as error:
                end = f"could not be started: {error.strerror}"
            deaths = 1 if time.monotonic() - began > _STEADY_S else deaths + 1
            for model in (CHAT_MODEL, EMBEDDING_MODEL):
                self._note(Notice(state="failed", model=model, detail=f"The process of the local models {end}."))
            await asyncio.sleep(min(0.1 * 2.0 ** min(deaths - 1, 10), _LONGEST_PAUSE_S))

    async def _run(self) -> int:
        """Run one child to its end, and return its status."""
        self._states.clear()
        self._settled.clear()
        process = self._process = await self._launch()
        try:
            assert process.stderr is not None
            async for line in process.stderr:
                self._read(line)
            return await process.wait()
        finally:
            self._process = None
            await _end(process)
            shutil.rmtree(self._scratch, ignore_errors=True)

    async def _launch(self) -> Process:
        fd = self._listener.fileno()
        # A session of its own: Ctrl-C in the terminal must not end the models before the calls that use them.
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "backstay.providers.local_server", "--fd", str(fd), "--exit-with-stdin",
            "--scratch", str(self._scratch), stdin=PIPE, stderr=PIPE, pass_fds=(fd,), start_new_session=True,
            env={**os.environ, **_ALLOCATOR, **self.environment}, limit=_LONGEST_LINE_BYTES,
        )  # fmt: skip

    def _read(self, line: bytes) -> None:
        try:
            notice = msgspec.json.decode(line, type=Notice)
        except msgspec.DecodeError:
            # llama.cpp's own words, or a traceback: for the log of whoever runs us.
            sys.stderr.write(line.decode(errors="replace"))
            return
        self._note(notice)

    def _note(self, notice: Notice) -> None:
        self._states[notice.model] = notice
        if len(self._states) == 2 and all(state.state != "loading" for state in self._states.values()):
            self._settled.set()
        self._on_notice(notice)


async def _end(process: Process) -> None:
    """Stop a child that may have ended already: kindly, then at once."""
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(_STOP_LIMIT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
