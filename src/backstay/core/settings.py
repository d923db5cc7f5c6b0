"""Owns the settings of one process: environment variables ``BACKSTAY_*``, with the defaults for a laptop."""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


def default_data_dir() -> Path:
    """Choose the data folder: ``./.backstay`` where there is one, else the user's data folder (XDG)."""
    here = Path(".backstay")
    if here.is_dir():
        return here.resolve()
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "backstay"


class Settings(BaseSettings):
    """How one installation runs. Policy (models, providers, prices) is not here: it is in ``backstay.toml``."""

    model_config = SettingsConfigDict(env_prefix="BACKSTAY_", extra="ignore")

    host: str = Field("127.0.0.1", description="Address to listen on. Loopback until told otherwise.")
    port: int = Field(8400, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(1, ge=1, le=256, description="Worker processes that share the port.")
    data_dir: Path = Field(
        default_factory=default_data_dir, description="Folder of the journal, embedded Postgres and secrets."
    )
    config: Path | None = Field(None, description="The policy file; default: ./backstay.toml if there is one.")
    database_url: SecretStr | None = Field(
        None, description="A Postgres to use instead of the embedded one (16 or newer)."
    )
    public_url: str | None = Field(None, description="How people reach the console, for links in mails.")
    token: SecretStr | None = Field(
        None, description="Credential of the command line; on the same machine it is found in the data folder."
    )
    url: str = Field("http://127.0.0.1:8400", description="Where the command line finds the server.")
    max_body_bytes: int = Field(64 * 1024 * 1024, ge=1024, description="Largest request body taken, in bytes.")
    drain_s: float = Field(60.0, ge=0, description="Longest time that SIGTERM waits for open streams, in seconds.")
    capture: Literal["full", "metadata"] = Field("full", description="Whether traces keep messages, or only figures.")
    local_models: bool = Field(True, description="Whether to start the local chat and embedding models.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="How much is logged.")
    log_format: Literal["text", "json"] = Field("text", description="Log lines for people, or one JSON object a line.")
    smtp_url: SecretStr | None = Field(None, description="Mail server for invitations: smtp://user:password@host:587.")
    mail_from: str = Field("backstay@localhost", description="Sender of mails.")
