"""Owns the nouns of conversations, and their bounds."""

import msgspec

DAYS = 30
"""For how many days a response is kept, as OpenAI does. What a later response goes on from lives as long as that."""

MAX_TURNS = 1_000
"""Longest conversation that is followed back, in turns."""

MAX_BYTES = 32 * 1024 * 1024
"""Largest conversation that is followed back, in bytes of its texts."""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One response, and what was said before it."""

    response_id: str
    key_id: str
    """Whose it is."""
    previous_id: str | None = None
    """The response that it went on from."""
    target: str | None = None
    """The target whose provider keeps the conversation itself; ``None``: it is kept here."""
    said: str | None = None
    """The turn's own input: a JSON list of items. ``None`` where ``target`` keeps it, as of ``response``."""
    response: str | None = None
    """The response as the caller got it: a JSON object."""

    @property
    def size_bytes(self) -> int:
        """About how much room it takes."""
        return len(self.said or "") + len(self.response or "")
