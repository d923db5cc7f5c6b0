"""What is known of each target's health: breakers, retry budgets, concurrency, rate limits, latencies.

Owns the decision whether a target may be asked now. Must never call a provider.
"""

from backstay.health.fleet import Fleet, RateLimits
from backstay.health.sharing import HealthSharing
from backstay.health.store import Drain, HealthStore, Report
from backstay.health.target import Availability, Outcome, TargetState

__all__ = [
    "Availability",
    "Drain",
    "Fleet",
    "HealthSharing",
    "HealthStore",
    "Outcome",
    "RateLimits",
    "Report",
    "TargetState",
]
