"""Owns a whole drill: an installation with simulated targets, the scenario played on it, and the comparison."""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence

import aiohttp
import msgspec

from backstay.core.errors import BackstayError, ConfigError
from backstay.core.money import NanoUSD
from backstay.drills.callers import BackstayCaller, Caller
from backstay.drills.figures import Figures, Outage, measure, measure_all, measure_outage
from backstay.drills.installation import Booked, Installation
from backstay.drills.load import Run, run, text_of
from backstay.drills.money import Money, begin_budget, count_money
from backstay.drills.private import PrivateInstance, private_instance
from backstay.drills.scenario import Scenario
from backstay.drills.simulators import Simulators, running_simulators, total
from backstay.drills.verdict import Check, judge, judge_money
from backstay.providers.simulator import Script

Tell = Callable[[str], None]
MakePeers = Callable[[Mapping[str, str]], Mapping[str, Caller]]

BACKSTAY = "Backstay"
_MORE_PROOFS = 2
_PROOF_PAUSE_S = 2.0
_WARM_UP = 4
"""Calls before the drill, of which the price of one answer is known."""
_NOTHING_ELSE = {"faults": [{"kind": "status", "status": 503}]}


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """What one way of calling came to."""

    name: str
    run: Run
    whole: Figures
    outage: Outage


class Drilled(msgspec.Struct, frozen=True, kw_only=True):
    """A drill that has been played."""

    scenario: Scenario
    backstay: Side
    stretches: list[Figures]
    """In the scenario's order."""
    checks: list[Check]
    peers: list[Side]
    money: Money | None = None
    """``None``: the scenario has no budget."""

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """A running installation to drill."""

    url: str
    headers: Mapping[str, str]
    """With the operator's credential."""
    model: str
    simulators: Mapping[str, str]
    """URLs of the simulators that its targets are, by target as ``provider/model id``."""


async def drill_private(scenario: Scenario, *, tell: Tell, make_peers: MakePeers | None = None) -> Drilled:
    """Play a scenario on an installation of its own, of which nothing is left.

    Args:
        make_peers: Makes those that are compared with; ``None``: nobody.

    Raises:
        BackstayError: It could not be played.
    """
    tell("starting the simulators and a private instance")
    async with running_simulators(list(scenario.targets)) as urls, aiohttp.ClientSession() as session:
        simulators = Simulators(session, urls)
        async with private_instance(scenario, urls, session) as (installation, inside):
            side, money = await _drill(scenario, installation, simulators, tell, inside=inside)
        return _drilled(scenario, side, await _compare(scenario, simulators, tell, make_peers), money)


async def drill_live(scenario: Scenario, live: Live, *, tell: Tell, make_peers: MakePeers | None = None) -> Drilled:
    """Play a scenario on an installation that runs, whose targets are simulators. They play on what they did before.

    Raises:
        ConfigError: The scenario does something to the installation itself, or a target is no simulator.
        BackstayError: It could not be played.
    """
    if scenario.budget is not None:
        raise ConfigError(f"{scenario.name} has a budget for all callers: it is played on a private instance only.")
    if scenario.events:
        raise ConfigError(f"{scenario.name} stops parts of the installation: it is played on a private one only.")
    async with aiohttp.ClientSession() as session:
        installation = Installation(session, live.url, live.headers, model=live.model)
        simulators = Simulators(session, await _match(scenario, live, installation))
        before = await simulators.scripts()
        try:
            side, _ = await _drill(scenario, installation, simulators, tell, prove=True)
            return _drilled(scenario, side, await _compare(scenario, simulators, tell, make_peers))
        finally:
            await simulators.play(before)


async def _match(scenario: Scenario, live: Live, installation: Installation) -> dict[str, str]:
    """Say which simulator stands for which target of the scenario: by their order in the model."""
    targets = await installation.targets()
    if not targets:
        raise ConfigError(f"{live.url} has no model {live.model!r}. `backstay models` lists those that there are.")
    if sorted(targets) != sorted(live.simulators):
        raise ConfigError(
            f"The targets of {live.model!r} are {', '.join(targets)}: name the simulator of each, and of no other, "
            "with --simulator TARGET=URL."
        )
    if len(targets) != len(scenario.targets):
        raise ConfigError(
            f"{scenario.name} needs {len(scenario.targets)} targets, and {live.model!r} has {len(targets)}."
        )
    return {name: live.simulators[target] for name, target in zip(scenario.targets, targets, strict=True)}


async def _drill(
    scenario: Scenario,
    installation: Installation,
    simulators: Simulators,
    tell: Tell,
    *,
    inside: PrivateInstance | None = None,
    prove: bool = False,
) -> tuple[Side, Money | None]:
    name = f"drill-{secrets.token_hex(4)}"
    key = await installation.make_key(name)
    try:
        caller = BackstayCaller(installation.url, key, model=installation.model, feature=f"{name}-warm-up")
        try:
            if prove:
                await _prove(caller, simulators)
            warm_up = await _warm_up(scenario, caller, simulators) + (len(simulators.urls) if prove else 0)
        finally:
            await caller.close()
        budget, budget_id = scenario.budget, ""
        if budget is not None:
            budget_id = await begin_budget(budget, installation)
        tell(f"{scenario.seconds:g} s of calls through Backstay")
        most = None if budget is None else budget.max_tokens
        caller = BackstayCaller(installation.url, key, model=installation.model, feature=name, max_tokens=most)
        act, look = (inside.do, inside.health) if inside is not None else (None, None)
        try:
            seen = await run(scenario, caller, simulators, act=act, look=look)
        finally:
            await caller.close()
        tell("reading the ledger")
        found = await installation.booked([name, f"{name}-warm-up"], len(seen.calls) + warm_up)
        booked, money = found.get(name, Booked()), None
        if inside is not None and budget_id:
            money = await count_money(scenario, budget_id, installation, inside, key, seen.calls, booked)
    finally:
        await installation.revoke_keys(name)
    return _side(BACKSTAY, scenario, seen, booked, found.get(f"{name}-warm-up")), money


def _side(
    name: str, scenario: Scenario, seen: Run, booked: Booked | None = None, warm_up: Booked | None = None
) -> Side:
    answer_nanousd = None if not warm_up or not warm_up.calls else NanoUSD(warm_up.cost_nanousd // warm_up.calls)
    return Side(
        name=name,
        run=seen,
        whole=measure_all(seen),
        outage=measure_outage(scenario, seen, booked=booked, answer_nanousd=answer_nanousd),
    )


async def _warm_up(scenario: Scenario, caller: Caller, simulators: Simulators) -> int:
    """Make a few calls without faults, and see that they reach the simulators."""
    healthy = {
        name: script.model_copy(update={"faults": [], "phases": []}) for name, script in scenario.targets.items()
    }
    await simulators.play(healthy)
    for number in range(_WARM_UP):
        answered = await caller.call(text_of(number), stream=number % 2 == 1)
        if answered.ending != "ok":
            raise BackstayError(f"A call without any fault was not answered rightly: {answered.detail}.")
    if total(await simulators.counts()) != _WARM_UP:
        raise ConfigError("Not every call reached a simulator, once: the model has targets that are none.")
    return _WARM_UP


async def _prove(caller: BackstayCaller, simulators: Simulators) -> None:
    """See that each target is the simulator that it is said to be: alone in answering, it is the one that is asked.

    A target that is none would answer the first of these calls, which is also the last. Where none answers, it is tried
    again: a target that was ill a moment ago is not asked at once.
    """
    for name in simulators.urls:
        echo = Script.model_validate({"answer": "echo"})
        away = Script.model_validate(_NOTHING_ELSE)
        await simulators.play({each: echo if each == name else away for each in simulators.urls})
        answered = await caller.call(text_of(0), stream=False)
        for _ in range(_MORE_PROOFS):
            if answered.ending == "ok":
                break
            await asyncio.sleep(_PROOF_PAUSE_S)
            answered = await caller.call(text_of(0), stream=False)
        if answered.ending != "ok" or not (await simulators.counts())[name]:
            raise ConfigError(
                f"The simulator at {simulators.urls[name]} was not asked, or its answer did not come back: is it "
                "one of the model's targets, and is each other one a simulator that was named?"
            )


async def _compare(
    scenario: Scenario, simulators: Simulators, tell: Tell, make_peers: MakePeers | None
) -> Sequence[Side]:
    """Play the same on those that are compared with. What befalls the installation itself does not befall them."""
    sides: list[Side] = []
    peers = make_peers(simulators.urls) if make_peers is not None else dict[str, Caller]()
    for name, caller in peers.items():
        tell(f"{scenario.seconds:g} s of calls through the {name}")
        try:
            sides.append(_side(name, scenario, await run(scenario, caller, simulators)))
        finally:
            await caller.close()
    return sides


def _drilled(scenario: Scenario, side: Side, peers: Sequence[Side], money: Money | None = None) -> Drilled:
    stretches = [measure(side.run, stretch.from_s, stretch.until_s) for stretch in scenario.stretches]
    return Drilled(
        scenario=scenario,
        backstay=side,
        stretches=stretches,
        checks=[*judge(scenario, side.whole, stretches, side.outage), *judge_money(money)],
        peers=list(peers),
        money=money,
    )
