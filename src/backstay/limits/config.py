"""Owns ``[[limits]]`` of ``backstay.toml``: how much of what, for whom."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from backstay.core.caller import CallLimits
from backstay.limits.types import ScopeKind


class LimitConfig(BaseModel):
    """One entry of ``[[limits]]``: what each key, user, tenant or feature may use, or the ones named."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    scope: ScopeKind = Field(description="Whose calls are counted together.")
    name: str | None = Field(
        default=None, min_length=1, description="Only the one of this name; of a key, also its id."
    )
    match: str | None = Field(default=None, min_length=1, description="Only those whose name fits, as in `batch-*`.")
    requests_per_min: int | None = Field(default=None, ge=1, le=2**31 - 1)
    tokens_per_min: int | None = Field(default=None, ge=1, le=2**53)
    concurrency: int | None = Field(default=None, ge=1, le=2**31 - 1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.name is not None and self.match is not None:
            raise ValueError("name and match exclude each other")
        if self.limits == CallLimits() and self.name is None and self.match is None:
            raise ValueError("it limits nothing: give requests_per_min, tokens_per_min or concurrency")
        return self

    @property
    def limits(self) -> CallLimits:
        return CallLimits(
            requests_per_min=self.requests_per_min, tokens_per_min=self.tokens_per_min, concurrency=self.concurrency
        )
