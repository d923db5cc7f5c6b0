"""Owns which requests are the same: a hash over all that an answer depends on, and over who may share it."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from backstay.cache.types import Ask, CachePolicy, Directives

_IGNORED: Mapping[str, frozenset[str]] = {
    "openai": frozenset({
        "model", "stream", "stream_options", "user", "metadata", "safety_identifier", "store", "service_tier",
        "prompt_cache_key", "prompt_cache_retention",
    }),
    "anthropic": frozenset({"model", "stream", "metadata", "service_tier"}),
}  # fmt: skip
"""Fields that change how an answer is sent, billed, kept or attributed, and not what it says. The model counts by its
name here and by its targets. Sources: openai Python SDK 3.54.0, anthropic Python SDK 2.12.0, their parameters' docs
(2026-08)."""

_ORDERED = frozenset({"tools", "functions", "response_format", "output_config", "output_format"})
"""Fields in which the order of names counts: a model sees a JSON schema's properties in the order they were sent."""

_LONGEST_QUESTION = 1000
"""Characters. Of a longer one the embedding would see a part only."""

_DEFAULT_TEMPERATURE = 1.0
"""Of both vendors. Sources: their API references (2026-08)."""

_sorted = msgspec.json.Encoder(order="deterministic")
_plain = msgspec.json.Encoder()


class _NotCanonical(ValueError):
    """A value that two readers could read as two things, or that has no canonical form."""


def build_ask(
    policy: CachePolicy,
    fields: Mapping[str, msgspec.Raw],
    *,
    operation: str,
    dialect: str,
    model: str,
    tenant_id: str,
    key_id: str,
    feature: str | None = None,
    user: str | None = None,
    forward: Mapping[str, str] | None = None,
    directives: Directives | None = None,
) -> Ask | None:
    """Describe a request to the cache; ``None`` where it passes by it.

    Args:
        fields: The body's top level.
        dialect: Of the wire that it came on.
        forward: Headers that the vendor understands, and that may change the answer.
        directives: Of its ``cache-control`` header.
    """
    directives = directives or Directives()
    if operation == "count_tokens" or directives.no_store or not _is_kept(policy, fields):
        return None
    ignored = _IGNORED.get(dialect, frozenset())
    shared_by = {"tenant": "", "feature": feature, "key": key_id, "user": user}[policy.scope]
    place = (tenant_id, policy.scope, shared_by, operation, dialect, model, policy.targets)
    head = (*place, sorted((forward or {}).items()))
    try:
        parts = _canonical(fields, ignored)
    except (ValueError, RecursionError):  # not JSON after all, ambiguous, or not UTF-8: for the provider to refuse
        return None
    by_meaning = operation == "chat" and not directives.exact_only
    # An equal request has an equal answer whatever it is for; what only means the same may be asked for another end.
    question, context = _split(policy, fields, (*head, feature), ignored) if by_meaning else (None, b"")
    return Ask(
        tenant_id=tenant_id,
        key=_digest(head, parts),
        model=model,
        feature=feature,
        policy=policy,
        directives=directives,
        context=context,
        question=question,
    )


def request_digest(operation: str, dialect: str, model: str, body: bytes) -> bytes | None:
    """Say which requests are equal, whoever sent them and when; ``None``: it cannot be told."""
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        return _digest((operation, dialect, model), _canonical(fields, _IGNORED.get(dialect, frozenset())))
    except (ValueError, RecursionError):
        return None


def _split(
    policy: CachePolicy, fields: Mapping[str, msgspec.Raw], head: Any, ignored: frozenset[str]
) -> tuple[str | None, bytes]:
    """Take what the user said last off a conversation: its text, and a hash of all the rest."""
    if not policy.semantic or "messages" not in fields:
        return None, b""
    messages: Any = _decoder.decode(str(fields["messages"], "utf-8"))
    text = _said(messages.pop()) if isinstance(messages, list) and messages else None
    if not text or len(text) > _LONGEST_QUESTION:
        return None, b""
    parts = [_sorted.encode(messages), *_canonical(fields, ignored | {"messages"})]
    return text, _digest(head, parts)


def _said(message: Any) -> str | None:
    """Return what a message says, where it is the user's, and text alone."""
    match message:
        case {"role": "user", "content": str(text), **rest} if not rest:
            return text.strip()
        case {"role": "user", "content": [{"type": "text", "text": str(text), **more}], **rest} if (
            not rest and not more
        ):
            return text.strip()
        case _:
            return None


def _is_kept(policy: CachePolicy, fields: Mapping[str, msgspec.Raw]) -> bool:
    """Whether the policy keeps answers, and those of the request's temperature too."""
    if not policy.exact:
        return False
    if policy.max_temperature is None or "input" in fields:
        return True
    try:
        said = msgspec.json.decode(fields.get("temperature", b"null"), type=float | None)
    except msgspec.DecodeError:
        return False
    return (_DEFAULT_TEMPERATURE if said is None else said) <= policy.max_temperature


def _canonical(fields: Mapping[str, msgspec.Raw], ignored: frozenset[str]) -> list[bytes]:
    """Write each field that counts as its name and one spelling of its value. Raises ``ValueError``."""
    parts: list[bytes] = []
    for name in sorted(fields.keys() - ignored):
        value = _decoder.decode(str(fields[name], "utf-8"))
        if value is not None:  # both vendors read null as absent
            parts.append(name.encode())
            parts.append((_plain if name in _ORDERED else _sorted).encode(value))
    return parts


def _digest(head: Any, parts: Iterable[bytes]) -> bytes:
    digest = hashlib.sha256(_plain.encode(head))
    for part in parts:
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.digest()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _NotCanonical("a name is there twice")
    return found


def _number(text: str) -> float | int:
    value = float(text)
    if not math.isfinite(value):
        raise _NotCanonical(f"{text} is not a number of JSON")
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_float=_number, parse_constant=_number)
