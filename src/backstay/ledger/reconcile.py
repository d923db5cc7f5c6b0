"""Owns the comparison of the ledger with what a vendor has billed: by day and model, with the likely causes.

Vendors close their days at midnight UTC, and so does this. Source: OpenAI API reference, Costs ("bucket_width", start
times in UTC days); Anthropic, "Usage and Cost API": buckets in UTC (2026-11).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta

import msgspec

from backstay.core.money import NanoUSD

_DATED = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8})$")
_APART = re.compile(r"[\s._]+")
_FAMILY_FIRST = re.compile(r"^claude-(opus|sonnet|haiku)-3(-5|-7)?$")
_ROUNDING_NANOUSD = 10_000_000
"""A cent: vendors' exports are rounded to it, or to less."""
_CLOSE = 0.005
_TIERS: Mapping[str, float] = {"half the price: batch or flex": 0.5, "twice the price: priority or fast": 2.0}


class Billed(msgspec.Struct, frozen=True, kw_only=True):
    """What a vendor billed for one model on one day. ``None``: its export does not tell."""

    day: date
    model: str | None = None
    """The vendor's name; ``None``: all models of the day together."""
    key: str | None = None
    """The vendor's key or project, where the bill is compared key by key."""
    cost_nanousd: NanoUSD | None = None
    currency: str = "USD"
    """What the cost is in: of another currency, billionths of it. It is converted before anything is compared."""
    input_tokens: int | None = None
    """Cached ones included."""
    output_tokens: int | None = None


class Booked(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger has of the same."""

    day: date
    model: str | None
    """``None``: an earlier adjustment of what the vendor named no model for."""
    key: str | None = None
    calls: int
    cost_nanousd: NanoUSD
    input_tokens: int
    output_tokens: int
    unknown: int
    """Calls of unknown cost."""
    estimated: int
    """Attempts whose usage is an estimate."""
    unconfirmed: int
    """Attempts that were cut short by the death of their worker."""
    adjusted_nanousd: NanoUSD = NanoUSD(0)
    """What earlier comparisons have booked, part of the cost."""


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """Both sides of one day and model, and what may explain the difference."""

    day: date
    model: str | None
    key: str | None
    billed: Billed | None
    booked: Booked | None
    causes: tuple[str, ...]

    @property
    def difference_nanousd(self) -> NanoUSD | None:
        """What was billed beyond what is booked; ``None`` where only tokens can be compared."""
        if self.billed is None:
            return NanoUSD(-self.booked.cost_nanousd) if self.booked is not None else None
        if self.billed.cost_nanousd is None:
            return None
        return NanoUSD(self.billed.cost_nanousd - (self.booked.cost_nanousd if self.booked is not None else 0))

    @property
    def to_book_nanousd(self) -> NanoUSD:
        """What an adjustment would book: nothing where the vendor tells no amount, or nothing at all."""
        told = self.billed is not None and self.billed.cost_nanousd is not None
        return self.difference_nanousd or NanoUSD(0) if told and self.causes else NanoUSD(0)


def model_key(name: str) -> str:
    """Reduce a vendor's names of one model to one: without its date, and a display name as an id.

    >>> model_key("gpt-4o-2024-08-06"), model_key("Claude Haiku 4.5"), model_key("Claude 3.5 Haiku")
    ('gpt-4o', 'claude-haiku-4-5', 'claude-3-5-haiku')
    """
    key = _DATED.sub("", _APART.sub("-", name.strip().lower()) if " " in name else name.strip().lower())
    key = key.removesuffix("-latest")
    if key.startswith("claude"):
        key = key.replace(".", "-")
    found = _FAMILY_FIRST.match(key)  # Claude 3 is written both ways
    return f"claude-3{found[2] or ''}-{found[1]}" if found else key


def add_up(rows: Iterable[Billed]) -> list[Billed]:
    """Add up a bill's lines by day, key, model and currency, in that order."""
    by_currency: dict[str, list[Billed]] = {}
    for row in rows:
        by_currency.setdefault(row.currency, []).append(row)
    found = [sums[place] for each in by_currency.values() for sums in [_sum_billed(each)] for place in sums]
    return sorted(found, key=lambda row: (row.day, row.key or "", model_key(row.model or ""), row.currency))


def compare(billed: Iterable[Billed], booked: Iterable[Booked]) -> list[Compared]:
    """Compare day by day, key by key and model by model; what agrees is in the list, too, without causes.

    A day of which the vendor names no model is compared as a whole; beside named models, a line without one is for
    something else, such as storage, and stands for itself. Days before the first and after the last that the vendor
    tells are left aside.
    """
    bills = _sum_billed(billed)
    if not bills:
        return []
    first, last = min(place[0] for place in bills), max(place[0] for place in bills)
    whole_days = {place[:2] for place in bills} - {place[:2] for place in bills if place[2] is not None}
    books = _sum_booked(row for row in booked if first <= row.day <= last)
    books |= _sum_days(books, whole_days)
    known = {place for place in books if place[2] is None or place[:2] not in whole_days}
    places = sorted({*bills, *known}, key=lambda place: (place[0], place[1] or "", place[2] or ""))
    return [_compared(place, bills, books) for place in places]


_Place = tuple[date, str | None, str | None]
"""Day, key and model."""


def _compared(place: _Place, bills: Mapping[_Place, Billed], books: Mapping[_Place, Booked]) -> Compared:
    bill, book = bills.get(place), books.get(place)
    causes = () if bill is not None and book is not None and _agree(bill, book) else _causes(place, bills, books)
    return Compared(day=place[0], key=place[1], model=place[2], billed=bill, booked=book, causes=tuple(causes))


def _agree(bill: Billed, book: Booked) -> bool:
    """Whether they are the same but for rounding, in all that the vendor tells."""
    tokens = _token_pairs(bill, book)
    if any(told != kept for told, kept in tokens):
        return False
    return bill.cost_nanousd is None or abs(bill.cost_nanousd - book.cost_nanousd) <= _ROUNDING_NANOUSD


def _causes(place: _Place, bills: Mapping[_Place, Billed], books: Mapping[_Place, Booked]) -> Sequence[str]:
    bill, book = bills.get(place), books.get(place)
    moved = _moved(place, bills, books)
    if book is None and place[2] is None:
        return ["It names no model: it is for something else than calls, such as storage or tools."]
    if book is None:
        return [*moved, "No such call was made through Backstay that day: another program uses this account."]
    if bill is None:
        return [*moved, "The vendor tells nothing of it: another key or organization, or its lines come later."]
    causes = list(moved)
    if book.adjusted_nanousd:
        causes.append("An earlier comparison has booked an adjustment: the bill or the ledger has changed since.")
    if book.unknown:
        causes.append(f"The ledger has {book.unknown} calls of unknown cost: give their targets a price.")
    if book.estimated:
        causes.append(f"{book.estimated} attempts broke off and are estimated.")
    if book.unconfirmed:
        causes.append(f"{book.unconfirmed} attempts were cut by a worker's death and are booked at their worst.")
    tokens = _token_pairs(bill, book)
    if tokens and all(_is_close(told, kept) for told, kept in tokens):
        causes.extend(_price_causes(bill, book))
    elif tokens and all(told >= kept for told, kept in tokens):
        share = 1 - sum(kept for _, kept in tokens) / sum(told for told, _ in tokens)
        causes.append(f"{share:.1%} of the billed tokens did not go through Backstay.")
    elif tokens:
        causes.append("The ledger has tokens that the vendor does not tell of: another key, or its lines come later.")
    elif not causes:
        causes.extend(_price_causes(bill, book))
    return causes


def _price_causes(bill: Billed, book: Booked) -> list[str]:
    """Explain a difference in money where the tokens are the same, or are not told."""
    if bill.cost_nanousd is None or abs(bill.cost_nanousd - book.cost_nanousd) <= _ROUNDING_NANOUSD:
        return []
    if not book.cost_nanousd:
        return ["The ledger's price of it is 0 or unknown."]
    ratio = bill.cost_nanousd / book.cost_nanousd
    for words, factor in _TIERS.items():
        if abs(ratio / factor - 1) <= 0.02:
            return [f"It was billed at {words}."]
    if not _token_pairs(bill, book):
        return [f"It was billed at {ratio:.1%} of the ledger's cost. Compare the tokens, too: take the usage export."]
    return [
        f"It was billed at {ratio:.1%} of the ledger's price: the price changed, or `[prices]` is wrong, or cached "
        "tokens, a tier or a discount are priced otherwise. See `backstay prices show`."
    ]


def _moved(place: _Place, bills: Mapping[_Place, Billed], books: Mapping[_Place, Booked]) -> list[str]:
    """Look whether a neighbouring day has the opposite difference."""
    here = _gap(place, bills, books)
    for days, where in ((-1, "before"), (1, "after")):
        there = _gap((place[0] + timedelta(days=days), *place[1:]), bills, books)
        if here and there and here * there < 0 and _is_close(abs(here), abs(there)):
            return [f"The day {where} has the opposite difference: the vendor counts these calls to another day."]
    return []


def _gap(place: _Place, bills: Mapping[_Place, Billed], books: Mapping[_Place, Booked]) -> int:
    bill, book = bills.get(place), books.get(place)
    if (bill is not None and bill.cost_nanousd is not None) or (bill is None and book is not None):
        told = bill.cost_nanousd or 0 if bill is not None else 0
        return told - (book.cost_nanousd if book is not None else 0)
    told = (bill.input_tokens or 0) + (bill.output_tokens or 0) if bill is not None else 0
    return told - (book.input_tokens + book.output_tokens if book is not None else 0)


def _is_close(one: int, other: int) -> bool:
    return abs(one - other) <= _CLOSE * max(one, other)


def _token_pairs(bill: Billed, book: Booked) -> list[tuple[int, int]]:
    pairs = ((bill.input_tokens, book.input_tokens), (bill.output_tokens, book.output_tokens))
    return [(told, kept) for told, kept in pairs if told is not None]


def _sum_billed(rows: Iterable[Billed]) -> dict[_Place, Billed]:
    sums: dict[_Place, Billed] = {}
    for row in rows:
        key = None if row.model is None else model_key(row.model)
        earlier = sums.get((row.day, row.key, key))
        sums[row.day, row.key, key] = row if earlier is None else _add(earlier, row)
    return sums


def _add(one: Billed, other: Billed) -> Billed:
    def plus(a: int | None, b: int | None) -> int | None:
        return b if a is None else a if b is None else a + b

    cost = plus(one.cost_nanousd, other.cost_nanousd)
    return msgspec.structs.replace(
        one,
        cost_nanousd=None if cost is None else NanoUSD(cost),
        input_tokens=plus(one.input_tokens, other.input_tokens),
        output_tokens=plus(one.output_tokens, other.output_tokens),
    )


def _sum_booked(rows: Iterable[Booked]) -> dict[_Place, Booked]:
    sums: dict[_Place, Booked] = {}
    for row in rows:
        place = (row.day, row.key, None if row.model is None else model_key(row.model))
        sums[place] = _plus(sums[place], row) if place in sums else row
    return sums


def _sum_days(books: Mapping[_Place, Booked], days: set[tuple[date, str | None]]) -> dict[_Place, Booked]:
    sums: dict[_Place, Booked] = {}
    for place, row in books.items():
        whole = (*place[:2], None)
        if place[:2] in days:
            sums[whole] = _plus(sums[whole], row) if whole in sums else row
    return sums


def _plus(one: Booked, other: Booked) -> Booked:
    return Booked(
        day=one.day,
        model=one.model,
        key=one.key,
        calls=one.calls + other.calls,
        cost_nanousd=NanoUSD(one.cost_nanousd + other.cost_nanousd),
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        unknown=one.unknown + other.unknown,
        estimated=one.estimated + other.estimated,
        unconfirmed=one.unconfirmed + other.unconfirmed,
        adjusted_nanousd=NanoUSD(one.adjusted_nanousd + other.adjusted_nanousd),
    )
