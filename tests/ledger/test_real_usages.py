"""What vendors say was used, through the real readers and the real list, to the nano-dollar: a hand-computed table."""

from datetime import UTC, datetime

import genai_prices
import pytest
from real_usages import REAL_USAGES, RealUsage

from backstay.ledger import PriceBook
from backstay.providers.dialects import DIALECTS
from backstay.providers.types import ReplySummary

AT_NS = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()) * 1_000_000_000


def test_the_table_is_as_large_as_it_claims():
    """Over sixty usages of more than fifteen vendors, no two rows with one name."""
    assert len({(row.dialect, row.name) for row in REAL_USAGES if row.expected_nanousd}) == len(REAL_USAGES) >= 80
    assert len({row.target.partition("/")[0] for row in REAL_USAGES}) >= 15


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return PriceBook()


@pytest.mark.parametrize("row", REAL_USAGES, ids=lambda row: f"{row.dialect}: {row.name}")
def test_a_real_answer_costs_what_was_computed_by_hand(book: PriceBook, row: RealUsage):
    """Read by the vendor's dialect, priced at the list's entry: total and lines are the hand-computed amount."""
    summary = _read(row)
    provider, _, model_id = row.target.partition("/")
    cost = book.cost(
        provider=provider,
        model_id=model_id,
        usage=summary.usage,
        at_ns=AT_NS,
        service_tier=row.tier or summary.service_tier,
    )
    assert cost.amount_nanousd == row.expected_nanousd
    assert sum(line.amount_nanousd for line in cost.lines) == row.expected_nanousd
    assert cost.source == f"genai-prices {genai_prices.__version__} {row.listed}"


def _read(row: RealUsage) -> ReplySummary:
    name, _, operation = row.dialect.partition("+")
    dialect = DIALECTS[name]
    if not operation:
        return dialect.read_summary(row.answer.encode())
    assert dialect.embeddings is not None
    return dialect.embeddings.read_summary(row.answer.encode())
