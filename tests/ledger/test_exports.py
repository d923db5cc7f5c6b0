"""Exports and invoices: what they hold is the ledger, to the nano-dollar, in the shapes that others expect."""

import csv
import importlib
import io
import json
import random
import re
import zlib
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backstay.core.currencies import Rate
from backstay.core.money import NanoUSD
from backstay.ledger import CostLine, LedgerEntry, LedgerStore
from backstay.ledger.adjustments import Adjustments, Posting
from backstay.ledger.export import LedgerExport
from backstay.ledger.invoice import write_invoice
from backstay.ledger.parquet import COLUMNS
from backstay.ledger.reconcile import Compared
from backstay.store import Database
from rollup_books import DAY, Document, make_documents, ship

parquet: Any = importlib.import_module("pyarrow.parquet")
"""It has no types."""

WINDOW: dict[str, Any] = {"since": DAY, "until": DAY + timedelta(days=3)}

# Column: kind, whether it may be null, allowed values. Source: FOCUS_Spec v1.2, specification/columns, "Content
# Constraints" and the requirements of each column that we write (2025-05).
RULES: dict[str, tuple[str, bool, set[str] | None]] = {
    "BilledCost": ("decimal", False, None),
    "BillingAccountId": ("string", False, None),
    "BillingAccountName": ("string", True, None),
    "BillingAccountType": ("string", False, None),
    "BillingCurrency": ("currency", False, None),
    "BillingPeriodEnd": ("time", False, None),
    "BillingPeriodStart": ("time", False, None),
    "ChargeCategory": ("string", False, {"Usage", "Purchase", "Tax", "Credit", "Adjustment"}),
    "ChargeClass": ("string", True, {"Correction"}),
    "ChargeDescription": ("string", True, None),
    "ChargeFrequency": ("string", False, {"One-Time", "Recurring", "Usage-Based"}),
    "ChargePeriodEnd": ("time", False, None),
    "ChargePeriodStart": ("time", False, None),
    "ConsumedQuantity": ("decimal", True, None),
    "ConsumedUnit": ("string", True, None),
    "ContractedCost": ("decimal", False, None),
    "ContractedUnitPrice": ("decimal", True, None),
    "EffectiveCost": ("decimal", False, None),
    "InvoiceId": ("string", True, None),
    "InvoiceIssuerName": ("string", False, None),
    "ListCost": ("decimal", False, None),
    "ListUnitPrice": ("decimal", True, None),
    "PricingCategory": ("string", True, {"Standard", "Dynamic", "Committed", "Other"}),
    "PricingCurrency": ("currency", True, None),
    "PricingQuantity": ("decimal", True, None),
    "PricingUnit": ("string", True, None),
    "ProviderName": ("string", False, None),
    "PublisherName": ("string", False, None),
    "ResourceId": ("string", True, None),
    "ResourceName": ("string", True, None),
    "ResourceType": ("string", True, None),
    "ServiceCategory": ("string", False, {"AI and Machine Learning"}),
    "ServiceName": ("string", False, None),
    "ServiceSubcategory": ("string", False, {"Generative AI"}),
    "SkuId": ("string", True, None),
    "SkuMeter": ("string", True, None),
    "SkuPriceId": ("string", True, None),
    "SubAccountId": ("string", True, None),
    "SubAccountName": ("string", True, None),
    "SubAccountType": ("string", True, None),
    "Tags": ("json", True, None),
}
FORMS = {
    "decimal": re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?"),
    "currency": re.compile(r"[A-Z]{3}"),
    "time": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"),
}


@pytest.fixture
async def entries(database: Database, tenant: str, tmp_path: Path) -> list[LedgerEntry]:
    """The entries of one of two tenants, those of known cost with their lines."""
    documents = [_with_lines(document) for document in make_documents(random.Random(5), 200)]
    await ship(database, tmp_path, documents)
    return [entry for document in documents if document.tenant_id == tenant for entry in document.entries]


def _with_lines(document: Document) -> Document:
    return msgspec.structs.replace(document, entries=tuple(_priced(entry) for entry in document.entries))


def _priced(entry: LedgerEntry) -> LedgerEntry:
    if entry.cost_nanousd is None or entry.input_tokens is None:
        return entry
    lines = tuple(
        CostLine(unit=unit, quantity=count, usd_per_million=usd, amount_nanousd=NanoUSD(count * nano))
        for unit, count, usd, nano in (
            ("input_mtok", entry.input_tokens, "0.15", 150),
            ("output_mtok", entry.output_tokens or 0, "0.6", 600),
        )
    )
    total = NanoUSD(sum(line.amount_nanousd for line in lines))
    return msgspec.structs.replace(entry, lines=lines, cost_nanousd=total, user_id='=cmd()\n"x"')


async def _export(database: Database, form: Any, **more: Any) -> bytes:
    blocks = await LedgerExport(database).stream("acme", form, **{**WINDOW, **more})
    return b"".join([block async for block in blocks])


def _rows(text: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text.decode(), newline="")))


def _known(entries: Sequence[LedgerEntry]) -> int:
    return sum(entry.cost_nanousd or 0 for entry in entries)


async def test_an_export_has_each_attempt_once(database: Database, entries: list[LedgerEntry]) -> None:
    """Rows are the ledger's entries in order; an unknown cost is empty, and no cell is a formula."""
    rows = _rows(await _export(database, "csv"))
    assert [(row["call_id"], int(row["attempt"])) for row in rows] == [
        (entry.call_id, entry.attempt)
        for entry in sorted(entries, key=lambda entry: (entry.at_ns, entry.call_id, entry.attempt))
    ]
    assert sum(row["cost_usd"] == "" for row in rows) == sum(entry.cost_nanousd is None for entry in entries)
    assert sum(Decimal(row["cost_usd"] or 0) for row in rows) == Decimal(_known(entries)) / 10**9
    assert not [cell for row in rows for cell in row.values() if cell.startswith("=")]


async def test_an_export_is_packed(database: Database, entries: list[LedgerEntry]) -> None:
    """What is packed is the same."""
    packed = await _export(database, "csv", gzip=True)
    assert zlib.decompress(packed, 31) == await _export(database, "csv")


async def test_parquet_holds_the_same(database: Database, entries: list[LedgerEntry]) -> None:
    """Columns have their types, money is exact, and unknown is null."""
    table: Any = parquet.read_table(io.BytesIO(await _export(database, "parquet")))
    rows: list[dict[str, Any]] = table.to_pylist()
    assert tuple(table.column_names) == COLUMNS
    assert len(rows) == len(entries)
    assert sum(row["cost_usd"] or 0 for row in rows) == Decimal(_known(entries)) / 10**9
    assert {row["user"] for row in rows} >= {None, '\'=cmd()\n"x"'}
    assert all(row["at"].tzinfo is not None for row in rows)


async def test_parquet_of_nothing_is_a_file(database: Database, tenant: str) -> None:
    """A time without entries gives a file without rows."""
    table: Any = parquet.read_table(io.BytesIO(await _export(database, "parquet")))
    assert table.num_rows == 0


async def test_focus_keeps_the_specifications_rules(database: Database, entries: list[LedgerEntry]) -> None:
    """Each column has its type, form and allowed values; periods hold each other; prices times quantities are costs."""
    rows = _rows(await _export(database, "focus"))
    assert set(rows[0]) - set(RULES) == {name for name in rows[0] if name.startswith("x_")}
    assert set(RULES) <= set(rows[0])
    for row in rows:
        _check_columns(row)
        _check_row(row)
    assert sum(Decimal(row["BilledCost"]) for row in rows) == Decimal(_known(entries)) / 10**9


async def test_focus_has_adjustments_too(database: Database, entries: list[LedgerEntry]) -> None:
    """As such, without quantities and prices; a key that sees its own calls alone does not see them."""
    adjustments = Adjustments(database)
    day = entries[0].at_ns // 10**9 // 86_400
    line = Compared(
        day=date.fromordinal(719_163 + day), key=None, model="gpt-4o", billed=None, booked=None, causes=("a tier",)
    )
    posting = Posting(tenant_id="acme", line=line, amount=NanoUSD(-1_500_000_001))
    for expected in (1, 0):
        async with database.system() as connection:
            await adjustments.hold(connection)
            booked = await adjustments.book(connection, [posting], file="f" * 64, provider="openai", by="operator")
            assert len(booked) == expected
    rows = _rows(await _export(database, "focus"))
    (found,) = (row for row in rows if row["ChargeCategory"] == "Adjustment")
    _check_columns(found)
    assert Decimal(found["BilledCost"]) == Decimal("-1.500000001")
    assert not found["ConsumedQuantity"] and not found["PricingQuantity"] and not found["SkuId"]
    assert "gpt-4o" in found["ChargeDescription"]
    own = _rows(await _export(database, "focus", key_id=entries[0].key_id))
    assert not [row for row in own if row["ChargeCategory"] == "Adjustment"]


def _check_columns(row: dict[str, str]) -> None:
    for name, (kind, may_be_null, allowed) in RULES.items():
        value = row[name]
        assert value or may_be_null, name
        if value and kind in FORMS:
            assert FORMS[kind].fullmatch(value), (name, value)
        assert not value or allowed is None or value in allowed, (name, value)
    assert isinstance(json.loads(row["Tags"]), dict)


def _check_row(row: dict[str, str]) -> None:
    assert row["BillingPeriodStart"] <= row["ChargePeriodStart"] < row["ChargePeriodEnd"] <= row["BillingPeriodEnd"]
    assert row["PricingQuantity"] and row["PricingUnit"] and row["ListUnitPrice"], "of a charge for usage"
    assert abs(Decimal(row["ListUnitPrice"]) * Decimal(row["PricingQuantity"]) - Decimal(row["ListCost"])) <= Decimal(
        "1e-9"
    )
    assert len({row[name] for name in ("BilledCost", "EffectiveCost", "ContractedCost", "ListCost")}) == 1


@pytest.mark.parametrize("markup", ["0", "15", "7.25"])
async def test_invoices_of_two_tenants_add_up_to_the_ledger(
    database: Database, tenant: str, tmp_path: Path, markup: str
) -> None:
    """Lines without markup are the ledger to the nano-dollar; amounts add up; only what is due is rounded to cents."""
    documents = make_documents(random.Random(6), 400)
    await ship(database, tmp_path, documents, batch=100)
    month: dict[str, Any] = {"since": datetime(2026, 11, 1, tzinfo=UTC), "until": datetime(2026, 12, 1, tzinfo=UTC)}
    billed = 0
    for name in (tenant, "default"):
        rows = await LedgerStore(database).costs(name, by=("model", "feature", "key"), **month)
        bill = write_invoice(rows, markup)
        billed += bill.cost_nanousd
        assert sum(amount for _, amount, _ in bill.lines) == bill.amount_nanousd
        exact = bill.cost_nanousd * (1 + Decimal(markup) / 100)
        assert abs(bill.amount_nanousd - exact) <= Decimal(len(rows)) / 2
        rate = Rate("JPY", Decimal("0.0067"), None)
        yen = write_invoice(rows, markup, rate)
        assert sum(converted for _, _, converted in yen.lines) == yen.amount
        assert abs(yen.amount - Decimal(bill.amount_nanousd) / 10**9 / rate.usd) <= Decimal("1e-9")
        assert yen.due == str(round(Fraction(bill.amount_nanousd, 10**9) / Fraction(rate.usd)))
        assert abs(Decimal(bill.due_usd) - Decimal(bill.amount_nanousd) / 10**9) <= Decimal("0.005")
    assert billed == _known([entry for document in documents for entry in document.entries])
