"""What vendors say was used, through the real readers and the real list, to the nano-dollar: a hand-computed table."""

from datetime import UTC, datetime

import genai_prices
import pytest
from real_usages import REAL_USAGES, RealUsage, chat

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


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ('"cost":0.0000303,"is_byok":false,"cost_details":{"upstream_inference_cost":0.0000303}', 30_300),
        ('"cost":0.0000015,"is_byok":true,"cost_details":{"upstream_inference_cost":0.0000303}', 31_800),
        ('"cost":0,"is_byok":false,"completion_tokens_details":{"reasoning_tokens":0}', 0),
        ('"cost":1e-9', 1),
        ('"cost":-1', None),
        ('"cost":1e300', None),
        ('"cost":"0.1"', None),
        ('"cost":{"total_cost":0.1}', None),
        ('"cost":null', None),
    ],
)
def test_what_no_list_has_costs_what_the_provider_says(book: PriceBook, usage: str, expected: int | None):
    """OpenRouter says what it charges; with one's own key for the model's vendor, that one charges besides."""
    body = chat(f'{{"prompt_tokens":194,"completion_tokens":2,"total_tokens":196,{usage}}}')
    found = DIALECTS["openai"].read_summary(body.encode()).usage
    cost = book.cost(provider="openrouter", model_id="nobody/knows-it", usage=found, at_ns=AT_NS)
    assert cost.amount_nanousd == expected
    assert cost.source == (None if expected is None else "openrouter's own answer")
    other = book.cost(provider=None, model_id="nobody/knows-it", usage=found, at_ns=AT_NS, target="gpu/x")
    assert other.amount_nanousd is None
