"""Drills: outages played on purpose, and a verdict with figures.

Owns scenarios, the load, the callers that are compared, the verdict and its report. Must never play a fault on anything
but a simulator or an instance of its own.
"""

from backstay.drills.drill import Drilled, Live, drill_live, drill_private
from backstay.drills.report import write_report
from backstay.drills.scenario import Scenario, built_in, find_scenario
from backstay.drills.telling import document, timeline

__all__ = [
    "Drilled",
    "Live",
    "Scenario",
    "built_in",
    "document",
    "drill_live",
    "drill_private",
    "find_scenario",
    "timeline",
    "write_report",
]
