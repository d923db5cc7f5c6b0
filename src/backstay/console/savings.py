"""Owns the page of savings: what could have been saved on past calls, the largest first."""

from starlette.responses import Response

from backstay.console.names import key_names
from backstay.console.traces import rows_link
from backstay.console.visit import Visit
from backstay.console.window import read_window
from backstay.ledger.savings import ADVICE, Kind

_TITLES: dict[Kind, str] = {
    "prompt_cache": "Prompts that begin alike",
    "batch": "Calls that can wait",
    "duplicates": "Equal requests",
    "cut": "Answers cut short",
}


async def show(visit: Visit) -> Response:
    window = read_window(visit.query, visit.now, "7d")
    found = await visit.deps.find_savings(visit.tenant_id, since=window.since, until=window.until)
    return visit.page(
        "savings.html",
        window=window,
        found=found,
        titles=_TITLES,
        rows_link=rows_link,
        advice=ADVICE,
        labels=await key_names(visit) if any(each.key_id for each in found.savings) else {},
        largest=max((each.amount_nanousd for each in found.savings), default=0),
    )
