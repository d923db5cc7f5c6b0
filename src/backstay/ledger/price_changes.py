"""Owns what differs between prices: two public lists, or the operator's own and the public ones. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from backstay.ledger.price_list import PriceList
from backstay.ledger.rates import Rates


class PriceChange(NamedTuple):
    """One price that differs: USD per million, as exact decimals; ``None`` where there is none."""

    model: str
    unit: str
    """By genai-prices' name; past a tier's start with ``above`` and its tokens."""
    before: str | None
    after: str | None


class ListChanges(NamedTuple):
    """What a price list changes of another one."""

    changed: tuple[PriceChange, ...]
    added: tuple[str, ...]
    """Models, as ``provider/model`` of the list."""
    removed: tuple[str, ...]


def compare_lists(before: PriceList, after: PriceList, at: datetime) -> ListChanges:
    """Compare the standard prices of two lists at a moment."""
    old, new = _prices(before, at), _prices(after, at)
    return ListChanges(
        tuple(change for name in sorted(old.keys() & new.keys()) for change in compare(name, old[name], new[name])),
        tuple(sorted(new.keys() - old.keys())),
        tuple(sorted(old.keys() - new.keys())),
    )


def compare(model: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[PriceChange]:
    """Compare two descriptions of a model's prices, as ``PriceBook.describe`` gives them."""
    old, new = _flat(before), _flat(after)
    return [
        PriceChange(model, unit, old.get(unit), new.get(unit))
        for unit in [*old, *(unit for unit in new if unit not in old)]
        if old.get(unit) != new.get(unit)
    ]


def _prices(prices: PriceList, at: datetime) -> dict[str, dict[str, Any]]:
    return {
        f"{provider.id}/{model.id}": Rates(
            {unit: usd for unit, usd in vars(model.get_prices(at)).items() if usd is not None}, source=prices.name
        ).describe()
        for provider, model in prices.models()
    }


def _flat(described: Mapping[str, Any] | None) -> dict[str, str]:
    if described is None:
        return {}
    flat = dict(described["usd_per_million"])
    for tier in described["tiers"]:
        flat |= {f"{unit} above {tier['above_input_tokens']}": usd for unit, usd in tier["usd_per_million"].items()}
    return flat
