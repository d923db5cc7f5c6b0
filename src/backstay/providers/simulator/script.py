"""Owns the simulator's script: what a simulated provider does, how often, and when, as read from TOML."""

import math
import random
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from backstay.core.errors import ConfigError

_P95_OF_NORMAL = 1.6448536269514722
"""How many standard deviations the 95th percentile of a normal distribution lies above its median."""

Rate = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Uniform(_Part):
    """Every value from ``low`` to ``high`` is as likely."""

    low: Seconds
    high: Seconds

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError("low must not be above high")
        return self

    def draw(self, chance: random.Random) -> float:
        return chance.uniform(self.low, self.high)


class Lognormal(_Part):
    """The usual shape of latencies, given by its median and 95th percentile."""

    p50: Annotated[float, Field(gt=0)]
    p95: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.p50 > self.p95:
            raise ValueError("p50 must not be above p95")
        return self

    def draw(self, chance: random.Random) -> float:
        sigma = math.log(self.p95 / self.p50) / _P95_OF_NORMAL
        return self.p50 * math.exp(chance.gauss(0.0, sigma))


class Histogram(_Part):
    """Measured values: ``(up to, weight)`` a bucket, rising; within a bucket every value is as likely."""

    histogram: Annotated[list[tuple[Seconds, Annotated[float, Field(ge=0)]]], Field(min_length=1)]

    @model_validator(mode="after")
    def _usable(self) -> Self:
        bounds = [bound for bound, _ in self.histogram]
        if bounds != sorted(set(bounds)):
            raise ValueError("the buckets' upper bounds must rise")
        if not any(weight for _, weight in self.histogram):
            raise ValueError("at least one bucket needs a weight above 0")
        return self

    def draw(self, chance: random.Random) -> float:
        bounds = [0.0, *(bound for bound, _ in self.histogram)]
        (bucket,) = chance.choices(range(len(self.histogram)), [weight for _, weight in self.histogram])
        return chance.uniform(bounds[bucket], bounds[bucket + 1])


Distribution = Seconds | Uniform | Lognormal | Histogram
"""A constant, ``{low, high}``, ``{p50, p95}`` or ``{histogram = [[0.1, 7], [0.5, 2], [2.0, 1]]}``."""


def draw(distribution: Distribution, chance: random.Random) -> float:
    """Draw one value."""
    return distribution if isinstance(distribution, float | int) else distribution.draw(chance)


FaultKind = Literal["status", "reset", "hang", "stall", "cut", "error_event", "malformed", "refusal", "wrong"]
"""``status``: an error answer. ``reset``: the connection breaks before any byte. ``hang``: the connection stays open
and silent, after ``after_tokens`` of a stream or before the first byte. ``stall``: as ``hang``, but goes on after
``stall_s``. ``cut``: the connection breaks midway. ``error_event``: the vendor's own error inside a stream (an error
answer where there is no stream). ``malformed``: bytes that are not JSON. ``refusal``: the model refuses. ``wrong``: an
answer that looks right and is not."""


class Fault(_Part):
    kind: FaultKind
    rate: Rate = 1.0
    """Share of the calls that it strikes."""
    status: Annotated[int, Field(ge=400, le=599)] = 500
    """Of kind ``status`` and ``error_event``."""
    message: str | None = None
    retry_after_s: Seconds | None = None
    after_tokens: Annotated[int, Field(ge=0)] | None = None
    """Where a stream is struck. ``None``: ``hang`` before the first byte; the others after half of the tokens."""
    stall_s: Seconds = 5.0


class Canned(_Part):
    """An answer for prompts that contain a text, letter case aside."""

    contains: str
    text: str
    wrong: str | None = None
    """What the fault ``wrong`` answers instead."""


class Behaviour(_Part):
    """What the provider does. The default answers at once, correctly, with a short text made from the prompt."""

    latency_s: Distribution = 0.0
    """From the request to the first byte of the answer."""
    first_token_s: Distribution = 0.0
    """In streams: from the first byte to the first token."""
    tokens_per_second: Distribution | None = None
    """Drawn once a call. ``None``: all at once."""
    faults: list[Fault] = []
    """At most one strikes a call: their rates are shares of the same draw and may not exceed 1 together."""
    answer: Literal["digest", "echo", "lorem"] = "digest"
    """``digest``: a sentence about the prompt; ``echo``: the last user message; ``lorem``: meaningless words."""
    canned: list[Canned] = []
    """Tried in order before ``answer``."""
    output_tokens: Distribution | None = None
    """Length of text answers, cut or filled with meaningless words. ``None``: as long as the text is."""
    tool_calls: Annotated[int, Field(ge=0, le=128)] = 1
    """How many tools are called, where the request has tools and the last message is not a tool's result. 0: none."""
    reasoning_tokens: Annotated[int, Field(ge=0)] = 0
    """Counted in usage, beside the tokens of the answer."""
    cached_share: Rate = 0.0
    """Share of the input tokens that usage reports as read from the prompt cache."""

    @model_validator(mode="after")
    def _rates_fit(self) -> Self:
        total = sum(fault.rate for fault in self.faults)
        if total > 1 + 1e-9:
            raise ValueError(f"the rates of the faults add up to {total:g}: they may reach 1 together")
        return self


class Phase(Behaviour):
    """A stretch of time in which some of the behaviour is another: all fields that are given here."""

    after_s: Seconds = 0.0
    """When it begins, counted from the simulator's start (or reset)."""
    for_s: Annotated[float, Field(gt=0)] | None = None
    """How long it lasts; ``None``: for good."""

    def covers(self, elapsed_s: float) -> bool:
        return elapsed_s >= self.after_s and (self.for_s is None or elapsed_s < self.after_s + self.for_s)


class Script(Behaviour):
    """The whole script: a behaviour, what differs for a model, and what differs for a time (which goes last)."""

    models: dict[str, Behaviour] = {}
    phases: list[Phase] = []

    def behaviour(self, model_id: str, elapsed_s: float) -> Behaviour:
        """Choose what applies to a call. ``elapsed_s``: since the simulator's start or reset."""
        changes: dict[str, Any] = {}
        layers = [self.models.get(model_id), *(phase for phase in self.phases if phase.covers(elapsed_s))]
        for layer in layers:
            if layer is not None:
                changes |= {name: getattr(layer, name) for name in layer.model_fields_set - {"after_s", "for_s"}}
        return self.model_copy(update=changes) if changes else self


def read_script(source: Mapping[str, Any]) -> Script:
    """Read a script, as it comes from TOML or JSON.

    Raises:
        ConfigError: It is not a script; the message names each field that is wrong.
    """
    try:
        return Script.model_validate(source)
    except ValidationError as error:
        places = [
            f"{'.'.join(map(str, item['loc']))}: {item['msg'].removeprefix('Value error, ')}" for item in error.errors()
        ]
        raise ConfigError(f"The simulator's script is not valid. {'; '.join(places)}.") from error
