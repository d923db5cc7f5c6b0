"""The public price list: a newer one is read whole or not at all, kept with its date, and compared with another."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backstay.core.errors import ConfigError
from backstay.core.usage import Usage
from backstay.ledger import PriceBook
from backstay.ledger.price_changes import PriceChange, compare_lists
from backstay.ledger.price_list import KEPT_AS, PriceList, installed_list, kept_form, list_in_force, read_list

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = date(2026, 11, 24)
FILE = Path("data.json")


def data_file(**prices: dict[str, Any]) -> bytes:
    """Write a list of one provider, in the form of genai-prices' data file."""
    models = [{"id": name, "match": {"equals": name}, "prices": each} for name, each in prices.items()]
    return msgspec.json.encode(
        [{"id": "acme", "name": "Acme", "api_pattern": "https://api\\.acme\\.example", "models": models}]
    )


LIST = data_file(
    small={"input_mtok": 1, "output_mtok": 2},
    large={"input_mtok": {"base": 3, "tiers": [{"start": 1000, "price": 6}]}, "output_mtok": 4},
    gone={"input_mtok": 1, "output_mtok": 1},
)
NEWER = data_file(
    small={"input_mtok": 1, "output_mtok": 1.5, "cache_read_mtok": 0.1},
    large={"input_mtok": {"base": 3, "tiers": [{"start": 1000, "price": 5}]}, "output_mtok": 4},
    new={"input_mtok": 1, "output_mtok": 1},
)


def read(data: bytes) -> PriceList:
    return read_list(data, DAY, FILE)


def test_a_newer_list_prices_and_is_named_with_its_date():
    """The ledger says which list a price is from."""
    book = PriceBook(price_list=read(NEWER))
    cost = book.cost(
        provider="acme",
        model_id="small",
        usage=Usage(input_tokens=10, output_tokens=10, cache_read_tokens=4),
        at_ns=int(NOW.timestamp()) * 10**9,
    )
    assert cost.amount_nanousd == 6 * 1_000 + 4 * 100 + 10 * 1_500
    assert cost.source == "genai-prices of 2026-11-24 acme/small"
    assert book.describe("openai", "gpt-4o") is None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"no json", "no price list of genai-prices"),
        (b"{}", "a list of providers"),
        (b"[]", "lists no model"),
        (b"[1]", "no price list of genai-prices"),
        (data_file(x={"input_mtok": -1}), "acme/x has a price below 0"),
        (data_file(x={"output_mtok": {"base": 1, "tiers": [{"start": 9, "price": -1}]}}), "acme/x has a price below 0"),
        (data_file(x={"input_mtok": "dear"}), "no price list of genai-prices"),
        (data_file(x={"input_mtok": {"base": 1}}), "no price list of genai-prices"),
    ],
)
def test_a_file_that_is_no_list_is_refused(data: bytes, reason: str):
    """Whatever is wrong with it, nobody pays by half of it."""
    with pytest.raises(ConfigError, match=reason) as caught:
        read(data)
    assert caught.value.file == str(FILE)


def test_the_data_folders_list_is_in_force(tmp_path: Path):
    """Else the installed one; a file that was damaged is refused, with the way back."""
    assert list_in_force(None).name == list_in_force(tmp_path).name == installed_list().name
    (tmp_path / KEPT_AS).write_bytes(kept_form(NEWER, DAY))
    kept = list_in_force(tmp_path)
    assert kept.name == "genai-prices of 2026-11-24"
    assert [model.id for _, model in kept.models()] == ["small", "large", "new"]
    (tmp_path / KEPT_AS).write_bytes(b"{")
    with pytest.raises(ConfigError, match="--revert"):
        list_in_force(tmp_path)


def test_what_a_list_changes_is_named():
    """Prices that differ, tiers too, and models that come and go."""
    changes = compare_lists(read(LIST), read(NEWER), NOW)
    assert changes.changed == (
        PriceChange("acme/large", "input_mtok above 1000", "6", "5"),
        PriceChange("acme/small", "output_mtok", "2", "1.5"),
        PriceChange("acme/small", "cache_read_mtok", None, "0.1"),
    )
    assert (changes.added, changes.removed) == (("acme/new",), ("acme/gone",))
    assert compare_lists(installed_list(), installed_list(), NOW) == ((), (), ())


def test_a_price_says_since_when_it_holds():
    """As far as the list, or the operator, knows it."""
    described = PriceBook().describe("openai", "o3")
    assert described is not None
    assert described["since"] == "2025-06-10"
