"""Owns the server that the wires' tests share: simulators of both dialects, and some that misbehave."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from serving import Server, serving

POLICY = """
[providers.open]
dialect = "simulator"
price_as = "openai/gpt-4o-mini"

[providers.anth]
dialect = "simulator"
speaks = "anthropic"
price_as = "anthropic/claude-sonnet-4-5"

[providers.slow]
dialect = "simulator"
price_as = "openai/gpt-4o-mini"
script = { tokens_per_second = 20, output_tokens = 400 }

[models.openai-way]
targets = ["open/gpt-4o-mini"]

[models.anthropic-way]
targets = ["anth/claude-sonnet-4-5"]

[models.slow]
targets = ["slow/gpt-4o-mini"]
"""

FAILURES = {400: "bad_request", 401: "authentication", 403: "permission", 404: "not_found", 422: "unprocessable",
            429: "rate_limit", 500: "server_error", 529: "overloaded"}  # fmt: skip


def policy() -> str:
    """The policy file: the models above, and one for each status that a provider may answer."""
    parts = [POLICY]
    for speaks in ("openai", "anthropic"):
        for status in FAILURES:
            name = f"{speaks}-{status}"
            parts.append(
                f'[providers.{name}]\ndialect = "simulator"\nspeaks = "{speaks}"\n'
                f'script = {{ faults = [{{ kind = "status", status = {status}, message = "no good" }}] }}\n'
                f'[models.fails-{name}]\ntargets = ["{name}/m"]\nretries = 0\n'
            )
    return "\n".join(parts)


@contextmanager
def wire_server(folder: Path) -> Generator[tuple[Server, str]]:
    """Run the server; give it and a key."""
    (folder / "backstay.toml").write_text(policy())
    with serving(folder) as server:
        key: str = server.ask("keys", "create", "--name", "wires")["key"]
        yield server, key
