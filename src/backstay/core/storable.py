"""Owns the names under which Postgres keeps what callers say of their users, features and tags."""

import hashlib

_LONGEST_NAME = 200


def storable(name: str) -> str:
    """Callers may say anything of their user: what Postgres could not hold in an index stands there by its hash."""
    if len(name) <= _LONGEST_NAME and name.isprintable():
        return name
    return "sha256-" + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
