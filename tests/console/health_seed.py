"""Owns what two workers report of the targets' health, for the console's tests: one is down, one is slow."""

from typing import Any

from backstay.health import HealthStore, TargetState
from backstay.health.quota import QuotaState
from backstay.health.target import LastError

OVERLOADED = LastError(fault="overloaded", http_status=529)


def state(target: str, **fields: Any) -> TargetState:
    """Describe a target that is well, but for what is said."""
    known: dict[str, Any] = {
        "breaker": "closed", "cause": None, "readiness": "ready", "in_flight": 3, "concurrency_limit": None,
        "retries_left": 12.5, "tries": 5000, "failures": 11, "opened": 0, "recent_tries": 600, "recent_failures": 2,
        "first_token": {27: 40.0, 28: 80.0, 30: 12.0, 34: 3.0},
    }  # fmt: skip
    return TargetState(target=target, **{**known, **fields})


async def report_health(store: HealthStore) -> None:
    """Report as two workers do: OpenAI is down for both, Anthropic slow for one; Azure has little left."""
    down: dict[str, Any] = {
        "breaker": "open", "cause": "errors", "readiness": "open", "ill_for_s": 240.0, "free_in_s": 8.0, "opened": 3,
        "in_flight": 0, "recent_tries": 60, "recent_failures": 48, "last_error": OVERLOADED, "last_error_ago_s": 6.0,
    }  # fmt: skip
    azure = state("azure/gpt-4o-mini", concurrency_limit=40, in_flight=31, requests=QuotaState(limit=6000, left=420))
    slow: dict[str, Any] = {"breaker": "half_open", "cause": "slow", "readiness": "slow", "ill_for_s": 31.0}
    await store.report(
        "one", [state("openai/gpt-4o-mini", **down), azure, state("anthropic/claude-sonnet-4-5", **slow)]
    )
    await store.report(
        "two",
        [state("openai/gpt-4o-mini", **{**down, "cause": "peer"}), azure, state("anthropic/claude-sonnet-4-5")],
    )
