"""The most that a call can cost: never less than any usage within the counts costs, and never more than the dearest."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import Tier, TieredPrices
from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.core.usage import Usage
from backstay.ledger import PriceBook, PriceOverride
from backstay.ledger.prices import served_tiers
from backstay.ledger.rates import UNITS, Rates

NOW_NS = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()) * 1_000_000_000
TIERS = (None, "auto", "default", "flex", "priority", "fast", "batch", "no such tier")

_MODELS = [(provider.id, model.id) for provider in get_snapshot().providers for model in provider.models]


@st.composite
def usages(draw: st.DrawFn, input_tokens: int, output_tokens: int) -> Usage:
    """Give any usage within the counts whose parts are within their wholes; overlapping ones too."""

    def upto(most: int) -> int:
        return draw(st.one_of(st.just(0), st.just(most), st.integers(0, most)))

    total, output = upto(input_tokens), upto(output_tokens)
    read = upto(total)
    written = upto(total - read)
    audio = upto(total)
    image = upto(total - audio)
    cached_audio = upto(min(read, audio))
    return Usage(
        input_tokens=total,
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=upto(written),
        input_audio_tokens=audio,
        cache_audio_read_tokens=cached_audio,
        input_image_tokens=image,
        cache_image_read_tokens=upto(min(read - cached_audio, image)),
        reasoning_tokens=upto(output),
        output_audio_tokens=upto(output),
        output_image_tokens=upto(output),
        citation_tokens=upto(output),
        web_searches=upto(3),
        price_percent=draw(st.sampled_from([100, 110])),
    )


_prices = st.decimals(0, 100, places=4)


@st.composite
def _rates(draw: st.DrawFn) -> Rates:
    def price() -> Decimal | TieredPrices:
        starts = draw(st.lists(st.integers(0, 2_000), max_size=2, unique=True))
        if not starts:
            return draw(_prices)
        return TieredPrices(base=draw(_prices), tiers=[Tier(start=start, price=draw(_prices)) for start in starts])

    units = draw(st.sets(st.sampled_from(UNITS), min_size=1))
    return Rates({unit: price() for unit in units | {"input_mtok", "output_mtok"}}, source="drawn")


@settings(max_examples=400, deadline=None)
@given(rates=_rates(), data=st.data(), input_tokens=st.integers(0, 3_000), output_tokens=st.integers(0, 3_000))
def test_no_call_costs_more_than_the_most(rates: Rates, data: st.DataObject, input_tokens: int, output_tokens: int):
    """Whatever the prices, their tiers and the usage within the counts, its cost is at most the bound."""
    usage = data.draw(usages(input_tokens, output_tokens))
    duration_ms = data.draw(st.integers(0, 10_000))
    most = rates.most(input_tokens, output_tokens, usage.web_searches, duration_ms=duration_ms)
    cost = rates.cost(usage, data.draw(st.integers(0, duration_ms))).amount_nanousd
    assert (most is None) == (cost is None)
    assert most is None or cost is None or cost <= -(-most * usage.price_percent // 100) + 1


@settings(max_examples=400, deadline=None)
@given(
    where=st.integers(0, len(_MODELS) - 1),
    asked=st.sampled_from(TIERS),
    data=st.data(),
    input_tokens=st.one_of(st.integers(0, 3_000), st.integers(0, 2_000_000)),
    output_tokens=st.integers(0, 100_000),
)
def test_no_call_to_a_listed_model_costs_more_than_the_most(
    where: int, asked: str | None, data: st.DataObject, input_tokens: int, output_tokens: int
):
    """Of every listed model, by every tier that may serve the call."""
    provider, model_id = _MODELS[where]
    usage = data.draw(usages(input_tokens, output_tokens))
    name: dict[str, Any] = {"provider": provider, "model_id": model_id, "at_ns": NOW_NS}
    book = PriceBook()
    most = book.most(
        **name,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        web_searches=usage.web_searches,
        service_tier=asked,
        price_percent=usage.price_percent,
    )
    costs = [book.cost(**name, usage=usage, service_tier=tier).amount_nanousd for tier in served_tiers(provider, asked)]
    assert (most is None) == (None in costs)
    assert most is None or max(cost for cost in costs if cost is not None) <= most


def test_a_search_of_files_costs_no_more_than_one_of_the_web():
    """The bound of a search covers either; where searches of files have no price, what they cost is not known."""
    book = PriceBook()
    name: dict[str, Any] = {"provider": "openai", "model_id": "gpt-4.1", "at_ns": NOW_NS}
    most = book.most(**name, input_tokens=9, output_tokens=9, web_searches=2, service_tier="default")
    usage = Usage(input_tokens=9, output_tokens=9, web_searches=1, storage_searches=1)
    cost = book.cost(**name, usage=usage).amount_nanousd
    assert most is not None and cost is not None and cost <= most
    unpriced = book.cost(provider="mistral", model_id="mistral-large-2512", at_ns=NOW_NS, usage=usage)
    assert unpriced.amount_nanousd is None


@pytest.mark.parametrize(
    ("asked", "default", "expected"),
    [(None, "default", 1_250), ("auto", "default", 1_250), (None, "flex", 1_250), (None, "priority", 2_500),
     ("priority", "default", 2_500), (None, None, 2_500)],
)  # fmt: skip
def test_the_accounts_default_tier_tightens_the_bound(asked: str | None, default: str | None, expected: int):
    """Who asks for no tier has what the operator says to have set; nobody else can know."""
    most = PriceBook().most(
        provider="openai",
        model_id="gpt-5",
        at_ns=NOW_NS,
        input_tokens=1_000,
        output_tokens=0,
        service_tier=asked,
        default_tier=default,
    )
    assert most == expected * 1_000


@pytest.mark.parametrize(
    ("provider", "model_id", "asked", "without", "expected"),
    [
        # input at 3 USD, a token written to the cache for an hour at 6, output at 15
        ("anthropic", "claude-sonnet-4-5", None, set[str](), 1_000 * 6_000 + 100 * 15_000),
        ("anthropic", "claude-sonnet-4-5", None, {"cache_write_1h_mtok"}, 1_000 * 3_750 + 100 * 15_000),
        # the standard tier at 1.25 and 10, what the project may have set as its default at 2.5 and 20
        ("openai", "gpt-5", "default", set[str](), 1_000 * 1_250 + 100 * 10_000),
        ("openai", "gpt-5", "auto", set[str](), 1_000 * 2_500 + 100 * 20_000),
        ("openai", "gpt-5", None, set[str](), 1_000 * 2_500 + 100 * 20_000),
        ("openai", "gpt-5", "flex", set[str](), 1_000 * 1_250 + 100 * 10_000),
        ("openai", "gpt-audio", "default", set[str](), 1_000 * 32_000 + 100 * 64_000),
        # 14 USD for a thousand requests
        ("perplexity", "sonar-pro", None, set[str](), 1_000 * 3_000 + 100 * 15_000 + 14_000_000),
    ],
)
def test_the_most_is_what_the_dearest_usage_costs(
    provider: str, model_id: str, asked: str | None, without: set[str], expected: int
):
    """The bound is as tight as the price list allows: some usage costs it."""
    most = PriceBook().most(
        provider=provider,
        model_id=model_id,
        at_ns=NOW_NS,
        input_tokens=1_000,
        output_tokens=100,
        service_tier=asked,
        without=frozenset(without),
    )
    assert most == expected


def test_a_tier_of_length_counts_where_it_can_be_reached():
    """Up to its start, a long context's price is out of reach; one token more, and all of them may cost it."""
    book = PriceBook()

    def most(input_tokens: int) -> int | None:
        return book.most(
            provider="openai", model_id="gpt-5.4", at_ns=NOW_NS, input_tokens=input_tokens, output_tokens=0,
            service_tier="default",
        )  # fmt: skip

    assert most(272_000) == 272_000 * 2_500
    assert most(272_001) == 272_001 * 5_000


@pytest.mark.parametrize(
    ("provider", "model_id"), [(None, "gpt-4o"), ("openai", "no-such-model"), ("groq", "whisper-large-v3")]
)
def test_the_most_of_an_unknown_price_is_unknown(provider: str | None, model_id: str):
    """Without a price for what it is billed by, nothing can be promised."""
    assert PriceBook().most(provider=provider, model_id=model_id, at_ns=NOW_NS, input_tokens=1, output_tokens=1) is None


def test_searches_without_a_price_have_no_bound():
    """A call that may search where searches have no price has no bound; one that may not has."""
    book = PriceBook()

    def most(web_searches: int) -> int | None:
        return book.most(
            provider="openai", model_id="gpt-4", at_ns=NOW_NS, input_tokens=1, output_tokens=1,
            web_searches=web_searches,
        )  # fmt: skip

    assert (most(0), most(1)) == (90_000, None)


def test_the_operators_price_and_free_targets_have_bounds_too():
    """The operator's price goes first, whatever the tier; what runs here costs nothing at most."""
    book = PriceBook({"acme/x": PriceOverride(input=Decimal(1), output=Decimal(2), per_request=Decimal("0.001"))})
    assert book.most(
        provider="openai", model_id="x", at_ns=NOW_NS, input_tokens=10, output_tokens=5, target="acme/x"
    ) == 10 * 1_000 + 5 * 2_000 + 1_000_000  # fmt: skip
    assert book.most(provider=None, model_id="y", at_ns=NOW_NS, input_tokens=9, output_tokens=9, is_free=True) == 0
