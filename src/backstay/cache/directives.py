"""Owns the reading of a request's ``cache-control`` header."""

from backstay.cache.types import Directives

_NONE = Directives()


def read_directives(header: str | None) -> Directives:
    """Read what a caller asks for. What is unknown or malformed counts for nothing, as RFC 9111, 5.2 has it."""
    if not header:
        return _NONE
    found: dict[str, str] = {}
    for part in header.lower().split(","):
        name, _, value = part.strip().partition("=")
        found.setdefault(name.strip(), value.strip().strip('"'))
    written = found.get("max-age", "")
    age_s = int(written) if written.isascii() and written.isdigit() and len(written) < 12 else None
    return Directives(
        no_store="no-store" in found,
        no_cache="no-cache" in found or age_s == 0,
        only_if_cached="only-if-cached" in found,
        max_age_s=age_s,
    )
