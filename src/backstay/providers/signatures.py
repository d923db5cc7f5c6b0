"""Owns whose signature of a thought is whose.

A model's signed thoughts go back to the vendor that signed them and to no other, which would refuse them. The neutral
form keeps the signature of a dialect other than Anthropic's after the dialect's name: ``gemini:CpcB…``.
"""

UNSIGNED = "unsigned:"
"""What stands on Anthropic's wire for the signature of a thought that has none. Anthropic would refuse it, so that
it is taken out again (``thoughts.py``). An empty one is somebody else's: servers that do not sign want it back."""

_UNMARKED = "anthropic"
"""Whose signatures stand as they are: base64, so without a colon."""


def mark_signature(dialect: str, signature: str) -> str:
    """Write a dialect's signature in neutral form."""
    return f"{dialect}:{signature}"


def signature_for(dialect: str, signature: str | None) -> str | None:
    """Return a neutral signature as the dialect made it; ``None`` where there is none, or another made it."""
    if signature is None:
        return None
    owner, _, own = signature.rpartition(":")
    return own if (owner or _UNMARKED) == dialect else None


def read_unmarked(signature: str | None) -> str | None:
    """Read a signature of Anthropic's wire; ``None`` where there is none in truth."""
    return None if signature in ("", UNSIGNED) else signature
