"""Owns how figures are written for people: money, counts, durations, shares. Pure."""

from datetime import UTC, datetime
from typing import NamedTuple

from backstay.core.money import NanoUSD, usd


class Figure(NamedTuple):
    """A number as people read it, and its unit, which pages set small and grey."""

    number: str
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.number} {self.unit}".rstrip()


_SCALES = ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k"))


def count(amount: int | None) -> str:
    """Write an exact count with thousands separated; a dash where it is unknown."""
    return "–" if amount is None else f"{amount:,}"


def compact(amount: int | None) -> Figure:
    """Write a count with three digits that matter: ``1.28 M``, ``412 k``, ``986``."""
    if amount is None:
        return Figure("–")
    for scale, unit in _SCALES:
        if abs(amount) >= scale * 0.9995:
            return Figure(_three_digits(amount / scale), unit)
    return Figure(str(amount))


def money(amount: int | None) -> str:
    """Write nano-USD with the digits that matter: ``$214.86``, ``$0.0197``, ``$0``; ``unknown`` for ``None``."""
    if amount is None:
        return "unknown"
    if amount == 0:
        return "$0"
    sign, size = ("−", -amount) if amount < 0 else ("", amount)
    dollars = size / 1e9
    if dollars >= 0.9995:
        return f"{sign}${dollars:,.2f}"
    leading_zeros = 9 - len(str(size))
    places = leading_zeros + (3 if leading_zeros < 3 else 2)
    digits = f"{dollars:.{min(9, places)}f}".rstrip("0")
    return f"{sign}${digits.ljust(4, '0')}"


def exact_money(amount: int | None) -> str:
    """Write nano-USD to the last digit; ``unknown`` for ``None``."""
    if amount == 0:
        return "$0"
    return "unknown" if amount is None else f"${usd(NanoUSD(amount))}"


def duration(amount_ns: int | float | None) -> Figure:
    """Write a duration in the unit that suits it: ``42 µs``, ``0.4 ms``, ``318 ms``, ``2.87 s``, ``3 min``."""
    if amount_ns is None:
        return Figure("–")
    amount_ms = amount_ns / 1e6
    if 0 < amount_ms < 0.0995:
        return Figure(f"{max(amount_ns / 1e3, 1):.0f}", "µs")
    if amount_ms < 10:
        return Figure(f"{amount_ms:.1f}", "ms")
    if amount_ms < 999.5:
        return Figure(f"{amount_ms:.0f}", "ms")
    if amount_ms < 99_950:
        return Figure(_three_digits(amount_ms / 1e3), "s")
    return Figure(_three_digits(amount_ms / 60e3), "min")


def age(amount_s: float) -> Figure:
    """Write how long something is there: ``42 s``, ``12 min``, ``5.2 h``, ``3.1 d``."""
    if amount_s < 59.5:
        return Figure(f"{max(amount_s, 0):.0f}", "s")
    if amount_s < 3570:
        return Figure(f"{amount_s / 60:.0f}", "min")
    hours = amount_s / 3600
    return Figure(f"{hours:.1f}", "h") if hours < 47.95 else Figure(f"{hours / 24:.1f}", "d")


def percent(part: int | None, whole: int | None) -> Figure:
    """Write a share in per cent, with enough digits to tell a little from nothing; a dash without a whole."""
    if not whole or part is None:
        return Figure("–")
    share = 100 * part / whole
    if share == 0 or share >= 9.95:
        return Figure(f"{share:.0f}", "%")
    return Figure(f"{share:.1f}" if share >= 0.95 else f"{share:.2g}" if share >= 0.01 else "<0.01", "%")


def change(now: int | None, before: int | None) -> str | None:
    """Write how much a figure moved: ``+6 %``; ``None`` where there is nothing to compare with."""
    if not before or now is None:
        return None
    moved = 100 * (now - before) / before
    if abs(moved) < 0.5:
        return "unchanged"
    sign = "+" if moved > 0 else "−"
    return f"{sign}{abs(moved):,.0f} %" if abs(moved) < 1000 else f"{now / before:,.0f} ×"


def short(identifier: str) -> str:
    """Write an id's first eight characters."""
    return identifier[:8]


def moment(at: datetime) -> str:
    """Write an instant as RFC 3339 in UTC, to the millisecond."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def browser(user_agent: str) -> str:
    """Name a browser and its system from what it says of itself, roughly: ``Firefox on Linux``."""
    names = (("Edg", "Edge"), ("OPR", "Opera"), ("Firefox", "Firefox"), ("Chrome", "Chrome"), ("Safari", "Safari"))
    systems = (("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Windows", "Windows"), ("Mac", "Mac"),
               ("Linux", "Linux"))  # fmt: skip
    name = next((word for mark, word in names if mark in user_agent), user_agent[:60] or "unknown")
    system = next((word for mark, word in systems if mark in user_agent), "")
    return f"{name} on {system}" if system else name


def _three_digits(number: float) -> str:
    decimals = 2 if abs(number) < 9.995 else 1 if abs(number) < 99.95 else 0
    return f"{number:,.{decimals}f}"
