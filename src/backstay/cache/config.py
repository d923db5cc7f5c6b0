"""Owns ``[models.NAME.cache]`` of the policy file."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from backstay.cache.types import CachePolicy, Scope


class CacheConfig(BaseModel):
    """Whether, how long and for whom a model's answers are kept. Without this table nothing is."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    exact: bool = Field(default=False, description="Answer a request again that was answered before.")
    ttl_s: int = Field(default=3600, ge=1, le=365 * 86_400, description="Seconds for which an answer is kept.")
    stale_s: int = Field(
        default=86_400,
        ge=1,
        le=365 * 86_400,
        description="Seconds for which an expired answer stays, where the route may end in it (`cache_stale`).",
    )
    max_bytes: int = Field(
        default=64 * 1024 * 1024, ge=1, description="Most that a tenant keeps for the model, in bytes; the oldest goes."
    )
    max_answer_bytes: int = Field(default=1024 * 1024, ge=1, description="A larger answer is not kept.")
    scope: Scope = Field(default="tenant", description="Who shares answers: `tenant`, `feature`, `key` or `user`.")
    max_temperature: float | None = Field(
        default=None, ge=0, description="A request of a higher temperature (1 where it names none) passes by."
    )
    wait_s: float = Field(
        default=30.0, ge=0, le=600, description="Longest wait for the answer to the same request of somebody else."
    )
    semantic: bool = Field(default=False, description="Answer a question that means the same as one before.")
    max_false_hits: float = Field(
        default=0.02, gt=0, lt=1, description="Most wrong hits among semantic hits, as a share."
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="How sure that bound must be.")
    calibration: Path | None = Field(
        default=None, description="Labelled pairs or questions that the bound is shown on, a JSONL file."
    )

    shadow: float = Field(
        default=0.0, ge=0, le=1, description="Share of semantic hits of which the model is asked too, to compare."
    )

    @model_validator(mode="after")
    def _complete(self) -> "CacheConfig":
        if self.semantic and not self.exact:
            raise ValueError("semantic needs exact = true: what is equal means the same")
        if self.semantic and self.calibration is None:
            raise ValueError("semantic needs a calibration file: without labels no bound on false hits can be shown")
        if self.shadow and not self.semantic:
            raise ValueError("shadow needs semantic = true: it checks semantic hits")
        return self

    def as_policy(self, targets: Sequence[str], *, may_be_stale: bool = False) -> CachePolicy | None:
        """Return the policy for a model with these targets; ``None`` where its answers are not kept."""
        if not self.exact:
            return None
        return CachePolicy(
            exact=True,
            ttl_s=self.ttl_s,
            stale_s=self.stale_s if may_be_stale else 0,
            max_bytes=self.max_bytes,
            max_answer_bytes=self.max_answer_bytes,
            scope=self.scope,
            max_temperature=self.max_temperature,
            wait_s=self.wait_s,
            semantic=self.semantic,
            shadow=self.shadow,
            targets=tuple(targets),
        )
