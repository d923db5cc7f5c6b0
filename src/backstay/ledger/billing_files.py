"""Owns the reading of vendors' billing exports: which columns they have, and what one line of them says.

Sources, as real exports have them: OpenAI's dashboard exports of costs (``amount_value``, ``line_item``) and of
completions usage (``num_model_requests``), whose fields are those of its API's costs and usage (2025-10); Anthropic's
Console exports of usage (``usage_input_tokens_no_cache``) and of cost (``token_type``, ``cost_usd``) (2026-08).
"""

import csv
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Literal

import msgspec

from backstay.core.errors import InvalidRequest
from backstay.core.money import NanoUSD, from_usd
from backstay.ledger.reconcile import Billed

Vendor = Literal["openai", "anthropic"]

_BOM = "\ufeff"
_LONGEST_FIELD = 1024 * 1024


class Export(msgspec.Struct, frozen=True):
    """One kind of export: what tells it by its columns, and how a line of it is read."""

    vendor: Vendor
    kind: Literal["costs", "usage"]
    columns: frozenset[str]
    key_columns: tuple[str, ...]
    """Where the vendor's own key is named, the first that is there."""
    read: "Callable[[_Line], Billed | None]"


class BadExport(InvalidRequest):
    """A file is no export that is known, or a line of it is damaged. Nothing of it was taken."""


def read_export(
    lines: Iterable[str], name: str, *, keys: Sequence[str] = (), by_key: bool = False
) -> tuple[Export, Iterator[Billed]]:
    """Read an export line by line, however long it is.

    Args:
        lines: Of a CSV, its head first; separated by commas or tabs.
        name: What errors call the file.
        keys: Only lines of these keys of the vendor, by id or name; nothing: all.
        by_key: Whether each line says whose it is.

    Raises:
        BadExport: It is none; or, while it is read, a line is damaged: which one, which column, what was expected.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    source = iter(lines)
    head = next(source, "").removeprefix(_BOM)
    separator = "\t" if "\t" in head else ","
    columns = [column.strip().lower() for column in next(csv.reader([head or "-"], delimiter=separator))]
    export = next((each for each in _EXPORTS if each.columns <= set(columns)), None)
    if export is None:
        known = "; ".join(
            f"{each.vendor} {each.kind}, with {', '.join(sorted(each.columns))} among its columns" for each in _EXPORTS
        )
        raise BadExport(f"{name}: its first line names no columns of a known export. Known are: {known}.")
    billed = _read_lines(export, columns, separator, source, name, frozenset(keys))
    return export, (row for _, row in billed) if not by_key else (_of_key(line, row, export) for line, row in billed)


def _read_lines(
    export: Export, columns: Sequence[str], separator: str, source: Iterator[str], name: str, keys: frozenset[str]
) -> "Iterator[tuple[_Line, Billed]]":
    reader = csv.reader(source, delimiter=separator)
    begins = reader.line_num + 2  # the head was read before
    try:
        for fields in reader:
            line, begins = _Line(name, begins, dict(zip(columns, fields, strict=False))), reader.line_num + 2
            if not any(field.strip() for field in fields):
                continue
            if len(fields) != len(columns):
                raise line.error(f"it has {len(fields)} columns, and the first line {len(columns)}")
            if keys and not any(line.values.get(column, "") in keys for column in export.key_columns):
                continue
            billed = export.read(line)
            if billed is not None:
                yield line, billed
    except csv.Error as error:
        raise BadExport(f"{name}, line {begins}: {error}.") from None


def _of_key(line: "_Line", billed: Billed, export: Export) -> Billed:
    key = next((text for column in export.key_columns if (text := line.text(column))), None)
    return msgspec.structs.replace(billed, key=key)


class _Line(msgspec.Struct, frozen=True):
    """One line by its columns."""

    name: str
    number: int
    values: Mapping[str, str]

    def text(self, column: str) -> str:
        return self.values.get(column, "").strip()

    def count(self, *columns: str) -> int:
        """Add up counts of tokens; empty ones are 0. Exports write whole numbers also as ``59200.0``."""
        return sum(self._count(column) for column in columns)

    def _count(self, column: str) -> int:
        text = self.text(column)
        if not text:
            return 0
        value = self._number(column, "a whole number from 0")
        if value != int(value) or value < 0:
            raise self.error(f"{column} is {text!r}, expected a whole number from 0")
        return int(value)

    def usd(self, column: str) -> NanoUSD:
        """Read an amount in US dollars; credits are below 0."""
        return from_usd(self._number(column, "an amount in US dollars"))

    def day(self, *columns: str) -> date:
        """Read a UTC day from the first of these columns that is there: seconds since 1970, or an ISO date or time."""
        for column in columns:
            if text := self.text(column):
                try:
                    if text.isdigit():
                        return datetime.fromtimestamp(int(text), UTC).date()
                    moment = datetime.fromisoformat(text)
                    return moment.astimezone(UTC).date() if moment.tzinfo else moment.date()
                except (ValueError, OverflowError, OSError):
                    raise self.error(f"{column} is {text!r}, expected a date such as 2026-11-01") from None
        raise self.error(f"{columns[0]} is empty, expected a date such as 2026-11-01")

    def error(self, what: str) -> BadExport:
        return BadExport(f"{self.name}, line {self.number}: {what}.")

    def _number(self, column: str, expected: str) -> Decimal:
        text = self.text(column)
        try:
            value = Decimal(text)
        except InvalidOperation:
            value = Decimal("nan")
        if not value.is_finite() or abs(value) > sys.maxsize:
            raise self.error(f"{column} is {text!r}, expected {expected}")
        return value


def _openai_costs(line: _Line) -> Billed | None:
    if not line.text("amount_value"):
        return None  # a day without any
    currency = line.text("amount_currency").lower()
    if not re.fullmatch("[a-z]{3}|", currency):
        raise line.error(f"amount_currency is {currency!r}, expected a currency such as usd")
    model = line.text("line_item").partition(",")[0].strip() or None
    return Billed(
        day=line.day("start_time", "start_time_iso"),
        model=model,
        cost_nanousd=line.usd("amount_value"),
        currency=currency.upper() or "USD",
    )


def _openai_usage(line: _Line) -> Billed | None:
    if not line.text("input_tokens") and not line.text("output_tokens"):
        return None
    return Billed(
        day=line.day("start_time", "start_time_iso"),
        model=line.text("model") or None,
        input_tokens=line.count("input_tokens"),
        output_tokens=line.count("output_tokens"),
    )


def _anthropic_usage(line: _Line) -> Billed | None:
    return Billed(
        day=line.day("usage_date_utc"),
        model=line.text("model_version") or None,
        input_tokens=line.count(
            "usage_input_tokens_no_cache",
            "usage_input_tokens_cache_write_5m",
            "usage_input_tokens_cache_write_1h",
            "usage_input_tokens_cache_write",  # in older exports, of both
            "usage_input_tokens_cache_read",
        ),
        output_tokens=line.count("usage_output_tokens"),
    )


def _anthropic_costs(line: _Line) -> Billed | None:
    return Billed(day=line.day("usage_date_utc"), model=line.text("model") or None, cost_nanousd=line.usd("cost_usd"))


_EXPORTS = (
    Export("openai", "costs", frozenset({"start_time", "amount_value", "line_item"}), ("project_id",), _openai_costs),
    Export(
        "openai", "usage", frozenset({"start_time", "model", "input_tokens", "output_tokens"}), ("api_key_id",),
        _openai_usage,
    ),
    Export(
        "anthropic", "usage", frozenset({"usage_date_utc", "model_version", "usage_output_tokens"}), ("api_key",),
        _anthropic_usage,
    ),
    Export(
        "anthropic", "costs", frozenset({"usage_date_utc", "model", "cost_usd"}), ("api_key_id", "api_key"),
        _anthropic_costs,
    ),
)  # fmt: skip
