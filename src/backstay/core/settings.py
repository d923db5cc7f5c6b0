"""Owns the settings of one process: environment variables ``BACKSTAY_*``, with the defaults for a laptop."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, FilePath, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from backstay.core.errors import ConfigError
from backstay.core.places import default_data_dir


class Settings(BaseSettings):
    """How one installation runs. Policy (models, providers, prices) is not here: it is in ``backstay.toml``."""

    model_config = SettingsConfigDict(env_prefix="BACKSTAY_", extra="ignore")

    host: str = Field(default="127.0.0.1", description="Address to listen on. Loopback until told otherwise.")
    port: int = Field(default=8400, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(default=1, ge=1, le=256, description="Worker processes that share the port.")
    data_dir: Path = Field(
        default_factory=default_data_dir, description="Folder of the journal, embedded Postgres and secrets."
    )
    config: Path | None = Field(default=None, description="The policy file; default: ./backstay.toml if there is one.")
    database_url: SecretStr | None = Field(
        default=None, description="A Postgres to use instead of the embedded one (16 or newer)."
    )
    public_url: str | None = Field(default=None, description="How people reach the console, for links in mails.")
    token: SecretStr | None = Field(
        default=None, description="Credential of the command line; on the same machine it is found in the data folder."
    )
    key: SecretStr | None = Field(default=None, description="The key that in-process clients call with.")
    url: str = Field(default="http://127.0.0.1:8400", description="Where the command line finds the server.")
    max_body_bytes: int = Field(default=32 * 1024 * 1024, ge=1024, description="Largest request body taken, in bytes.")
    max_calls: int = Field(default=2048, ge=1, description="Calls that one worker has open at once.")
    max_bytes_in_flight: int = Field(
        default=384 * 1024 * 1024,
        ge=64 * 1024,
        description="Bytes of requests and answers that one worker holds at once.",
    )
    stalled_client_s: float = Field(
        default=120.0, gt=0, description="Longest time that a caller may take nothing of its answer, in seconds."
    )
    cache_memory_bytes: int = Field(
        default=64 * 1024 * 1024, ge=0, description="Kept answers that each worker holds in memory, in bytes."
    )
    drain_s: float = Field(
        default=60.0, ge=0, description="Longest time that SIGTERM waits for open streams, in seconds."
    )
    idempotency_keep_s: float = Field(
        default=86_400.0, gt=0, description="How long answers are kept for repeats with the same key, in seconds."
    )
    idempotency_max_bytes: int = Field(
        default=1024 * 1024, ge=0, description="Largest answer that is kept for repeats, in bytes."
    )
    jobs_concurrency: int = Field(
        default=16,
        ge=0,
        le=1024,
        description="Calls of batches and `x-backstay-async` that are made here at once; 0: others make them.",
    )
    async_calls_per_key: int = Field(
        default=1000, ge=1, description="Calls by `x-backstay-async` of one key that may be unfinished."
    )
    async_calls_per_tenant: int = Field(
        default=10_000, ge=1, description="Calls by `x-backstay-async` of one tenant that may be unfinished."
    )
    max_file_bytes: int = Field(
        default=200 * 1024 * 1024, ge=1024, description="Largest file taken for batches, in bytes."
    )
    webhook_hosts: str = Field(
        default="", description="Hosts inside the network that webhooks may reach, between commas."
    )
    webhook_ca: FilePath | None = Field(
        default=None, description="PEM file of authorities whose certificates webhooks trust beside the system's."
    )
    ingest_hosts: str = Field(
        default="", description="Hosts inside the network that documents may be fetched from, between commas."
    )
    capture: Literal["full", "metadata"] = Field(
        default="full", description="Whether traces keep messages, or only figures."
    )
    local_models: bool = Field(default=True, description="Whether to start the local chat and embedding models.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="How much is logged.")
    log_format: Literal["text", "json"] = Field(
        default="text", description="Log lines for people, or one JSON object a line."
    )
    smtp_url: SecretStr | None = Field(
        default=None, description="Mail server for invitations and alerts: smtp://user:password@host:587."
    )
    mail_from: str = Field(default="backstay@localhost", description="Sender of mails.")


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
