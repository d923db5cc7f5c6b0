"""Owns the headers of a model call that are for Backstay or about the call, not for the vendor: read once, together."""

import math
from collections.abc import Mapping

import msgspec

from backstay.access import clean_label
from backstay.cache import Directives, read_directives
from backstay.core.caller import Priority
from backstay.core.errors import InvalidRequest
from backstay.core.ids import parse_traceparent
from backstay.core.money import NanoUSD, from_usd
from backstay.idempotency import check_key

_PRIORITY, _DEADLINE, _TIMEOUT = b"x-backstay-priority", b"x-backstay-deadline-ms", b"x-request-timeout"
_FEATURE, _TAGS, _MAX_COST = b"x-backstay-feature", b"x-backstay-tags", b"x-backstay-max-cost"
_ASYNC, _WEBHOOK = b"x-backstay-async", b"x-backstay-webhook"
_CACHE, _TRACE, _KEY = b"cache-control", b"traceparent", b"idempotency-key"
_NAMES = frozenset((_PRIORITY, _DEADLINE, _TIMEOUT, _FEATURE, _TAGS, _MAX_COST, _ASYNC, _WEBHOOK, _CACHE, _TRACE, _KEY))


class CallOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a call's headers ask for. What they leave out stands as its key has it."""

    feature: str | None = None
    tags: tuple[str, ...] = ()
    priority: Priority | None = None
    deadline_s: float | None = None
    """How long the caller waits."""
    max_cost_nanousd: NanoUSD | None = None
    is_later: bool = False
    """Whether it is to be answered later."""
    cache_control: Directives = Directives()
    trace_id: str | None = None
    parent_id: str | None = None
    idempotency_key: str | None = None


NO_OPTIONS = CallOptions()


def read_options(headers: Mapping[bytes, bytes]) -> CallOptions:
    """Read them; most calls have none.

    Raises:
        InvalidRequest: One of them cannot be used; ``param`` names it.
    """
    if _NAMES.isdisjoint(headers):
        return NO_OPTIONS
    trace_id, parent_id = parse_traceparent(_text(headers, _TRACE)) or (None, None)
    return CallOptions(
        feature=_label(headers, _FEATURE),
        tags=_tags(headers),
        priority=_priority(headers),
        deadline_s=_deadline_s(headers),
        max_cost_nanousd=_max_cost(headers),
        is_later=_is_later(headers),
        cache_control=read_directives(_text(headers, _CACHE)),
        trace_id=trace_id,
        parent_id=parent_id,
        idempotency_key=_idempotency_key(headers),
    )


def _text(headers: Mapping[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return value.decode("latin-1") if value else None


def _label(headers: Mapping[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return clean_label(_label_text(value)) or None if value else None


def _label_text(value: bytes) -> str:
    """Decode a name for people. Clients write it in UTF-8, as curl does, or in the latin-1 of HTTP's own words."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _tags(headers: Mapping[bytes, bytes]) -> tuple[str, ...]:
    value = headers.get(_TAGS)
    if not value:
        return ()
    return tuple(tag for part in _label_text(value).split(",") if (tag := clean_label(part)))


def _priority(headers: Mapping[bytes, bytes]) -> Priority | None:
    value = headers.get(_PRIORITY)
    if value is None:
        return None
    match value.strip().lower():
        case b"interactive":
            return "interactive"
        case b"batch":
            return "batch"
        case _:
            raise InvalidRequest("x-backstay-priority is `interactive` or `batch`.", param="x-backstay-priority")


def _deadline_s(headers: Mapping[bytes, bytes]) -> float | None:
    """Read how long the caller waits: ``x-backstay-deadline-ms``, ``x-request-timeout`` in seconds; the shorter."""
    shortest_s: float | None = None
    for name, unit_s in ((_DEADLINE, 0.001), (_TIMEOUT, 1.0)):
        text = headers.get(name)
        if text is None:
            continue
        try:
            limit_s = float(text) * unit_s
        except ValueError:
            limit_s = math.nan
        if not 0 < limit_s < math.inf:
            unit = "milliseconds" if unit_s < 1 else "seconds"
            raise InvalidRequest(f"{name.decode()} must be a number of {unit} above 0.", param=name.decode())
        shortest_s = limit_s if shortest_s is None else min(shortest_s, limit_s)
    return shortest_s


def _max_cost(headers: Mapping[bytes, bytes]) -> NanoUSD | None:
    """Read ``x-backstay-max-cost``, in US dollars."""
    text = _text(headers, _MAX_COST)
    if text is None:
        return None
    try:
        amount = from_usd(text)
    except ValueError:
        amount = NanoUSD(-1)
    if amount < 0:
        raise InvalidRequest(
            "x-backstay-max-cost must be an amount in US dollars, as in 0.05.", param="x-backstay-max-cost"
        )
    return amount


def _is_later(headers: Mapping[bytes, bytes]) -> bool:
    match headers.get(_ASYNC, b"false").strip().lower():
        case b"true" | b"1":
            return True
        case b"false" | b"0":
            if _WEBHOOK in headers:
                raise InvalidRequest(
                    "A webhook tells of a call that is made later. Add `x-backstay-async: true`, or leave it out.",
                    param="x-backstay-webhook",
                )
            return False
        case _:
            raise InvalidRequest("x-backstay-async is `true` or `false`.", param="x-backstay-async")


def _idempotency_key(headers: Mapping[bytes, bytes]) -> str | None:
    """Read what repeats have in common."""
    value = headers.get(_KEY)
    return None if value is None else check_key(value.decode("latin-1"))
