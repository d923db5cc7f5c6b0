"""Owns ``[providers.NAME]`` of the policy file, and the providers that are there without any."""

import difflib
from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from backstay.providers.catalog import BUILT_IN_DIALECTS, VENDORS, DialectName, Vendor
from backstay.providers.secrets import is_reference
from backstay.providers.simulator.script import Script
from backstay.providers.types import Timeouts


class TimeoutsConfig(BaseModel):
    """How long one try may take, in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    connect_s: float = Field(default=5.0, gt=0, description="Until the connection stands.")
    first_token_s: float = Field(default=60.0, gt=0, description="Until a stream's first piece.")
    idle_s: float = Field(default=60.0, gt=0, description="Between two pieces of a stream.")
    total_s: float = Field(default=600.0, gt=0, description="Until the whole answer is there.")

    @model_validator(mode="after")
    def _possible(self) -> "TimeoutsConfig":
        for name in ("connect_s", "first_token_s", "idle_s"):
            if name in self.model_fields_set and getattr(self, name) > self.total_s:
                raise ValueError(f"{name} is longer than total_s, {self.total_s:g}: it could never be reached")
        return self

    def as_timeouts(self) -> Timeouts:
        """Return the neutral form."""
        return Timeouts(**self.model_dump())


class ProviderConfig(BaseModel):
    """``[providers.NAME]``: a dialect, where it is, its credential."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    dialect: str = Field(
        description=f"How it speaks, or who it is: {', '.join([*VENDORS, *BUILT_IN_DIALECTS])}.",
        json_schema_extra={"enum": [*VENDORS, *BUILT_IN_DIALECTS]},
    )
    base_url: str | None = Field(default=None, description="Where it is; default: the vendor's own address.")
    api_key: str | None = Field(default=None, description="Where its key is kept: `env:NAME` or `file:PATH`.")
    headers: dict[str, str] = Field(
        default_factory=dict[str, str], description="Headers sent with every request; a value may be `env:NAME`."
    )
    timeouts: TimeoutsConfig = TimeoutsConfig()
    api_version: str | None = Field(default=None, description="Azure's dated API; default: its v1 API.")
    region: str | None = Field(
        default=None, pattern=r"^[a-z0-9-]+$", description="Of Bedrock: AWS's region; default: `AWS_REGION`."
    )
    profile: str | None = Field(
        default=None, description="Of Bedrock: a profile of `~/.aws/config`; default: AWS's own chain of credentials."
    )
    vendor: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9_-]+$",
        description="Of litellm: its name of the vendor, as in `cohere`.",
    )
    price_as: str | None = Field(
        default=None, pattern=r"^[^/\s]+/\S+$", description="Price its calls as this model, as in `openai/gpt-4o-mini`."
    )
    service_tier: Literal["default", "flex", "priority", "fast"] | None = Field(
        default=None,
        description="Of OpenAI: what its project's owner has set for calls that ask for no service tier, for bounds.",
    )
    inference_geo: Literal["global", "us"] | None = Field(
        default=None, description="Of Anthropic: the workspace's default for calls that name no place, for bounds."
    )
    responses: bool | None = Field(
        default=None,
        description="Whether it serves OpenAI's responses API too; default: what is known of the vendor's own address.",
    )
    speaks: DialectName = Field(default="openai", description="Of the simulator: its wire.")
    seed: int = Field(default=0, description="Of the simulator: the same seed gives the same run.")
    script: Script | None = Field(default=None, description="Of the simulator: how it behaves.")

    @field_validator("dialect")
    @classmethod
    def _known(cls, dialect: str) -> str:
        known = [*VENDORS, *BUILT_IN_DIALECTS]
        if dialect not in known:
            near = difflib.get_close_matches(dialect, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"there is no dialect {dialect!r}.{hint} There are: {', '.join(known)}")
        return dialect

    @field_validator("base_url")
    @classmethod
    def _url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no http or https address")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("it must be scheme, host, port and path only; the key belongs into api_key")
        return url.rstrip("/")

    @field_validator("api_key")
    @classmethod
    def _reference(cls, api_key: str | None) -> str | None:
        if api_key is not None and not is_reference(api_key):
            raise ValueError(
                "it must say where the key is kept (`env:NAME` or `file:PATH`), so that no key stands in this file"
            )
        return api_key

    @field_validator("headers")
    @classmethod
    def _one_line(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if not name or any(character <= " " or character in ':"' or character > "~" for character in name):
                raise ValueError(f"{name!r} cannot be the name of a header")
            if any(character < " " for character in value):
                raise ValueError(f"the value of {name!r} must be one line")
        return headers

    @model_validator(mode="after")
    def _complete(self) -> "ProviderConfig":
        vendor = VENDORS.get(self.dialect)
        if vendor is not None and vendor.base_url is None and self.base_url is None:
            raise ValueError(f"{self.dialect} needs a base_url: every customer has their own address")
        if self.api_version is not None and self.dialect != "azure":
            raise ValueError("api_version is Azure's")
        if (self.region or self.profile) and self.dialect != "bedrock":
            raise ValueError("region and profile are Bedrock's")
        if self.dialect == "litellm" and (self.vendor is None or self.api_key is None):
            raise ValueError("litellm needs a vendor and an api_key: it would look for others by itself")
        if self.vendor is not None and self.dialect != "litellm":
            raise ValueError("vendor is litellm's")
        if self.service_tier is not None and self.dialect_name not in ("openai", "responses"):
            raise ValueError("service_tier is OpenAI's")
        if self.inference_geo is not None and self.dialect_name != "anthropic":
            raise ValueError("inference_geo is Anthropic's")
        if self.script is not None and self.dialect != "simulator":
            raise ValueError("script is the simulator's")
        if self.responses and (
            self.dialect_name == "anthropic" or self.dialect in ("local", "litellm") or self.api_version
        ):
            raise ValueError("responses is for servers with OpenAI's address of it, BASE_URL/responses")
        return self

    @property
    def dialect_name(self) -> DialectName:
        """The dialect that it speaks on the wire."""
        vendor = VENDORS.get(self.dialect)
        if vendor is not None:
            return vendor.dialect
        return self.speaks if self.dialect == "simulator" else "openai"

    @property
    def serves_responses(self) -> bool:
        """Whether it takes OpenAI's responses API as it comes."""
        if self.responses is not None or self.dialect not in VENDORS:
            return bool(self.responses)
        vendor = VENDORS[self.dialect]
        is_its_own = vendor.base_url is None or self.base_url in (None, vendor.base_url)
        return vendor.responses and is_its_own and self.api_version is None


def region_in(environ: Mapping[str, str]) -> str | None:
    """Return AWS's region as its own tools find it in the environment."""
    return environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or None


def implicit_providers(environ: Mapping[str, str]) -> dict[str, ProviderConfig]:
    """Return the vendors whose key is in the environment, each under its own name, with nothing to configure."""
    found: dict[str, ProviderConfig] = {}
    for vendor in VENDORS.values():
        base_url = vendor.base_url or environ.get("AZURE_OPENAI_ENDPOINT", "").rstrip("/")
        key_env = _key_env(vendor, environ)
        if key_env is None or not base_url:
            continue
        if "{region}" in base_url:
            if region_in(environ) is not None:
                found[vendor.name] = ProviderConfig(dialect=vendor.name, api_key=f"env:{key_env}")
            continue
        if vendor.base_url is None and not base_url.endswith("/openai/v1"):
            base_url += "/openai/v1"
        found[vendor.name] = ProviderConfig(dialect=vendor.name, base_url=base_url, api_key=f"env:{key_env}")
    return found


def _key_env(vendor: Vendor, environ: Mapping[str, str]) -> str | None:
    """Return the variable that the vendor's key is in; ``None`` where it is in none."""
    names = (vendor.key_env, *vendor.other_key_envs)
    return next((name for name in names if name is not None and environ.get(name)), None)
