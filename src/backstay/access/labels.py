"""Owns the cleaning of attribution: what callers say of a call's user, feature and tags."""

_LONGEST = 128
"""Characters kept of a label."""
_SMALLEST_VISIBLE = " "


def clean_label(value: str) -> str:
    """Make a caller's label fit to be stored and shown: one line of at most 128 characters, without control characters.

    Empty if nothing is left.
    """
    if value.isprintable() and len(value) <= _LONGEST:
        return value.strip()
    return "".join(char for char in value if char.isprintable()).strip()[:_LONGEST]
