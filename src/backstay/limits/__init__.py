"""What callers may use: requests and tokens per minute, calls at once; counted exactly over all workers."""

from backstay.limits.config import LimitConfig
from backstay.limits.giving_back import give_back
from backstay.limits.limiter import Admission, Limiter
from backstay.limits.rules import LimitRules
from backstay.limits.types import Terms

__all__ = ["Admission", "LimitConfig", "LimitRules", "Limiter", "Terms", "give_back"]
