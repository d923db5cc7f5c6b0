"""Owns ``[loops]`` of ``backstay.toml``: when calls repeat themselves, and what is done then."""

from pydantic import BaseModel, ConfigDict, Field

from backstay.loops.types import LoopRule, OnLoop


class LoopTerms(BaseModel):
    """What may be different for one model or key; what is left out is as ``[loops]`` says."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    on_loop: OnLoop | None = Field(default=None, description="Whether it is told, slowed or refused.")
    repeats: int | None = Field(default=None, ge=2, le=1000, description="So many calls that are nearly the same …")
    window_s: float | None = Field(default=None, gt=0, le=86_400, description="… within so many seconds are a loop.")
    slow_s: float | None = Field(
        default=None, gt=0, le=30, description="With `slow`, each call waits so much longer than the one before it."
    )

    def over(self, rule: LoopRule) -> LoopRule:
        return LoopRule(
            on_loop=self.on_loop if self.on_loop is not None else rule.on_loop,
            repeats=self.repeats if self.repeats is not None else rule.repeats,
            window_s=self.window_s if self.window_s is not None else rule.window_s,
            slow_s=self.slow_s if self.slow_s is not None else rule.slow_s,
        )


class LoopConfig(LoopTerms):
    """The whole table; a key's own terms go before a model's."""

    models: dict[str, LoopTerms] = Field(default_factory=dict[str, LoopTerms], description="Of calls of one model.")
    keys: dict[str, LoopTerms] = Field(
        default_factory=dict[str, LoopTerms], description="Of one key's calls, by its id or name."
    )
