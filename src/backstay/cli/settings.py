"""Owns reading the settings for a command that runs a server: environment first, then what the command line says."""

from typing import Any

from pydantic import ValidationError

from backstay.core.errors import ConfigError
from backstay.core.settings import Settings


def load_settings(**named: Any) -> Settings:
    """Read ``BACKSTAY_*``; what is named and not ``None`` wins.

    Raises:
        ConfigError: A setting is wrong; the message names it.
    """
    try:
        return Settings(**{name: value for name, value in named.items() if value is not None})
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)
        raise ConfigError(
            "; ".join(f"BACKSTAY_{'_'.join(map(str, each['loc'])).upper()}: {each['msg']}" for each in wrong) + "."
        ) from error
