"""Owns the decision whether and when a job is tried again. Pure."""

from backstay.jobs.types import Answered

MOST_TRIES = 8
"""Of a call that meets faults. One that is only sent away for want of room is tried as long as its time lasts."""
_LONGEST_PAUSE_S = 60.0
_NO_ROOM = frozenset({429, 503})


def pause_before_next(answered: Answered, tries: int, left_s: float, chance: float) -> float | None:
    """Say how long to wait before a call is tried again; ``None``: it is not.

    Args:
        tries: How often it was tried.
        left_s: For how long its answer is of use.
        chance: A random number from 0 to 1, so that calls that failed together do not come again together.
    """
    if not answered.is_worth_another or (tries >= MOST_TRIES and answered.http_status not in _NO_ROOM):
        return None
    pause_s = min(2.0 ** min(tries - 1, 10), _LONGEST_PAUSE_S) * (0.5 + chance / 2)
    pause_s = max(pause_s, (answered.retry_after_s or 0.0) * (1 + chance / 10))
    return pause_s if pause_s < left_s else None
