"""Prices: hand-computed bills, agreement with genai-prices, the operator's own prices, speed."""

from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, Provider, TimeOfDateConstraint
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from backstay.core.usage import Usage
from backstay.ledger import PriceBook, PriceOverride
from backstay.ledger.rates import UNITS, Rates
from backstay.policy import PolicyFile, policy_schema

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
NOW_NS = int(NOW.timestamp()) * 1_000_000_000

# What no reader of a chat's answer reports, as USD per million tokens × 1,000 a token; real_usages.py has all the rest.
BILLS: dict[str, tuple[str, str, str, Usage, str | None, int]] = {
    "cached audio": (
        '{"prompt_tokens":1000,"completion_tokens":0,"prompt_tokens_details":{"audio_tokens":600,"cached_tokens":500,'
        '"cached_tokens_details":{"audio_tokens":200,"text_tokens":300}}}',
        "openai",
        "gpt-4o-realtime-preview",
        Usage(
            input_tokens=1000,
            output_tokens=0,
            input_audio_tokens=600,
            cache_read_tokens=500,
            cache_audio_read_tokens=200,
        ),
        None,
        # text 100 fresh and 300 cached; audio 400 fresh and 200 cached
        100 * 5_000 + 300 * 2_500 + 400 * 40_000 + 200 * 2_500,
    ),
    "half a nano-dollar a token": (
        '{"input_tokens":0,"cache_read_input_tokens":3,"output_tokens":0}, batch',
        "anthropic",
        "claude-fable-5-1",
        Usage(input_tokens=3, output_tokens=0, cache_read_tokens=3),
        "batch",
        3 * 125,
    ),
}


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return PriceBook()


@pytest.mark.parametrize("name", BILLS)
def test_usage_is_billed_as_computed_by_hand(book: PriceBook, name: str):
    """It costs what the vendor's price list says, to the nano-dollar."""
    _, provider, model_id, usage, tier, expected = BILLS[name]
    cost = book.cost(provider=provider, model_id=model_id, usage=usage, at_ns=NOW_NS, service_tier=tier)
    assert cost.amount_nanousd == expected
    assert sum(line.amount_nanousd for line in cost.lines) == expected


def test_lines_say_what_was_counted_at_which_price(book: PriceBook):
    """A bill names each kind of token, how many there were, and their unit price, and where the price is from."""
    usage = Usage(input_tokens=2006, output_tokens=300, cache_read_tokens=1920)
    cost = book.cost(provider="openai", model_id="gpt-4o-mini", usage=usage, at_ns=NOW_NS)
    assert [(line.unit, line.quantity, line.usd_per_million, line.amount_nanousd) for line in cost.lines] == [
        ("input_mtok", 86, "0.15", 12_900),
        ("cache_read_mtok", 1920, "0.075", 144_000),
        ("output_mtok", 300, "0.6", 180_000),
    ]
    assert cost.source == f"genai-prices {genai_prices.__version__} openai/gpt-4o-mini"


def test_the_source_names_a_tier_that_changed_the_price(book: PriceBook):
    """A tier with a price of its own stands in the source; one without is billed, and named, as standard."""
    usage = Usage(input_tokens=1, output_tokens=1)

    def source(tier: str) -> str | None:
        return book.cost(provider="openai", model_id="gpt-5", usage=usage, at_ns=NOW_NS, service_tier=tier).source

    standard = f"genai-prices {genai_prices.__version__} openai/gpt-5"
    assert source("flex") == f"{standard} flex"
    assert source("default") == standard
    assert source("no such tier") == standard


@pytest.mark.parametrize(
    ("provider", "model_id"), [(None, "gpt-4o"), ("openai", "no-such-model"), ("no-such-provider", "gpt-4o")]
)
def test_the_cost_of_an_unknown_model_is_unknown(book: PriceBook, provider: str | None, model_id: str):
    """Without a price there is no amount and no source; never 0."""
    cost = book.cost(provider=provider, model_id=model_id, usage=Usage(input_tokens=1, output_tokens=1), at_ns=NOW_NS)
    assert (cost.amount_nanousd, cost.lines, cost.source) == (None, (), None)
    assert book.describe(provider, model_id) is None


@pytest.mark.parametrize(
    "usage",
    [
        pytest.param(Usage(), id="nothing said"),
        pytest.param(Usage(input_tokens=5), id="output not said"),
        pytest.param(Usage(output_tokens=5), id="input not said"),
    ],
)
def test_the_cost_of_unknown_usage_is_unknown(book: PriceBook, usage: Usage):
    """What was not counted, and is not free, cannot be billed."""
    cost = book.cost(provider="openai", model_id="gpt-4o", usage=usage, at_ns=NOW_NS)
    assert cost.amount_nanousd is None
    assert cost.source == f"genai-prices {genai_prices.__version__} openai/gpt-4o"


def test_a_fast_mode_without_a_listed_price_is_unknown(book: PriceBook):
    """It costs several times the standard price: that of a model without a listed one is not billed as standard."""
    usage = Usage(input_tokens=1, output_tokens=1)

    def amount(model_id: str) -> int | None:
        cost = book.cost(provider="anthropic", model_id=model_id, usage=usage, at_ns=NOW_NS, service_tier="fast")
        return cost.amount_nanousd

    assert (amount("claude-opus-4-6"), amount("claude-opus-5")) == (None, 10_000 + 50_000)


def test_the_cost_of_searches_without_a_price_is_unknown(book: PriceBook):
    """A web search on a model whose searches have no known price is not billed as free."""
    usage = Usage(input_tokens=1, output_tokens=1, web_searches=1)
    assert book.cost(provider="openai", model_id="gpt-4", usage=usage, at_ns=NOW_NS).amount_nanousd is None


def test_a_price_by_something_else_than_tokens_is_unknown(book: PriceBook):
    """A model billed by the hour of audio has no price for tokens."""
    usage = Usage(input_tokens=100, output_tokens=100)
    assert book.cost(provider="groq", model_id="whisper-large-v3", usage=usage, at_ns=NOW_NS).amount_nanousd is None


def test_parts_larger_than_their_whole_are_billed_as_reported(book: PriceBook):
    """A provider that reports more cached input than input is billed for that, and for no negative rest."""
    usage = Usage(input_tokens=50, output_tokens=0, cache_read_tokens=100)
    cost = book.cost(provider="openai", model_id="gpt-4o", usage=usage, at_ns=NOW_NS)
    assert cost.amount_nanousd == 100 * 1_250


def test_a_free_target_costs_nothing_whatever_it_reports(book: PriceBook):
    """A model that runs here costs 0, and says so; the operator's own price goes before that."""
    free = book.cost(provider=None, model_id="smollm2", usage=Usage(), at_ns=NOW_NS, is_free=True)
    assert (free.amount_nanousd, free.source) == (0, "free (local)")
    described = book.describe(None, "smollm2", is_free=True)
    assert described == {"usd_per_million": {}, "tiers": [], "source": "free (local)", "since": None}
    charged = PriceBook({"local/smollm2": PriceOverride(output=Decimal("0.01"))}).cost(
        provider=None,
        model_id="smollm2",
        target="local/smollm2",
        usage=Usage(output_tokens=100),
        at_ns=NOW_NS,
        is_free=True,
    )
    assert charged.amount_nanousd == 1_000


def test_a_price_changes_on_its_day(book: PriceBook):
    """o3 became cheaper on 2025-06-10 (UTC): calls of the day before keep their price."""
    usage = Usage(input_tokens=1000, output_tokens=100)

    def amount(*moment: int) -> int | None:
        at_ns = int(datetime(*moment, tzinfo=UTC).timestamp()) * 1_000_000_000  # pyright: ignore[reportArgumentType]
        return book.cost(provider="openai", model_id="o3", usage=usage, at_ns=at_ns).amount_nanousd

    assert amount(2025, 6, 9, 23, 59) == 1000 * 10_000 + 100 * 40_000
    assert amount(2025, 6, 10) == 1000 * 2_000 + 100 * 8_000
    assert amount(2025, 6, 9) == 1000 * 10_000 + 100 * 40_000


def test_prices_change_at_whole_minutes_only():
    """Prices that depend on the time of day change at whole minutes, as the book takes for granted."""
    times = [
        time
        for provider in get_snapshot().providers
        for model in provider.models
        for condition in (model.prices if isinstance(model.prices, list) else [])
        if isinstance(condition.constraint, TimeOfDateConstraint)
        for time in (condition.constraint.start_time, condition.constraint.end_time)
    ]
    assert times
    assert [time for time in times if time.second or time.microsecond] == []


def test_every_unit_of_the_list_is_known_or_left_aside_on_purpose():
    """A newer price list with a new unit makes this fail, so that somebody decides about it."""
    left_aside = {
        "audio_hours", "input_audio_hours", "input_mchars", "input_text_messages_kcount", "input_document_kpages",
        "input_annotated_document_kpages", "input_video_mtok", "output_video_mtok",
    }  # fmt: skip
    assert {unit for _, model in _MODELS for price in _all_prices(model) for unit in price} - left_aside <= set(UNITS)


def test_the_operators_price_replaces_the_public_one():
    """A target's own price is billed alone, rounded once; parts without a price are billed as their whole."""
    book = PriceBook(
        {
            "acme/gpt-4o": PriceOverride(input=Decimal("0.0005"), output=Decimal("2"), per_request=Decimal("0.01")),
            "openai/gpt-4o": PriceOverride(input=Decimal(1), output=Decimal(1)),
        }
    )
    usage = Usage(input_tokens=1001, output_tokens=10, cache_read_tokens=1000)
    own = book.cost(provider="openai", model_id="gpt-4o", target="acme/gpt-4o", usage=usage, at_ns=NOW_NS)
    # 1001 × 0.5 = 500.5 nano-dollars: the running total rounds to even at each line.
    assert own.amount_nanousd == 500 + 10 * 2_000 + 10_000_000
    assert [line.unit for line in own.lines] == ["input_mtok", "output_mtok", "requests_kcount"]
    assert own.source == "backstay.toml"
    by_model = book.cost(provider="openai", model_id="gpt-4o", target="other/gpt-4o", usage=usage, at_ns=NOW_NS)
    assert by_model.amount_nanousd == 1_011_000


def _day_ns(year: int, month: int, day: int) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp()) * 1_000_000_000


def test_a_price_change_never_rewrites_history():
    """Each day has its own price: of the table that holds on it, in UTC, and of the public list where none does."""
    dated = PolicyFile.model_validate(
        {
            "prices": {
                "openai/gpt-4o": [
                    {"input": 3, "output": 0, "valid_from": date(2026, 11, 1)},
                    {"input": 1, "output": 0, "valid_from": date(2026, 1, 1), "valid_until": date(2026, 3, 31)},
                    {"input": 2, "output": 0, "valid_from": date(2026, 7, 1)},
                ]
            }
        }
    ).prices
    book = PriceBook(dated)

    def price(at_ns: int) -> tuple[int | None, str | None]:
        cost = book.cost(
            provider="openai", model_id="gpt-4o", usage=Usage(input_tokens=1, output_tokens=0), at_ns=at_ns
        )
        return cost.amount_nanousd, cost.source

    public = (2_500, f"genai-prices {genai_prices.__version__} openai/gpt-4o")
    assert price(_day_ns(2025, 12, 31)) == public
    assert price(_day_ns(2026, 1, 1)) == (1_000, "backstay.toml since 2026-01-01")
    assert price(_day_ns(2026, 4, 1) - 1) == (1_000, "backstay.toml since 2026-01-01")
    assert price(_day_ns(2026, 4, 1)) == public
    assert price(_day_ns(2026, 11, 1) - 1) == (2_000, "backstay.toml since 2026-07-01")
    assert price(_day_ns(2026, 11, 1)) == (3_000, "backstay.toml since 2026-11-01")


@pytest.mark.parametrize(
    ("tables", "reason"),
    [
        ([{"input": 1}, {"input": 2}], "two prices begin on one day"),
        (
            [
                {"input": 1, "valid_until": date(2026, 7, 1)},
                {"input": 2, "valid_from": date(2026, 7, 1)},
            ],
            "valid_until = 2026-06-30",
        ),
        ([{"input": 1, "valid_from": date(2026, 7, 2), "valid_until": date(2026, 7, 1)}], "is before valid_from"),
        ([], "at least 1 item"),
        ([{"valid_from": date(2026, 7, 2), "valid_until": date(2026, 7, 9)}], "name at least one price"),
    ],
)
def test_prices_whose_days_cannot_be_are_refused(tables: list[dict[str, Any]], reason: str):
    """Two prices on one day, an end before the beginning, no price at all: each is refused with what to do."""
    with pytest.raises(ValidationError, match=reason):
        PolicyFile.model_validate({"prices": {"acme/x": tables}})


def test_the_policys_schema_takes_one_table_or_several():
    """Editors are told both forms."""
    prices = policy_schema()["properties"]["prices"]
    one, several = next(iter(prices["patternProperties"].values()))["anyOf"]
    assert (one["type"], several["type"], several["items"]) == ("object", "array", one)
    assert {"per_second", "valid_until"} <= one["properties"].keys()


def test_a_model_of_ones_own_is_billed_by_the_second():
    """The attempt's time is billed to the millisecond, whatever the model says that it used, beside its tokens."""
    book = PriceBook(
        {
            "own/llama": PriceOverride(per_second=Decimal("0.0004")),
            "own/qwen": PriceOverride(per_second=Decimal("0.0004"), output=Decimal(1)),
        }
    )
    name: dict[str, Any] = {"provider": None, "at_ns": NOW_NS}
    timed = book.cost(**name, model_id="llama", target="own/llama", usage=Usage(), duration_ms=1_501)
    assert timed.amount_nanousd == 1_501 * 400
    assert [(line.unit, line.quantity, line.usd_per_million) for line in timed.lines] == [("duration_ms", 1_501, "0.4")]
    both = book.cost(
        **name, model_id="qwen", target="own/qwen", usage=Usage(input_tokens=9, output_tokens=7), duration_ms=1_501
    )
    assert both.amount_nanousd == 1_501 * 400 + 7 * 1_000
    unknown = book.cost(**name, model_id="qwen", target="own/qwen", usage=Usage(), duration_ms=1_501)
    assert unknown.amount_nanousd is None

    searched = book.cost(**name, model_id="llama", target="own/llama", usage=Usage(web_searches=1), duration_ms=1_501)
    assert searched.amount_nanousd is None

    def most(duration_ms: int | None) -> int | None:
        return book.most(
            **name, model_id="qwen", target="own/qwen", input_tokens=9, output_tokens=7, duration_ms=duration_ms
        )

    assert (most(60_000), most(None)) == (60_000 * 400 + 7 * 1_000, None)


def test_the_operators_price_begins_on_its_day():
    """Before ``valid_from`` the public price applies."""
    book = PriceBook(
        {"openai/gpt-4o": PriceOverride(input=Decimal(0), output=Decimal(0), valid_from=date(2026, 11, 21))}
    )
    usage = Usage(input_tokens=1, output_tokens=1)
    day_ns = 24 * 3600 * 1_000_000_000
    before = book.cost(provider="openai", model_id="gpt-4o", usage=usage, at_ns=NOW_NS)
    after = book.cost(provider="openai", model_id="gpt-4o", usage=usage, at_ns=NOW_NS + day_ns)
    assert (before.amount_nanousd, after.amount_nanousd) == (12_500, 0)


@pytest.mark.parametrize("table", [{}, {"valid_from": "2026-01-01"}, {"input": -1}, {"input": "nan"}, {"inputs": 1}])
def test_a_table_that_is_no_price_is_refused(table: dict[str, Any]):
    """Empty tables, negative or infinite prices and unknown names are refused when the file is read."""
    with pytest.raises(ValidationError):
        PriceOverride.model_validate(table)


def test_the_catalog_tells_prices_and_long_context_tiers(book: PriceBook):
    """Descriptions are exact decimals by unit, and what changes past a tier's start."""
    described = book.describe("openai", "gpt-5.4")
    assert described is not None
    assert described["usd_per_million"]["input_mtok"] == "2.5"
    assert described["usd_per_million"]["web_searches_kcount"] == "10000"
    assert described["tiers"] == [
        {
            "above_input_tokens": 272_000,
            "usd_per_million": {
                "input_mtok": "5",
                "cache_read_mtok": "0.5",
                "output_mtok": "22.5",
                "web_searches_kcount": "10000",
                "storage_searches_kcount": "2500",
            },
        }
    ]


_MODELS: list[tuple[Provider, ModelInfo]] = [
    (provider, model) for provider in get_snapshot().providers for model in provider.models
]


def _all_prices(model: ModelInfo) -> list[dict[str, Any]]:
    plain = [model.prices] if not isinstance(model.prices, list) else [condition.prices for condition in model.prices]
    return [vars(price) for price in plain] + [vars(variant.prices) for variant in model.price_variants or ()]


@st.composite
def _usages(draw: st.DrawFn) -> Usage:
    def part(whole: int) -> int:
        return draw(st.one_of(st.just(0), st.integers(0, whole)))

    text, audio = draw(st.integers(0, 300_000)), draw(st.one_of(st.just(0), st.integers(0, 300_000)))
    image = draw(st.one_of(st.just(0), st.integers(0, 50_000)))
    cached_text = part(text)
    cached_audio = part(audio)
    cached_image = part(image)
    written = part(text - cached_text)
    output = draw(st.integers(0, 100_000))
    reasoning = part(output)
    spoken = part(output - reasoning)
    drawn = part(output - reasoning - spoken)
    return Usage(
        input_tokens=text + audio + image,
        output_tokens=output,
        cache_read_tokens=cached_text + cached_audio + cached_image,
        cache_audio_read_tokens=cached_audio,
        input_image_tokens=image,
        cache_image_read_tokens=cached_image,
        output_image_tokens=drawn,
        citation_tokens=part(output - reasoning - spoken - drawn),
        cache_write_tokens=written,
        cache_write_1h_tokens=part(written),
        input_audio_tokens=audio,
        reasoning_tokens=reasoning,
        output_audio_tokens=spoken,
    )


@settings(max_examples=400, deadline=None)
@given(
    where=st.integers(0, len(_MODELS) - 1),
    usage=_usages(),
    minutes=st.integers(0, 3 * 365 * 24 * 60),
    tier=st.sampled_from([None, "default", "flex", "priority", "fast", "batch"]),
)
def test_every_price_of_the_list_is_applied_as_genai_prices_does(
    where: int, usage: Usage, minutes: int, tier: str | None
):
    """Whatever the model, date, tier and usage, the total is genai-prices' own, rounded to the nano-dollar."""
    provider, model = _MODELS[where]
    at = datetime.fromtimestamp(1_704_067_200 + 60 * minutes, UTC)
    context = {"service_tier": tier} if tier else {}
    context |= {"processing": "batch"} if tier == "batch" else {"speed": "fast"} if tier == "fast" else {}
    listed = model.get_prices(at, context)
    book = PriceBook()
    book._models[(provider.id, "m")] = (provider, model)  # pyright: ignore[reportPrivateUsage]
    cost = book.cost(
        provider=provider.id, model_id="m", usage=usage, at_ns=int(at.timestamp()) * 10**9, service_tier=tier
    )
    if tier == "fast" and provider.id == "anthropic" and listed == model.get_prices(at):
        assert cost.amount_nanousd is None
        return
    if not set(UNITS) & {unit for unit, price in vars(listed).items() if price is not None}:
        assert cost.amount_nanousd is None
        return
    oracle = listed.calc_price(
        genai_prices.Usage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cache_read_tokens,
            cache_audio_read_tokens=usage.cache_audio_read_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            cache_write_1h_tokens=usage.cache_write_1h_tokens,
            input_audio_tokens=usage.input_audio_tokens,
            output_reasoning_tokens=usage.reasoning_tokens,
            output_audio_tokens=usage.output_audio_tokens,
            input_image_tokens=usage.input_image_tokens,
            cache_image_read_tokens=usage.cache_image_read_tokens,
            output_image_tokens=usage.output_image_tokens,
            output_citation_tokens=usage.citation_tokens,
        )
    )
    expected = int((oracle["total_price"] * 10**9).to_integral_value(ROUND_HALF_EVEN))
    assert cost.amount_nanousd == expected
    assert sum(line.amount_nanousd for line in cost.lines) == expected
    assert all(line.quantity > 0 for line in cost.lines)


_CLAUDE = "aws/regional.anthropic.claude-opus-5"


@pytest.mark.parametrize(
    ("model_id", "source"),
    [
        ("anthropic.claude-opus-5", _CLAUDE),
        ("us.anthropic.claude-opus-5", _CLAUDE),
        ("apac.anthropic.claude-opus-5", _CLAUDE),
        ("arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-5", _CLAUDE),
        ("global.anthropic.claude-opus-5", "aws/global.anthropic.claude-opus-5"),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0", "aws/amazon.nova-lite-v1:0"),
        ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123def456", None),
    ],
)
def test_inference_profiles_have_their_models_price(model_id: str, source: str | None) -> None:
    """Bedrock's ARNs and profiles of a geography are looked up by their model; what says nothing stays unknown."""
    price = PriceBook().describe("aws", model_id)
    assert (price["source"].rpartition(" ")[2] if price else None) == source


def test_a_total_is_the_sum_of_its_calls() -> None:
    """Priced together, calls of one tier cost what they cost one by one, but for half a nano-dollar each."""
    rates = PriceBook().rates(provider="anthropic", model_id="claude-sonnet-4-5", at_ns=NOW_NS)
    assert isinstance(rates, Rates) and rates.tier_starts == (200_000,)
    for above, sizes in ((-1, range(1_000, 200_001, 7_919)), (200_000, range(200_001, 300_000, 7_919))):
        calls = [
            Usage(input_tokens=size, output_tokens=size // 9, cache_read_tokens=size // 3, cache_write_tokens=size // 5)
            for size in sizes
        ]
        together = Usage(
            input_tokens=sum(call.input_tokens or 0 for call in calls),
            output_tokens=sum(call.output_tokens or 0 for call in calls),
            cache_read_tokens=sum(call.cache_read_tokens for call in calls),
            cache_write_tokens=sum(call.cache_write_tokens for call in calls),
        )
        one_by_one = sum(rates.cost(call).amount_nanousd or 0 for call in calls)
        total = rates.total(together, calls=len(calls), input_above=above)
        assert total is not None and abs(total - one_by_one) <= len(calls) / 2
