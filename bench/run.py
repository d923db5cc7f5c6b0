"""Owns one run: starts the stacks, measures each in turn, stops them all."""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.gateway import Gateway, GatewayFolder, idle_mib
from bench.load import Load, apply_load
from bench.machine import Cores
from bench.measured import MAIN_CONCURRENCY, Measured, Starts, Streams
from bench.peers import litellm
from bench.plan import Plan
from bench.probe import interleave
from bench.processes import freeze, resident_mib
from bench.stacks import AIOHTTP, BACKSTAY, CHAT_PATH, DIRECT, HTTPX, Stack, passthrough, turn
from bench.startup import help_ms, import_ms
from bench.streams import held_back, open_many, simulator
from bench.upstream import STREAM_PREFIX, nginx

SLOW_LOAD_S = 5.0
_PAIR_S = 1.0


def measure(plan: Plan, cores: Cores, folder: Path) -> Measured:
    """Measure everything that the plan asks for.

    Raises:
        BenchError: Something did not start, or did not answer as it must.
    """
    with ExitStack() as opened:
        nginx_port = opened.enter_context(nginx(folder, cores.rest))
        paced_port = opened.enter_context(simulator(folder, cores.rest, seconds=plan.stream_s))
        installation = GatewayFolder(folder, nginx_port=nginx_port, paced_port=paced_port)
        tell("starting Backstay, with an empty data folder and again")
        with installation.serve(cores) as gateway:
            cold_s = gateway.started_s
        gateway = opened.enter_context(installation.serve(cores))
        starts = Starts(
            cold_s=cold_s,
            warm_s=gateway.started_s,
            idle_mib=idle_mib(gateway),
            import_ms=import_ms(plan.starts),
            help_ms=help_ms(plan.starts),
        )
        streams = _measure_streams(plan, gateway)
        bare, common = (
            opened.enter_context(passthrough(name, app, nginx_port, cores, folder))
            for name, app in ((AIOHTTP, "aiohttp_passthrough"), (HTTPX, "starlette_httpx"))
        )
        direct = Stack(name=DIRECT, port=nginx_port, stream_path=STREAM_PREFIX + CHAT_PATH)
        stacks = [direct, bare, gateway.stack, common]
        if plan.peers:
            stacks.append(opened.enter_context(litellm(nginx_port, cores, folder)))
        return _measure_calls(plan, cores, folder, stacks, paced_port, starts, streams)


def _measure_streams(plan: Plan, gateway: Gateway) -> Streams:
    tell(f"opening {plan.streams} streams")
    crowd = asyncio.run(open_many(gateway.stack, plan.streams, lambda: resident_mib(gateway.worker)))
    return Streams(
        asked=plan.streams,
        most_open=crowd.most_open,
        complete=sum(stream.complete for stream in crowd.streams),
        peak_mib=crowd.peak_mib,
        held_back=held_back(crowd.streams),
    )


def _measure_calls(
    plan: Plan, cores: Cores, folder: Path, stacks: Sequence[Stack], paced_port: int, starts: Starts, streams: Streams
) -> Measured:
    for stack in stacks:
        if stack.pid is not None:
            freeze(stack.pid)
    fast = [stack for stack in stacks if not stack.slow]
    tell("calls one after the other")
    short = interleave(stacks, "short", plan.latency_calls)
    tell("calls with a 400 KB body")
    long = interleave(fast, "long", plan.long_calls)
    tell("streams, to their first chunk")
    streamed = interleave(fast, "stream", plan.first_chunk_calls)
    simulated = Stack(name="simulator", port=paced_port)
    return Measured(
        loads=_measure_loads(plan, cores, folder, stacks),
        short=short,
        long=long,
        streamed=streamed,
        streams=streams,
        starts=starts,
        simulator_per_s=apply_load(
            simulated, connections=MAIN_CONCURRENCY, seconds=plan.load_s, cores=cores.rest, folder=folder
        ).per_s,
    )


def _measure_loads(plan: Plan, cores: Cores, folder: Path, stacks: Sequence[Stack]) -> dict[str, dict[int, list[Load]]]:
    loads: dict[str, dict[int, list[Load]]] = {stack.name: {} for stack in stacks}

    def measure(stack: Stack, connections: int, seconds: float) -> None:
        with turn(stack):
            load = apply_load(stack, connections=connections, seconds=seconds, cores=cores.rest, folder=folder)
        loads[stack.name].setdefault(connections, []).append(load)

    for number in range(plan.rounds):
        tell(f"load, round {number + 1} of {plan.rounds}")
        for connections in plan.concurrencies:
            for stack in (*stacks[number % len(stacks) :], *stacks[: number % len(stacks)]):
                if not stack.slow:
                    measure(stack, connections, plan.load_s)
                elif connections <= MAIN_CONCURRENCY:
                    measure(stack, connections, max(plan.load_s, SLOW_LOAD_S))
    tell(f"load, {plan.pairs} times two stacks, one after the other")
    pair = [stack for stack in stacks if stack.name in (BACKSTAY, AIOHTTP)]
    for number in range(plan.pairs):
        for stack in pair if number % 2 else reversed(pair):
            measure(stack, MAIN_CONCURRENCY, _PAIR_S)
    return loads


def tell(what: str) -> None:
    print(f"  {what} …", file=sys.stderr, flush=True)
