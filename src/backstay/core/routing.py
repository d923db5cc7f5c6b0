"""Owns the words in which a policy says how calls find their targets."""

from typing import Literal

Strategy = Literal["priority", "weighted", "least_latency", "least_cost", "least_busy"]
"""How a call's targets are ordered. ``priority``: as they are listed. ``weighted``: by chance, each by its weight. The
others: by what was measured, or by price."""

OnBrokenStream = Literal["error", "restart", "continue"]
"""What is done when a stream breaks after the caller has seen some of it. ``continue``: the next target goes on from
there. ``restart``: the next one answers anew, in the same stream, after a blank line."""
