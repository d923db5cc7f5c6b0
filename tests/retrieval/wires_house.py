"""Owns the server that the tests of retrieval's wires share: a collection that is a model, and a model that answers."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from serving import Server, eventually, serving

POLICY = """
[providers.writer]
dialect = "simulator"
price_as = "openai/gpt-4o-mini"

[[providers.writer.script.canned]]
contains = "Question: When does the office open?"
text = "It is lovely there. The office in Berlin opens at 9:30 [1]. It opens at 7:15 on Sundays."

[[providers.writer.script.canned]]
contains = "Question: When is the office closed?"
text = "NOT IN THE PASSAGES"

[[providers.writer.script.canned]]
contains = "Question: And when does it close?"
text = "The office in Berlin closes at 18:00."

[[providers.broken.script.faults]]
kind = "cut"

[providers.broken]
dialect = "simulator"
price_as = "openai/gpt-4o-mini"

[models.writer]
targets = ["writer/gpt-4o-mini"]

[models.broken]
targets = ["broken/gpt-4o-mini"]
retries = 0

[[providers.writer.script.canned]]
contains = "Question: Where is the secret door?"
text = "The office in Berlin has a secret door behind the blue wardrobe."

[providers.echo]
dialect = "simulator"
price_as = "openai/gpt-4o-mini"
script = { answer = "echo" }

[models.echo]
targets = ["echo/gpt-4o-mini"]
cache = { exact = true }

[models.rights]
collection = "rights"

[models.docs]
collection = "handbook"

[models.torn]
collection = "torn"

[providers.slow]
dialect = "simulator"
price_as = "openai/gpt-4o-mini"

[providers.slow.script]
tokens_per_second = 4
output_tokens = 400
canned = [{ contains = "Question: When does the office close?", text = "The office in Berlin closes at 18:00. So." }]

[models.slow-writer]
targets = ["slow/gpt-4o-mini"]

[models.slow]
collection = "slow"

[models.nowhere]
collection = "nowhere"
"""

OFFICE = "The office in Berlin opens at 9:30 and closes at 18:00."
SECRET = "The office in Berlin has a secret door behind the blue wardrobe."


@contextmanager
def wires_server(folder: Path) -> Generator[Server]:
    """Run it, with documents of which one is Ada's alone."""
    (folder / "backstay.toml").write_text(POLICY)
    with serving(folder, BACKSTAY_LOCAL_MODELS="true") as server:
        (folder / "open").mkdir()
        (folder / "open" / "office.txt").write_text(OFFICE)
        (folder / "open" / "refunds.md").write_text("# Refunds\n\nPaid within 14 days.")
        (folder / "secret.txt").write_text(SECRET)
        for name, model in (("handbook", "writer"), ("torn", "broken"), ("slow", "slow-writer")):
            server.ask("collections", "create", name, "--answer-model", model)
            eventually(lambda: server.run("ingest", "open", "--collection", name).returncode == 0)  # noqa: B023
        server.ask("ingest", "secret.txt", "--collection", "handbook", "--principal", "user:ada")
        yield server
