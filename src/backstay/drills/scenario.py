"""Owns what a drill is: its file's schema, reading one, and making it shorter. Pure but for reading the file."""

import tomllib
from collections.abc import Sequence
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from backstay.budgets.config import LimitUSD
from backstay.core.errors import ConfigError, NotFound
from backstay.core.money import NanoUSD, from_usd, usd
from backstay.core.toml_lines import explain, not_toml
from backstay.policy import ModelConfig, TargetShare
from backstay.providers.simulator import Script

MODEL_ID = "gpt-4o-mini"
"""Of every target: what the simulated answers are priced as."""
TOKEN_NANOUSD = 600
"""What an output token costs where there is a budget: as of gpt-4o-mini, 0.6 US dollars per million (2026-11)."""

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
TargetName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
Deed = Literal["kill_worker", "stop_postgres", "start_postgres", "freeze_postgres", "thaw_postgres"]
"""``kill_worker``: SIGKILL for one of the workers. ``stop_postgres``, ``start_postgres``: the database goes, and comes
back. ``freeze_postgres``, ``thaw_postgres``: it answers nobody and closes no connection, and goes on as if nothing had
been (SIGSTOP, SIGCONT)."""
_GOES: tuple[Deed, ...] = ("stop_postgres", "freeze_postgres")
_COMES_BACK: tuple[Deed, ...] = ("start_postgres", "thaw_postgres")


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Load(_Table):
    """``[load]``: what the callers do. Calls begin at a steady rate, however long those before them take."""

    calls_per_s: float = Field(default=80.0, gt=0, le=2000, description="Calls that begin in a second.")
    streamed: Share = Field(default=0.5, description="Share of the calls that are streamed.")
    texts: int | None = Field(
        default=None, ge=1, description="How many different requests there are; one after the other is made again."
    )
    most_open: int = Field(
        default=2000, ge=1, description="Calls open at once; one that would be beyond it fails unmade."
    )
    patience_s: float = Field(default=30.0, gt=0, description="How long a caller waits for the whole answer.")


class Route(ModelConfig):
    """``[route]``: the model that is called, with all that ``[models.NAME]`` has in ``backstay.toml``."""

    targets: list[TargetShare] = Field(
        default_factory=list[TargetShare], description="Default: all targets of the file, in their order."
    )


class Event(_Table):
    """``[[events]]``: what is done to the installation itself."""

    at_s: Seconds = Field(description="When, in seconds from the start.")
    do: Deed = Field(description="What.")


class Budget(_Table):
    """``[budget]``: what all callers together may spend. Each call asks for ``max_tokens``, and input costs nothing, so
    that it is known what a call may cost."""

    limit_usd: LimitUSD
    max_tokens: int = Field(default=100, ge=1, le=100_000, description="Longest answer that each call asks for.")

    @property
    def limit(self) -> NanoUSD:
        return from_usd(self.limit_usd)

    @property
    def worst_case(self) -> NanoUSD:
        """What is reserved for one call."""
        return NanoUSD(self.max_tokens * TOKEN_NANOUSD)


class Expect(_Table):
    """``expect``: what must hold, of the whole drill or of one stretch. What is not given is not judged."""

    min_success_rate: Share | None = Field(default=None, description="Share of the calls with a whole, right answer.")
    min_answered_rate: Share | None = Field(
        default=None, description="The same, those included that are answered from an expired answer, and marked so."
    )
    min_stale_rate: Share | None = Field(default=None, description="Share of the latter alone.")
    max_p99_ms: float | None = Field(default=None, gt=0, description="99th percentile of good answers' duration.")
    max_p99_ratio: float | None = Field(default=None, gt=0, description="The same, over that of the first stretch.")
    max_added_p99_ms: float | None = Field(default=None, ge=0, description="The same, less that of the first stretch.")
    max_upstream_ratio: float | None = Field(default=None, gt=0, description="Upstream calls for each call.")
    max_extra_ratio: float | None = Field(
        default=None,
        gt=0,
        description="Upstream calls beyond one a call, over the struck ones: 1 is the least possible.",
    )


class WholeExpect(Expect):
    """``[expect]``: of the whole drill."""

    max_recovery_s: float | None = Field(
        default=None, gt=0, description="From the end of the last fault until all is as before. Not with --quick."
    )
    max_cost_ratio: float | None = Field(
        default=None, gt=0, description="Cost of all calls in the ledger, over that of the targets' answers."
    )
    max_disturbed_s: float | None = Field(
        default=None, gt=0, description="Time in which callers were not served as before. Not with --quick."
    )


class Stretch(_Table):
    """``[[stretches]]``: a part of the time, with a name. The first one is the healthy one."""

    name: str = Field(min_length=1, max_length=60, description="What happens in it, in a few words.")
    from_s: Seconds = Field(description="When it begins.")
    until_s: Seconds = Field(description="When it ends.")
    expect: Expect = Field(default=Expect(), description="What must hold of the calls that begin in it.")
    quick: bool = Field(default=True, description="Whether it is judged with --quick, too.")


class Scenario(_Table):
    """A whole file."""

    name: str = ""
    title: str = Field(min_length=1, max_length=120, description="What happens, in one sentence.")
    seconds: float = Field(gt=0, le=3600, description="How long calls are made.")
    quick_s: float = Field(default=7.0, gt=0, description="How long with --quick: all times shrink alike.")
    workers: int = Field(default=1, ge=1, le=16, description="Workers of the private instance.")
    load: Load = Load()
    route: Route = Route()
    targets: dict[TargetName, Script] = Field(min_length=1, description="The simulator's script of each target.")
    budget: Budget | None = None
    events: list[Event] = Field(default_factory=list[Event])
    stretches: list[Stretch] = Field(min_length=1)
    expect: WholeExpect = WholeExpect()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        known = [target_of(name) for name in self.targets]
        for share in self.route.targets:
            if share.target not in known:
                raise ValueError(f"route.targets: there is no target {share.target!r}. There are: {', '.join(known)}")
        for stretch in self.stretches:
            if not stretch.from_s < stretch.until_s <= self.seconds:
                raise ValueError(f"the stretch {stretch.name!r} must begin before it ends, within {self.seconds:g} s")
        if any(event.at_s > self.seconds for event in self.events):
            raise ValueError(f"an event is after the end, at {self.seconds:g} s")
        if self.budget is not None and self.load.streamed:
            raise ValueError("a [budget] needs load.streamed = 0: callers are not told what a stream costs")
        if self.budget is not None and not self.outages():
            raise ValueError("a [budget] needs an event that takes Postgres away: it is judged by what was leased then")
        if "quick_s" in self.model_fields_set and self.quick_s > self.seconds:
            raise ValueError("quick_s is longer than seconds")
        return self

    @property
    def healthy(self) -> Stretch:
        """What the others are compared with."""
        return self.stretches[0]

    def troubles(self) -> list[tuple[float, float]]:
        """List from when until when something is wrong; one that lasts to the end ends there."""
        found = [
            (phase.after_s, min(self.seconds, phase.after_s + (phase.for_s or self.seconds)))
            for script in self.targets.values()
            for phase in script.phases
        ]
        found += self.outages()
        return sorted(found + [(event.at_s, event.at_s) for event in self.events if event.do == "kill_worker"])

    def outages(self) -> list[tuple[float, float]]:
        """List from when until when Postgres is away."""
        gone = [event.at_s for event in self.events if event.do in _GOES]
        back = [event.at_s for event in self.events if event.do in _COMES_BACK]
        return sorted((at_s, min((each for each in back if each > at_s), default=self.seconds)) for at_s in gone)

    def shortened(self) -> "Scenario":
        """Shrink all times to ``quick_s``, and leave out what can only be judged at full length."""
        seconds = min(self.quick_s, self.seconds)
        factor = seconds / self.seconds
        return self.model_copy(
            update={
                "seconds": seconds,
                "targets": {name: _shrink_phases(script, factor) for name, script in self.targets.items()},
                "events": [event.model_copy(update={"at_s": event.at_s * factor}) for event in self.events],
                "stretches": [_shrink(stretch, factor) for stretch in self.stretches],
                "budget": None if self.budget is None else _shrink_budget(self.budget, factor),
                "expect": self.expect.model_copy(update={"max_recovery_s": None, "max_disturbed_s": None}),
            }
        )


def target_of(name: str) -> str:
    """Return how the policy names a target of the file."""
    return f"{name}/{MODEL_ID}"


def _shrink_phases(script: Script, factor: float) -> Script:
    phases = [
        phase.model_copy(
            update={"after_s": phase.after_s * factor, **({"for_s": phase.for_s * factor} if phase.for_s else {})}
        )
        for phase in script.phases
    ]
    return script.model_copy(update={"phases": phases} if phases else {})


def _shrink_budget(budget: Budget, factor: float) -> Budget:
    return budget.model_copy(update={"limit_usd": Decimal(usd(NanoUSD(round(budget.limit * factor))))})


def _shrink(stretch: Stretch, factor: float) -> Stretch:
    return stretch.model_copy(
        update={
            "from_s": stretch.from_s * factor,
            "until_s": stretch.until_s * factor,
            **({} if stretch.quick else {"expect": Expect()}),
        }
    )


def built_in() -> dict[str, Scenario]:
    """Read the scenarios that come with Backstay, by name."""
    folder = files("backstay.drills") / "scenarios"
    names = sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))
    return {name: parse_scenario((folder / f"{name}.toml").read_text("utf-8"), name, f"{name}.toml") for name in names}


def find_scenario(name: str) -> Scenario:
    """Return a built-in scenario by its name, or read the file of that name.

    Raises:
        NotFound: There is neither.
        ConfigError: The file cannot be read or is not a scenario; with its line where one is to blame.
    """
    if not name.endswith(".toml"):
        known = built_in()
        if name not in known:
            raise NotFound(f"There is no drill {name!r}. There are: {', '.join(known)}; or name a file, NAME.toml.")
        return known[name]
    path = Path(name)
    try:
        source = path.read_text("utf-8")
    except FileNotFoundError:
        raise NotFound(f"There is no file {name}. `backstay drill list` names the built-in drills.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"it cannot be read: {error}.", file=name) from None
    return parse_scenario(source, path.stem, name)


def parse_scenario(source: str, name: str, file: str) -> Scenario:
    """Read a scenario. Raises ``ConfigError`` with the line of the first problem."""
    try:
        written: dict[str, Any] = tomllib.loads(source)
        return Scenario.model_validate({"name": name, **written})
    except tomllib.TOMLDecodeError as error:
        raise not_toml(error, file) from None
    except ValidationError as error:
        raise explain(error, source, file) from None


def within(stretch: Stretch, at_s: Sequence[float]) -> list[int]:
    """List the places of those moments that lie in a stretch."""
    return [place for place, each in enumerate(at_s) if stretch.from_s <= each < stretch.until_s]
