"""Owns ``[alerts.NAME]`` and ``[alert_channels.NAME]`` of ``backstay.toml``: what is told, and to whom."""

from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from backstay.alerts.types import Kind
from backstay.providers.secrets import is_reference

ChannelKind = Literal["webhook", "slack", "email"]
_FIELDS: dict[ChannelKind, tuple[str, ...]] = {"webhook": ("url", "secret"), "slack": ("url",), "email": ("to",)}

Share = Annotated[Decimal, Field(gt=0, le=10, allow_inf_nan=False)]


def _rising(shares: list[Decimal]) -> list[Decimal]:
    if shares != sorted(set(shares)):
        raise ValueError("write the shares from the lowest on, each once")
    return shares


def _reference(text: str) -> str:
    if not is_reference(text):
        # What stands here may be the credential itself: it is not repeated.
        raise ValueError("it must say where it is kept (`env:NAME` or `file:PATH`), so that no credential stands here")
    return text


def _address(text: str) -> str:
    local, _, host = text.rpartition("@")
    if not local or not host or any(character.isspace() or character in ",;<>" for character in text):
        raise ValueError(f"{text!r} is not an e-mail address")
    return text


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ChannelConfig(_Table):
    """``[alert_channels.NAME]``: somewhere to tell of alerts."""

    kind: ChannelKind = Field(description="A signed webhook, Slack's incoming webhook or its like, or e-mail.")
    url: str | None = Field(
        default=None, description="Where it goes; Slack's, a credential, only as `env:` or `file:`."
    )
    secret: Annotated[str, AfterValidator(_reference)] | None = Field(
        default=None, description="Where a webhook's secret is kept: `env:NAME` or `file:PATH`."
    )
    to: list[Annotated[str, AfterValidator(_address)]] = Field(default=[], description="Addresses, of `email`.")
    resolved: bool = Field(default=True, description="Whether it is told too when an alert is over.")

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        needed = _FIELDS[self.kind]
        for name in ("url", "secret", "to"):
            if name in needed and not getattr(self, name):
                raise ValueError(f"a channel of kind {self.kind!r} needs `{name}`")
            if name not in needed and getattr(self, name):
                raise ValueError(f"`{name}` is not for a channel of kind {self.kind!r}")
        if self.kind == "slack" and not is_reference(self.url or ""):
            raise ValueError("`url`: who knows it may post. Say where it is kept: `env:NAME` or `file:PATH`")
        return self


class AlertConfig(_Table):
    """``[alerts.NAME]``: what is told to which channels."""

    budget_share: Annotated[list[Share], AfterValidator(_rising)] = Field(
        default=[], description="Told when so much of a budget is spent, as in `[0.5, 0.8, 1.0]`."
    )
    budgets: list[str] = Field(
        default=["*"], min_length=1, description="Of which budgets: patterns of their names, ids or scopes."
    )
    margin: Decimal = Field(
        default=Decimal("0.05"), ge=0, le=1, allow_inf_nan=False, description="How far below its share one is over."
    )
    on: list[Kind] = Field(default=[], description="Of which other kinds.")
    channels: list[str] = Field(default=[], description="Who is told; none: it is seen in lists and pages alone.")
    tenants: list[str] | None = Field(default=None, min_length=1, description="Only of these tenants.")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if "budget_share" in self.on:
            raise ValueError("budget_share is a field of its own: budget_share = [0.5, 0.8, 1.0]")
        if not self.budget_share and not self.on:
            raise ValueError("it needs `budget_share` or `on`: what is to be told")
        return self
