"""Owns what the tests of clients share: a policy of simulators, and where a client finds everything."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from serving import eventually

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

[providers.late]
dialect = "simulator"
price_as = "openai/gpt-4o-mini"
script = { latency_s = 5 }

[providers.broken]
dialect = "simulator"
script = { faults = [{ kind = "status", status = 429, message = "no good" }] }

[providers.paused]
dialect = "simulator"
price_as = "openai/gpt-4o-mini"
script = { latency_s = 1.5 }

[models.paused]
targets = ["paused/gpt-4o-mini"]

[models.openai-way]
targets = ["open/gpt-4o-mini"]

[models.anthropic-way]
targets = ["anth/claude-sonnet-4-5"]

[models.fallback]
targets = ["broken/m", "open/gpt-4o-mini"]

[models.fails]
targets = ["broken/m"]
retries = 0

[models.slow]
targets = ["slow/gpt-4o-mini"]

[models.late]
targets = ["late/gpt-4o-mini"]
"""


@dataclass(frozen=True, kw_only=True)
class House:
    """Where a client of a test finds everything, and its books."""

    options: dict[str, Any]
    url: str

    @property
    def data_dir(self) -> Path:
        return self.options["data_dir"]

    def calls(self) -> dict[str, tuple[str, int | None]]:
        """Read the status and the cost in nano-USD of each call in the books, by its trace."""
        query = (
            "select s.trace_id, s.status, sum(e.cost_nanousd)::bigint from spans s left join ledger_entries e "
            "on (e.tenant_id, e.trace_id) = (s.tenant_id, s.trace_id) where s.kind = 'call' group by 1, 2, s.span_id"
        )
        with psycopg.connect(self.url) as connection:
            rows = connection.execute(query).fetchall()
        found = {trace_id: (status, cost) for trace_id, status, cost in rows}
        assert len(found) == len(rows)
        return found

    def booked(self, trace_id: str) -> tuple[str, int | None]:
        """Wait until a call is in the books."""
        eventually(lambda: trace_id in self.calls(), 20)
        return self.calls()[trace_id]
