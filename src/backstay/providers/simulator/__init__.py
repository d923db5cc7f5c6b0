"""The simulator: a provider with scripted latency, faults and answers, the same in each run of the same seed."""

from backstay.providers.simulator.provider import Simulator
from backstay.providers.simulator.script import Script, read_script
from backstay.providers.simulator.simulation import Simulation

__all__ = ["Script", "Simulation", "Simulator", "read_script"]
