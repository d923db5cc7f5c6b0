"""Tests of the comparison of ledger and bill, and of the reading of vendors' exports."""

from collections.abc import Iterable
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.core.money import NanoUSD, from_usd
from backstay.ledger.adjustments import share_out
from backstay.ledger.billing_files import BadExport, read_export
from backstay.ledger.reconcile import Billed, Booked, Compared, add_up, compare, model_key

DAY = date(2026, 11, 2)
MINI = "gpt-4o-mini-2024-07-18"

OPENAI_COSTS = """\
start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id
1793577600,1793664000,2026-11-02T00:00:00+00:00,2026-11-03T00:00:00+00:00,1.25,usd,"gpt-4o-mini-2024-07-18, input",p_a
1793577600,1793664000,2026-11-02T00:00:00+00:00,2026-11-03T00:00:00+00:00,0.75,usd,"gpt-4o-mini-2024-07-18, output",p_a
1793577600,1793664000,2026-11-02T00:00:00+00:00,2026-11-03T00:00:00+00:00,9,usd,"gpt-4o-mini-2024-07-18, output",p_b
1793664000,1793750400,2026-11-03T00:00:00+00:00,2026-11-04T00:00:00+00:00,,,,
"""
OPENAI_USAGE = """\
start_time\tend_time\tproject_id\tnum_model_requests\tapi_key_id\tmodel\tbatch\tservice_tier\tinput_tokens\toutput_tokens\tinput_cached_tokens
1793577600\t1793664000\tproj_a\t10.0\tkey_1\tgpt-4o-mini-2024-07-18\tFALSE\tdefault\t59200.0\t10646.0\t5760.0
1793577600\t1793664000\tproj_a\t1.0\tkey_2\tgpt-4o-mini-2024-07-18\tFALSE\tdefault\t800\t54\t0
1793664000\t1793750400\t\t\t\t\t\t\t\t\t
"""
ANTHROPIC_USAGE = """\
\ufeffusage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens,web_search_count,inference_geo,speed
2026-11-02,claude-haiku-4-5-20251001,prod,Default,standard,≤ 200k,1000,20,3,400,50,0,not_available,
"""
ANTHROPIC_COSTS = """\
usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd,cost_type,inference_geo,speed
2026-11-02,Claude Haiku 4.5,Default,prod,message,≤ 200k,input_no_cache,0.05,0.05,token,not_available,
2026-11-02,Claude Haiku 4.5,Default,prod,message,≤ 200k,output,0.02,0.02,token,not_available,
"""


def read(text: str, **more: Any) -> tuple[str, str, list[Billed]]:
    export, rows = read_export(text.splitlines(keepends=True), "bill.csv", **more)
    return export.vendor, export.kind, add_up(rows)


def billed(usd: str | None = None, tokens: tuple[int, int] | None = None, *, day: int = 2, model: str | None = "m"):
    cost = None if usd is None else from_usd(usd)
    inputs, outputs = tokens or (None, None)
    return Billed(day=date(2026, 11, day), model=model, cost_nanousd=cost, input_tokens=inputs, output_tokens=outputs)


def booked(usd: str, tokens: tuple[int, int] = (0, 0), *, day: int = 2, model: str = "m", **more: int) -> Booked:
    counts: Any = {"calls": 1, "unknown": 0, "estimated": 0, "unconfirmed": 0, **more}
    return Booked(
        day=date(2026, 11, day),
        model=model,
        cost_nanousd=from_usd(usd),
        input_tokens=tokens[0],
        output_tokens=tokens[1],
        **counts,
    )


def causes(bill: Iterable[Billed], book: Iterable[Booked]) -> list[tuple[str, ...]]:
    return [each.causes for each in compare(bill, book)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (OPENAI_COSTS, ("openai", "costs", [Billed(day=DAY, model=MINI, cost_nanousd=from_usd("11"))])),
        (
            OPENAI_USAGE,
            (
                "openai",
                "usage",
                [Billed(day=DAY, model=MINI, input_tokens=60_000, output_tokens=10_700)],
            ),
        ),
        (
            ANTHROPIC_USAGE,
            (
                "anthropic",
                "usage",
                [Billed(day=DAY, model="claude-haiku-4-5-20251001", input_tokens=1423, output_tokens=50)],
            ),
        ),
        (
            ANTHROPIC_COSTS,
            ("anthropic", "costs", [Billed(day=DAY, model="Claude Haiku 4.5", cost_nanousd=from_usd("0.07"))]),
        ),
    ],
)  # fmt: skip
def test_exports_are_known_by_their_columns(text: str, expected: tuple[str, str, list[Billed]]):
    """With commas or tabs, with a byte order mark, with days without anything."""
    assert read(text) == expected


def test_only_lines_of_a_key_are_taken():
    """By the vendor's id of it, or of its project."""
    assert read(OPENAI_USAGE, keys=["key_2"])[2][0].input_tokens == 800
    assert read(OPENAI_COSTS, keys=["p_a"])[2][0].cost_nanousd == from_usd("2")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no columns of a known export"),
        ("a,b\n1,2\n", "Known are: openai costs, with amount_value, line_item, start_time"),
        (ANTHROPIC_COSTS.replace("0.02,0.02", "much,0.02"), "line 3: cost_usd is 'much', expected an amount"),
        (ANTHROPIC_COSTS.replace("0.02,0.02", "NaN,0.02"), "line 3: cost_usd is 'NaN'"),
        (ANTHROPIC_USAGE.replace(",50,", ",-50,"), "line 2: usage_output_tokens is '-50', expected a whole number"),
        (ANTHROPIC_USAGE.replace(",50,", ",5.5,"), "line 2: usage_output_tokens is '5.5'"),
        (ANTHROPIC_USAGE.replace("2026-11-02", "yesterday"), "line 2: usage_date_utc is 'yesterday', expected a date"),
        (ANTHROPIC_USAGE.replace("2026-11-02", ""), "line 2: usage_date_utc is empty"),
        (OPENAI_COSTS.replace("usd", "euro"), "line 2: amount_currency is 'euro', expected a currency"),
        (OPENAI_COSTS + "1793577600,half a line", "line 6: it has 2 columns, and the first line 8"),
        (OPENAI_COSTS + '1793577600,"' + "x" * 2_000_000 + '"', "field larger than field limit"),
    ],
)
def test_a_damaged_line_is_named(text: str, said: str):
    """With its number, its column and what was expected."""
    with pytest.raises(BadExport, match=r"bill\.csv") as raised:
        read(text)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
        ("claude-haiku-4-5-20251001", "Claude Haiku 4.5"),
        ("claude-3-5-haiku-20241022", "Claude Haiku 3.5"),
        ("claude-3-7-sonnet-latest", "Claude Sonnet 3.7"),
        ("gpt-4.1", "gpt-4.1-2025-04-14"),
    ],
)
def test_names_of_one_model_are_one(one: str, other: str):
    """With its date, or as people call it."""
    assert model_key(one) == model_key(other)
    assert model_key("gpt-4o") != model_key("gpt-4o-mini")


def test_what_agrees_has_no_causes():
    """To the cent, and to the token."""
    assert causes([billed("1.004", (10, 5))], [booked("1", (10, 5))]) == [()]
    assert causes([billed(None, (10, 5))], [booked("1", (10, 5))]) == [()]


@pytest.mark.parametrize(
    ("bill", "book", "said"),
    [
        ([billed("5")], [], "No such call was made through Backstay"),
        ([billed("5"), billed("1", model="n")], [booked("5"), booked("2", model="n"), booked("3", model="o")],
         "tells nothing of it"),
        ([billed("5", (150, 50))], [booked("3", (75, 25))], "50.0% of the billed tokens did not go through"),
        ([billed("5", (75, 25))], [booked("6", (150, 50))], "tokens that the vendor does not tell of"),
        ([billed("2", (75, 25))], [booked("4", (75, 25))], "half the price: batch or flex"),
        ([billed("8", (75, 25))], [booked("4", (75, 25))], "twice the price: priority or fast"),
        ([billed("3.2", (75, 25))], [booked("4", (75, 25))], "80.0% of the ledger's price"),
        ([billed("3.2")], [booked("4")], "take the usage export"),
        ([billed("3.2", (75, 25))], [booked("0", (75, 25), unknown=7)], "7 calls of unknown cost"),
        ([billed("3.2", (75, 25))], [booked("4", (80, 25), estimated=3)], "3 attempts broke off"),
        ([billed("3.2", (75, 25))], [booked("4", (80, 25), unconfirmed=2)], "2 attempts were cut"),
        ([billed("5"), billed("3", day=3)], [booked("3"), booked("5", day=3)], "The day after has the opposite"),
    ],
)  # fmt: skip
def test_a_difference_has_likely_causes(bill: list[Billed], book: list[Booked], said: str):
    """Planted ones are named."""
    assert said in " ".join(" ".join(each) for each in causes(bill, book))


def test_a_day_without_models_is_compared_as_a_whole():
    """As OpenAI exports costs that are not grouped."""
    (found,) = compare([billed("3", model=None)], [booked("1"), booked("2", model="n"), booked("9", day=3)])
    assert found == Compared(
        day=DAY, key=None, model=None, billed=billed("3", model=None), booked=booked("3", calls=2), causes=()
    )  # fmt: skip


def test_a_line_without_a_model_beside_models_is_for_something_else():
    """Such as storage: the calls of the day are compared without it."""
    found = compare([billed("5"), billed("0.5", model=None)], [booked("5")])
    assert [(each.model, bool(each.causes)) for each in found] == [(None, True), ("m", False)]
    assert "something else than calls" in found[0].causes[0]


def test_cache_writes_of_older_exports_count():
    """They are one column there."""
    text = ANTHROPIC_USAGE.replace("cache_write_5m", "cache_write").replace(",usage_input_tokens_cache_write_1h", "")
    assert read(text.replace(",20,3,", ",23,"))[2][0].input_tokens == 1423


def test_an_open_quote_is_told_where_it_begins():
    """Not where the file ends."""
    with pytest.raises(BadExport, match="line 2"):
        read(ANTHROPIC_USAGE.replace("2026-11-02,", '2026-11-02,"') + "2026-11-03,x,y\n")


def test_days_that_the_vendor_does_not_tell_are_left_aside():
    """Before the bill's first and after its last day."""
    found = compare([billed("1", day=2), billed("1", day=4)], [booked("1", day=day) for day in range(1, 7)])
    assert [(each.day.day, bool(each.causes)) for each in found] == [(2, False), (3, True), (4, False)]


@given(st.integers(-(10**12), 10**12), st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 10**6)))
def test_a_difference_is_shared_out_to_the_nano_dollar(amount: int, costs: dict[str, int]):
    """Among tenants by what their calls cost, off by less than one each; without any, it is the operator's."""
    shares = share_out(NanoUSD(amount), costs, "operator")
    whole = sum(costs.values())
    assert sum(shares.values()) == amount
    if not whole:
        assert shares == {"operator": amount}
    for tenant, cost in costs.items():
        assert not whole or abs(shares.get(tenant, 0) * whole - amount * cost) < whole
