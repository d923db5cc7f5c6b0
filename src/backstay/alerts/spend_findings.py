"""Owns how people are told of what the watch over spend finds. Pure."""

import datetime as dt
from collections.abc import Collection
from urllib.parse import urlencode

from backstay.alerts.budget_forecasts import BudgetForecast
from backstay.alerts.types import Finding, Key
from backstay.core.money import NanoUSD, usd
from backstay.ledger.anomaly import Anomaly, short_usd
from backstay.loops import Loop


def of_anomaly(found: Anomaly, known: Collection[Key]) -> Finding:
    """Tell of an anomaly, as one of the scopes that it is in: the one in which it is known already, if it is."""
    subjects = [f"{scope}:{name}" for scope, name in ((found.scope, found.name), *found.also)]
    open_ = {key.subject for key in known}
    subject = next((each for each in subjects if each in open_), subjects[0])
    by_calls, by_cost = found.split()
    return Finding(
        key=Key(kind="anomaly", subject=subject),
        severity="warning",
        title=f"{found.scope} {found.name} spends far more than usual: ${short_usd(found.cost_nanousd)}, "
        f"usually ${short_usd(found.usual_nanousd)}",
        details=(found.describe(), *(f"The same in {each}." for each in subjects if each != subject)),
        numbers={
            "cost_usd": usd(found.cost_nanousd),
            "usual_usd": usd(found.usual_nanousd),
            "excess_usd": usd(found.excess_nanousd),
            "by_calls_usd": usd(by_calls),
            "by_cost_per_call_usd": usd(by_cost),
            "since": _written(found.since),
            "until": _written(found.until),
        },
        link=f"/costs?{urlencode({'since': _written(found.since), 'until': _written(found.until)})}",
    )


def of_forecast(found: BudgetForecast) -> Finding:
    """Tell that a budget will not last until its window ends."""
    low, high = _amount(found.low_nanousd), _amount(found.high_nanousd)
    when = "" if found.spent_at is None else f" It is expected to be spent on {found.spent_at:%Y-%m-%d}."
    return Finding(
        key=forecast_key(found),
        severity="warning",
        title=f"Budget {found.name or found.budget_id} ({found.scope}) will not last: ${low} to ${high} of "
        f"${usd(found.limit_nanousd)}",
        details=(f"Spent so far: ${usd(found.spent_nanousd)}.{when}",),
        numbers={
            "limit_usd": usd(found.limit_nanousd),
            "spent_usd": usd(found.spent_nanousd),
            "low_usd": low,
            "high_usd": high,
        },
        link="/costs",
    )


def forecast_key(found: BudgetForecast) -> Key:
    """Name the alert about a budget's window, and about whose part of it."""
    window = "" if found.ends_at is None else _written(found.ends_at)
    return Key(
        kind="forecast_over", subject=f"budget:{found.budget_id}", threshold=found.scope, window=window
    )  # fmt: skip


def of_loop(loop: Loop) -> Finding:
    """Tell that a key repeats itself."""
    done = {"alert": "They go on.", "slow": "They are slowed.", "refuse": "They are refused.", "off": ""}
    return Finding(
        key=Key(kind="loop", subject=f"key:{loop.key_id}", threshold=loop.model),
        severity="critical" if loop.rule.on_loop == "alert" else "warning",
        title=f"Key {loop.key_name or loop.key_id} sends nearly the same request to {loop.model} again and again",
        details=(
            f"{loop.count} calls so far, {loop.rule.repeats} of them within {loop.rule.window_s:g} s. "
            f"{done[loop.rule.on_loop]}",
            f"The last one is trace {loop.trace_id}.",
        ),
        numbers={
            "calls": loop.count,
            "window_s": loop.rule.window_s,
            "on_loop": loop.rule.on_loop,
            "trace_id": loop.trace_id,
        },
        link=f"/traces/{loop.trace_id}",
    )


def _amount(amount: NanoUSD | None) -> str:
    return "" if amount is None else usd(amount)


def _written(at: dt.datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
