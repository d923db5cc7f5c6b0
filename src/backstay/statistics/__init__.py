"""Pure statistics: bounds on error rates and thresholds that keep them; what is usual by the hour; forecasts of sums.

Owns the mathematics, with its sources. Must never do I/O.
"""

from backstay.statistics.binomial import binomial_cdf, interval, lower_bound, upper_bound
from backstay.statistics.risk_control import Certificate, certify

__all__ = ["Certificate", "binomial_cdf", "certify", "interval", "lower_bound", "upper_bound"]
