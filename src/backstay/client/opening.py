"""Owns what both clients do alike when they are made: settings, identity, and what a fork needs."""

import os
import weakref
from pathlib import Path

from backstay.client.engine import Engine, Identity
from backstay.core.caller import DEFAULT_TENANT
from backstay.core.errors import ConfigError
from backstay.core.settings import load_settings


def new_engine(
    api_key: str | None,
    *,
    tenant: str | None,
    config: Path | str | None,
    data_dir: Path | str | None,
    database_url: str | None,
) -> Engine:
    """Read the settings, and build what answers.

    Raises:
        ConfigError: A setting is wrong, or both a key and a tenant are given.
    """
    if api_key is not None and tenant is not None:
        raise ConfigError("Give a client a key or a tenant: a key belongs to one tenant already.")
    settings = load_settings(config=config, data_dir=data_dir, database_url=database_url)
    settings.data_dir = settings.data_dir.absolute()
    if api_key is None and tenant is None and settings.key is not None:
        api_key = settings.key.get_secret_value()
    return Engine(settings, Identity(api_key=api_key, tenant=tenant or DEFAULT_TENANT))


def let_go_in_children(engine: Engine) -> None:
    """Have a forked child close its copies of the locks: the parent's journal must be free when the parent ends."""
    known = weakref.ref(engine)

    def in_child() -> None:
        found = known()
        if found is not None:
            found.let_go()

    os.register_at_fork(after_in_child=in_child)
