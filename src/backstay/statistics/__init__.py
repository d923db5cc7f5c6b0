"""Pure statistics: what samples say of error rates, and thresholds that keep them under a bound.

Owns the mathematics, with its sources. Must never do I/O.
"""

from backstay.statistics.binomial import binomial_cdf, interval, lower_bound, upper_bound
from backstay.statistics.risk_control import Certificate, certify

__all__ = ["Certificate", "binomial_cdf", "certify", "interval", "lower_bound", "upper_bound"]
