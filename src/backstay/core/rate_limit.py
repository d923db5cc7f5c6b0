"""Owns what is said about a rate limit, by a provider of its own or by us of ours."""

import msgspec


class RateLimit(msgspec.Struct, frozen=True, kw_only=True):
    """One limit as it stands. ``reset_s``: seconds until all of it is free again; ``None``: not said."""

    limit: float
    remaining: float
    reset_s: float | None = None
