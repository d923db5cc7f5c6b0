"""Owns the names behind ids that people read: keys."""

from backstay.console.visit import Visit


async def key_names(visit: Visit) -> dict[str, str]:
    """Return the name of each key of the tenant by its id, ended ones included."""
    return {key.id: key.name for key in await visit.deps.keys.list(visit.caller)}
