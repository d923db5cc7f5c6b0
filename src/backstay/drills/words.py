"""Owns the words for a drill's figures, the same in the terminal and in the report. Pure."""

from backstay.core.money import NanoUSD, usd
from backstay.drills.verdict import Check

_WHAT = {
    "success_rate": "calls with a whole, right answer",
    "answered_rate": "calls with a whole, right answer, fresh or expired",
    "stale_rate": "calls with an expired answer, marked so",
    "p99_ms": "p99",
    "p99_ratio": "p99, over the healthy one",
    "added_p99_ms": "p99, beyond the healthy one",
    "upstream_ratio": "upstream calls for each call",
    "extra_ratio": "extra upstream calls, over the least possible",
    "recovery_s": "recovery after the last fault",
    "disturbed_s": "time in which callers were not served as before",
    "cost_ratio": "cost, over that of the targets' answers",
    "booked_calls": "calls in the ledger",
    "overspent_nanousd": "spent beyond the budget",
    "beyond_leased_nanousd": "spent without Postgres, beyond what was leased",
    "needless_nanousd": "left of a lease while calls were refused",
    "misbooked_nanousd": "difference of the books to what callers were charged",
    "unusable_nanousd": "left of the budget and not to be had",
    "differing": "accounts that do not balance",
}
_RATES = ("success_rate", "answered_rate", "stale_rate")
_LEAST = (*_RATES, "booked_calls")


def check_words(check: Check) -> tuple[str, str, str]:
    """Write a check as what it is about, what was found, and what the limit is."""
    bound = "at least" if check.what in _LEAST else "at most"
    return _WHAT[check.what], _amount(check.what, check.found), f"{bound} {_amount(check.what, check.limit)}"


def share(rate: float) -> str:
    """Write a share of calls, never rounded up to all of them."""
    if rate == 1:
        return "100 %"
    return f"{min(100 * rate, 99.999):.3f}".rstrip("0").rstrip(".") + " %"


def milliseconds(amount: float | None) -> str:
    return "–" if amount is None else f"{amount:,.0f} ms"


def cost(amount: str | None) -> str:
    """Write an exact amount of US dollars, with its sign before the unit."""
    if amount is None:
        return "–"
    return f"−${amount[1:]}" if amount.startswith("-") else f"${amount}" if float(amount) else "$0"


def ratio(upstream_calls: int, calls: int) -> str:
    return f"{upstream_calls / calls:.2f} ×" if calls else "–"


def _amount(what: str, value: float | None) -> str:
    if value is None:
        return "not known"
    if what in _RATES:
        return share(value)
    if what.endswith("_nanousd"):
        return f"${usd(NanoUSD(int(value)))}"
    if what in ("booked_calls", "differing"):
        return f"{value:,.0f}"
    unit = " ms" if what.endswith("_ms") else " s" if what.endswith("_s") else " ×"
    return f"{value:g}{unit}"
