"""Owns the server of the responses wire's tests: targets of each dialect, and simulators on sockets that serve it."""

import asyncio
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from backstay.testing import RunningSimulator, simulator_server
from serving import Server, serving

POLICY = """
[providers.native]
dialect = "openai"
base_url = "{url}/v1"
responses = true
price_as = "openai/gpt-4o-mini"

[providers.plain]
dialect = "openai"
base_url = "{url}/v1"
price_as = "openai/gpt-4o-mini"

[providers.anth]
dialect = "simulator"
speaks = "anthropic"
price_as = "anthropic/claude-sonnet-4-5"

[providers.only]
dialect = "openai-responses"
base_url = "{url}/v1"
price_as = "openai/gpt-4o-mini"

[providers.cut]
dialect = "simulator"
script = {{ faults = [{{ kind = "cut", after_tokens = 3 }}] }}

[providers.cut-native]
dialect = "simulator"
responses = true
script = {{ faults = [{{ kind = "error_event", after_tokens = 3, message = "no good" }}] }}

[providers.refuses]
dialect = "simulator"
script = {{ faults = [{{ kind = "refusal" }}] }}

[providers.busy]
dialect = "simulator"
speaks = "anthropic"
script = {{ faults = [{{ kind = "status", status = 429, message = "no good" }}] }}

[models.native-way]
targets = ["native/gpt-4o-mini"]

[models.openai-way]
targets = ["plain/gpt-4o-mini"]

[models.anthropic-way]
targets = ["anth/claude-sonnet-4-5"]

[models.only-way]
targets = ["only/gpt-4o-mini"]

[models.cut-way]
targets = ["cut/m"]

[models.cut-native-way]
targets = ["cut-native/m"]

[models.refusing]
targets = ["refuses/m"]

[models.busy]
targets = ["busy/m"]
"""


@contextmanager
def simulator() -> Generator[RunningSimulator]:
    """Run a simulator on a socket, in a loop of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    running = simulator_server()
    try:
        yield asyncio.run_coroutine_threadsafe(running.__aenter__(), loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(running.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def responses_server(folder: Path) -> Generator[tuple[Server, str]]:
    """Run a server of two workers; give it and a key."""
    with simulator() as running:
        (folder / "backstay.toml").write_text(POLICY.format(url=running.url))
        with serving(folder, "--workers", "2") as server:
            key: str = server.ask("keys", "create", "--name", "responses")["key"]
            yield server, key
