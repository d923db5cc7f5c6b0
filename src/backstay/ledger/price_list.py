"""Owns the public price list: the one of the installed genai-prices, or a newer one that the operator has put in force.

A newer list is genai-prices' own data file. It is kept in the data folder with its date; every process reads it there.
"""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from genai_prices import __version__ as _INSTALLED
from genai_prices.data_snapshot import DataSnapshot, get_snapshot
from genai_prices.types import ModelInfo, Provider, TieredPrices, _providers_from_raw  # pyright: ignore[reportPrivateUsage]

from backstay.core.errors import ConfigError

KEPT_AS = "prices.json"
"""Its name in the data folder."""


class PriceList(NamedTuple):
    """A public list of prices."""

    name: str
    """What the ledger calls it: with its version, or with the date that the operator put it in force as."""
    snapshot: DataSnapshot

    def models(self) -> Iterator[tuple[Provider, ModelInfo]]:
        """Give every model that is listed, with its provider."""
        for provider in self.snapshot.providers:
            for model in provider.models:
                yield provider, model


class _Kept(msgspec.Struct, kw_only=True):
    """What is kept in the data folder."""

    dated: date
    providers: msgspec.Raw


def installed_list() -> PriceList:
    """Return the list of the installed genai-prices, whose version the lock file pins."""
    return PriceList(f"genai-prices {_INSTALLED}", get_snapshot())


def list_in_force(data_dir: Path | None) -> PriceList:
    """Return the list that the data folder holds, or the installed one.

    Raises:
        ConfigError: The data folder's cannot be read.
    """
    path = None if data_dir is None else data_dir / KEPT_AS
    if path is None or not path.exists():
        return installed_list()
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(
            f"it is no price list: {error}. `backstay prices update --revert` returns to the installed one.",
            file=str(path),
        ) from None
    return read_list(bytes(kept.providers), kept.dated, path)


def read_list(data: bytes, dated: date, path: Path) -> PriceList:
    """Read genai-prices' data file.

    Raises:
        ConfigError: It is none, or lists no model.
    """
    try:
        raw: Any = msgspec.json.decode(data)
        if not isinstance(raw, list):
            raise TypeError("it has to be a list of providers")
        providers = _providers_from_raw(raw)
    except (ValueError, TypeError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"it is no price list of genai-prices: {reason}.", file=str(path)) from None
    found = PriceList(f"genai-prices of {dated}", DataSnapshot(providers, from_auto_update=False))
    if not any(found.models()):
        raise ConfigError("it lists no model.", file=str(path))
    for provider, model in found.models():
        if not all(price.is_finite() and price >= 0 for price in _all_prices(model)):
            raise ConfigError(f"{provider.id}/{model.id} has a price below 0, or none that is finite.", file=str(path))
    return found


def _all_prices(model: ModelInfo) -> Iterator[Decimal]:
    """Give every price of a model: of any time, tier and length."""
    standard = [dated.prices for dated in model.prices] if isinstance(model.prices, list) else [model.prices]
    for prices in [*standard, *(variant.prices for variant in model.price_variants or ())]:
        for price in vars(prices).values():
            if isinstance(price, Decimal):
                yield price
            elif isinstance(price, TieredPrices):
                yield price.base
                yield from (tier.price for tier in price.tiers)


def kept_form(data: bytes, dated: date) -> bytes:
    """Write what the data folder keeps of a list that has been read."""
    return msgspec.json.encode(_Kept(dated=dated, providers=msgspec.Raw(data)))
