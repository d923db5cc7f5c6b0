"""Tests of amounts in other currencies: read exactly, converted by the rate of the day, and stated."""

import asyncio
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from backstay.core.currencies import Currencies, DatedRates, Rate, at_most, read_amount, to_nanousd
from backstay.core.usage import Usage
from backstay.live_policy import LivePolicy

_rates = TypeAdapter(DatedRates)

EUR = _rates.validate_python(
    [{"usd": "1.10", "valid_from": "2026-10-01"}, {"usd": "1.0842", "valid_from": "2026-11-01"}]
)
CURRENCIES = Currencies({"EUR": EUR, "JPY": _rates.validate_python("0.0067")})


@pytest.mark.parametrize(
    ("written", "value", "currency"),
    [("50 EUR", "50", "EUR"), ("50eur", "50", "EUR"), (" .5 ", ".5", "USD"), (5, "5", "USD"), (0.1, "0.1", "USD"),
     ("1e-3 JPY", "0.001", "JPY"), ("-3", "-3", "USD")],
)  # fmt: skip
def test_an_amount_is_read_as_it_is_written(written: str | float, value: str, currency: str) -> None:
    """With or without a currency, which is US dollars then."""
    assert read_amount(written) == (Decimal(value), currency)


@pytest.mark.parametrize(
    "written", ["", "EUR", "EUR 50", "NaN", "inf", "1,5 EUR", "50 €", "50 EURO", "1e9999 EUR", "٣ EUR x"]
)
def test_what_is_no_amount_is_refused(written: str) -> None:
    """And what was expected is said."""
    with pytest.raises(ValueError, match="as in '50 EUR'"):
        read_amount(written)


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(2020, 1, 1), "1.10"),
        (date(2026, 10, 31), "1.10"),
        (date(2026, 11, 1), "1.0842"),
        (date(2030, 1, 1), "1.0842"),
    ],
)
def test_the_rate_of_a_day_is_that_which_began_last(day: date, expected: str) -> None:
    """The first one holds for the days before it."""
    rate = CURRENCIES.rate("EUR", datetime(day.year, day.month, day.day, 23, 59, tzinfo=UTC))
    assert rate.usd == Decimal(expected)


def test_a_rate_is_stated_with_its_day() -> None:
    """And one that was written without a day says none."""
    now = datetime(2026, 11, 28, tzinfo=UTC)
    stated = [str(rate) for rate in CURRENCIES.in_force(now)]
    assert stated == ["1 EUR = 1.0842 USD since 2026-11-01", "1 JPY = 0.0067 USD"]


def test_a_currency_without_a_rate_is_refused_by_name() -> None:
    """The message names those that have one."""
    with pytest.raises(ValueError, match=r"'CHF' has no rate\. There are: USD, EUR, JPY"):
        CURRENCIES.rate("CHF", datetime(2026, 11, 28, tzinfo=UTC))


def test_two_rates_of_one_day_are_refused() -> None:
    """Nobody could say which one holds."""
    with pytest.raises(ValueError, match="two rates begin on one day"):
        _rates.validate_python([{"usd": 1}, {"usd": 2}])


amounts = st.decimals("0", "1e9", places=6)
rates = st.decimals("0.000001", "1000", places=6)


@given(amounts, rates)
def test_a_limit_is_never_more_than_was_written(value: Decimal, usd: Decimal) -> None:
    """And less by under a nano-dollar; what was billed is within half of one."""
    amount, rate = read_amount(f"{value:f} EUR"), Rate("EUR", usd, None)
    exact = Fraction(value) * Fraction(usd) * 10**9
    assert 0 <= exact - at_most(amount, rate) < 1
    assert abs(exact - to_nanousd(amount, rate)) <= Fraction(1, 2)


def test_a_limit_in_dollars_may_not_be_finer_than_the_books() -> None:
    """It would be cut in silence."""
    with pytest.raises(ValueError, match="nine decimal places"):
        at_most(read_amount("0.0000000001"), CURRENCIES.rate("USD", datetime.now(UTC)))


def test_what_is_due_is_rounded_to_what_can_be_paid() -> None:
    """Cents of euros, whole yen, thousandths of dinars."""
    assert str(Rate("EUR", Decimal("1.0842"), None).from_nanousd(10**9)) == "0.92"
    assert str(Rate("JPY", Decimal("0.0067"), None).from_nanousd(10**9)) == "149"
    assert str(Rate("KWD", Decimal("3.25"), None).from_nanousd(10**9)) == "0.308"


async def test_prices_in_another_currency_are_converted_exactly_and_say_so(tmp_path: Path) -> None:
    """Only the sum of a bill is rounded; the ledger's source states the rate of the attempt's day."""
    file = tmp_path / "backstay.toml"
    file.write_text("""
[currencies]
EUR = [{ usd = "1.1", valid_from = 2026-10-01 }, { usd = "1.0842", valid_from = 2026-11-01 }]

[prices."local/smollm2"]
currency = "EUR"
input = "0.123457"
output = "1"
valid_from = 2026-01-01

[unknown_price]
currency = "EUR"
input = 1
output = 2

[budgets.chat]
limit = "50 EUR"
""")
    live = LivePolicy(file, {})
    live.load()
    (budget,) = live.budgets
    assert (budget.limit, budget.limit_given) == (54_210_000_000, "50 EUR, 1 EUR = 1.0842 USD since 2026-11-01")
    assert live.prices.most_unknown(input_tokens=1_000_000, output_tokens=0) == 1_084_200_000
    for month, rate, expected in ((10, "1.1", 407), (11, "1.0842", 402)):
        cost = live.prices.cost(
            provider=None,
            model_id="smollm2",
            usage=Usage(input_tokens=3, output_tokens=0),
            at_ns=int(datetime(2026, month, 15, tzinfo=UTC).timestamp()) * 10**9,
            target="local/smollm2",
        )
        assert cost.amount_nanousd == round(Fraction("0.123457") * Fraction(rate) * 3 * 1000) == expected
        day = f"2026-{month}-01"
        assert cost.source == f"backstay.toml since 2026-01-01, 1 EUR = {rate} USD since {day}"
    await live.close()


async def test_limits_follow_when_another_rate_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is read again that day, though nobody has touched it, so that all workers have one limit."""
    today = datetime.now(UTC)
    file = tmp_path / "backstay.toml"
    file.write_text(f"""
[currencies]
EUR = [{{ usd = "1.1" }}, {{ usd = "1.2", valid_from = {(today + timedelta(days=2)).date()} }}]

[budgets.chat]
limit = "50 EUR"
""")
    live = LivePolicy(file, {})
    live.load()
    assert live.budgets[0].limit == 55_000_000_000
    changed = asyncio.Event()
    watching = asyncio.create_task(live.watch(changed.set))

    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Later":
            return cls.fromtimestamp((today + timedelta(days=3)).timestamp(), tz)

    monkeypatch.setattr("backstay.live_policy.datetime", Later)
    async with asyncio.timeout(30):
        await changed.wait()
    assert live.budgets[0].limit == 60_000_000_000
    watching.cancel()
    await live.close()
