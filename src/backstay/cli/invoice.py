"""Owns an invoice as a page. Pure."""

from html import escape
from typing import Any

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:3rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}td,th{padding:.3rem .6rem;border-bottom:1px solid #ddd;text-align:left}"
    ".n{text-align:right;font-variant-numeric:tabular-nums}"
)


def invoice_page(bill: dict[str, Any]) -> str:
    """Write an invoice, as the API gives it, as one HTML document."""
    head = ["model", "feature", "key", "calls", "tokens in", "tokens out", "cost, USD", "amount, USD"]
    fields = ["model", "feature", "key", "calls", "input_tokens", "output_tokens", "cost_usd", "amount_usd"]
    sums, due, rate = ["cost_usd", "amount_usd"], f"${escape(bill['due_usd'])}", ""
    if bill["rate"]:
        head.append(f"amount, {bill['currency']}")
        fields.append("amount")
        sums.append("amount")
        due, rate = f"{escape(bill['due'])} {escape(bill['currency'])}", f"<p>{escape(bill['rate'])}.</p>"
    rows = "\n".join(_row("td", [line[name] for name in fields]) for line in bill["lines"])
    total = _row("th", ["total", *[""] * 5, *[bill[name] for name in sums]])
    unknown = bill["unknown_cost_calls"]
    left_out = f"<p>{unknown} calls of unknown cost are not charged.</p>" if unknown else ""
    title = f"Invoice {escape(bill['month'])}, {escape(bill['tenant'])}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>\n'
        f"<h1>{title}</h1>\n<p>{escape(bill['since'])} to {escape(bill['until'])}, "
        f"markup {escape(bill['markup_percent'])} %</p>\n"
        f"<table><thead>{_row('th', head)}</thead><tbody>{rows}</tbody><tfoot>{total}</tfoot></table>\n"
        f"<p>Due: <strong>{due}</strong></p>{rate}{left_out}\n<p>{escape(bill['rounding'])}</p></html>"
    )


def _row(tag: str, cells: Any) -> str:
    told = ("" if cell is None else escape(str(cell)) for cell in cells)
    return (
        "<tr>"
        + "".join(f"<{tag}{' class=n' if place > 2 else ''}>{cell}</{tag}>" for place, cell in enumerate(told))
        + "</tr>"
    )
