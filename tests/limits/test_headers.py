"""What callers are told of their limits, in the standard's form and in the vendors'."""

from typing import Any

from backstay.limits.headers import write_headers
from backstay.limits.types import LimitId, LimitState, Meter, ScopeKind

NOW_NS = 1_800_000_000_000_000_000


def state(kind: ScopeKind, meter: Meter, limit: int, remaining: int, **more: Any) -> LimitState:
    id = LimitId(tenant_id="acme", kind=kind, name="x", meter=meter)
    return LimitState(id=id, limit=limit, remaining=remaining, **{"next_us": 2_500_000, "reset_us": 59_500_000, **more})


def written(*states: LimitState, wire: str = "openai", retry_us: int | None = None) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in write_headers(states, wire, NOW_NS, retry_us)}


def test_the_standard_form_names_each_limit() -> None:
    """``RateLimit-Policy`` says what the limits are, ``RateLimit`` what is left of them and for how long."""
    headers = written(
        state("key", "requests", 600, 598), state("user", "tokens", 9000, 4500), state("key", "concurrency", 8, 3)
    )
    assert headers["ratelimit-policy"] == (
        '"key-requests";q=600;w=60, "user-tokens";q=9000;qu="tokens";w=60, '
        '"key-concurrency";q=8;qu="concurrent-requests"'
    )
    assert headers["ratelimit"] == '"key-requests";r=598;t=3, "user-tokens";r=4500;t=3, "key-concurrency";r=3'


def test_openais_form_has_the_tightest_of_each_kind() -> None:
    """Of the key's and the tenant's requests, the fewer that are left."""
    headers = written(
        state("key", "requests", 600, 5, reset_us=60_000_000),
        state("tenant", "requests", 100, 9),
        state("tenant", "tokens", 9000, 1, reset_us=120_000),
    )
    assert {name: value for name, value in headers.items() if name.startswith("x-")} == {
        "x-ratelimit-limit-requests": "600",
        "x-ratelimit-remaining-requests": "5",
        "x-ratelimit-reset-requests": "1m0s",
        "x-ratelimit-limit-tokens": "9000",
        "x-ratelimit-remaining-tokens": "1",
        "x-ratelimit-reset-tokens": "120ms",
    }


def test_anthropics_form_has_moments() -> None:
    """It says at which moment a limit is whole again, in RFC 3339."""
    headers = written(state("key", "requests", 600, 5), wire="anthropic")
    assert {name: value for name, value in headers.items() if name.startswith("anthropic-")} == {
        "anthropic-ratelimit-requests-limit": "600",
        "anthropic-ratelimit-requests-remaining": "5",
        "anthropic-ratelimit-requests-reset": "2027-01-15T08:01:00Z",
    }


def test_a_refusal_says_when_it_has_room() -> None:
    """The window that is told ends when the refused call may be tried again."""
    assert written(state("key", "requests", 1, 0), retry_us=41_200_000)["ratelimit"] == '"key-requests";r=0;t=42'
