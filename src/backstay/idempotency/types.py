"""Owns the nouns of idempotency: what a key is claimed for, what is kept of an answer, and the terms of both."""

import hashlib
import re

import msgspec

from backstay.core.errors import Conflict, InvalidRequest

LONGEST_KEY = 255
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class IdempotencyKeyReused(Conflict):
    """This Idempotency-Key was used for another request. Use a new key for each request, the same for its repeats."""

    code = "idempotency_key_reused"


class IdempotencyInProgress(Conflict):
    """The call with this Idempotency-Key still runs. Try again shortly for its answer."""

    code = "idempotency_in_progress"
    retryable = True


class IdempotencyAnswerTooLarge(Conflict):
    """The answer to this key was too large to be kept. Use a new one, or raise BACKSTAY_IDEMPOTENCY_MAX_BYTES."""

    code = "idempotency_answer_too_large"


class Slot(msgspec.Struct, frozen=True):
    """Where a key stands: the same text from another tenant or another of its API keys is another key."""

    tenant_id: str
    key_id: str
    key: str


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A call that is to be made once."""

    slot: Slot
    fingerprint: bytes
    """Of path and body: a repeat must have the same."""
    claim_id: str
    """The call's own id."""
    trace_id: str

    @classmethod
    def of(cls, slot: Slot, path: str, body: bytes, *, call_id: str, trace_id: str) -> "Wanted":
        """Ask for a key for a request."""
        digest = hashlib.sha256(path.encode() + b"\n")
        digest.update(body)
        return cls(slot=slot, fingerprint=digest.digest(), claim_id=call_id, trace_id=trace_id)


class KeptAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A good answer, to be given again."""

    trace_id: str
    """Where its call was recorded."""
    is_stream: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    """``None``: it was too large."""


class ClaimEnd(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a journal says of the end of a claim that Postgres may not know of."""

    key_id: str
    key: str
    claim_id: str
    keep_s: float = 0.0
    answer: KeptAnswer | None = None
    """``None``: the key is free again."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How long things last, and how large they may be."""

    keep_s: float = 24 * 3600.0
    max_bytes: int = 1024 * 1024
    """The largest body that is kept."""
    lease_s: float = 60.0
    """How long a claim is contested, with no word of its holder, until another may take it."""
    confirm_s: float = 10.0
    """How often a holder gives word."""
    margin_s: float = 10.0
    """How long before the end of the lease a holder without word of Postgres gives up by itself."""
    first_pause_s: float = 0.05
    last_pause_s: float = 0.5
    """Pauses between two looks at a claim of another worker."""


def check_key(text: str) -> str:
    """Return a key that may be used. Raises ``InvalidRequest`` if this is none."""
    if _KEY.fullmatch(text) is None:
        raise InvalidRequest(
            f"Idempotency-Key must be 1 to {LONGEST_KEY} visible ASCII characters, such as a UUID.",
            param="idempotency-key",
        )
    return text
