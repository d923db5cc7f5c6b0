"""Pure statistics: bounds on error rates and thresholds that keep them; what is usual by the hour; forecasts of sums.

Owns the mathematics, with its sources. Must never do I/O.
"""

from backstay.statistics.binomial import binomial_cdf, interval, lower_bound, upper_bound
from backstay.statistics.conformal import Control, control_risk
from backstay.statistics.logistic import Curve, fit_curve
from backstay.statistics.risk_control import Certificate, certify

__all__ = [
    "Certificate",
    "Control",
    "Curve",
    "binomial_cdf",
    "certify",
    "control_risk",
    "fit_curve",
    "interval",
    "lower_bound",
    "upper_bound",
]
