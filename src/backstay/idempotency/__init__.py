"""One call and one answer for each `Idempotency-Key`, over all workers and restarts.

Owns the claims on keys and the answers that are kept for repeats. Must never let two calls with one key run at once.
"""

from backstay.idempotency.claims import Claim, Claims
from backstay.idempotency.store import MERGE_CLAIMS, keep_swept
from backstay.idempotency.types import ClaimEnd, KeptAnswer, Slot, Terms, Wanted, check_key

__all__ = [
    "MERGE_CLAIMS",
    "Claim",
    "ClaimEnd",
    "Claims",
    "KeptAnswer",
    "Slot",
    "Terms",
    "Wanted",
    "check_key",
    "keep_swept",
]
