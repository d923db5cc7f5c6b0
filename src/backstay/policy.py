"""Owns ``backstay.toml``: its schema, reading it, and turning it into models, all or nothing."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backstay.cache import CacheConfig
from backstay.core.errors import ConfigError
from backstay.ledger import PriceOverride
from backstay.providers import ProviderConfig, TimeoutsConfig, implicit_providers

DEFAULT_FILE = Path("backstay.toml")

ModelName = Annotated[str, Field(pattern=r"^[^\s]{1,128}$")]
TargetName = Annotated[str, Field(pattern=r"^[^/\s]+/\S+$", description="provider/model, as in `acme/gpt-4o-mini`")]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelConfig(_Table):
    """``[models.NAME]``: a name that callers use."""

    targets: list[TargetName] = Field(min_length=1, description="Tried in this order.")
    timeout: TimeoutsConfig | None = Field(default=None, description="Instead of the provider's own.")
    cache: CacheConfig = Field(default=CacheConfig(), description="Whether its answers are kept.")


class PolicyFile(_Table):
    """The whole of ``backstay.toml``."""

    providers: dict[str, ProviderConfig] = Field(default_factory=dict[str, ProviderConfig])
    models: dict[ModelName, ModelConfig] = Field(default_factory=dict[str, ModelConfig])
    prices: dict[TargetName, PriceOverride] = Field(default_factory=dict[str, PriceOverride])


BUILT_IN_PROVIDERS: Mapping[str, Mapping[str, Any]] = {
    "local": {"dialect": "local"},
    "sim": {"dialect": "simulator", "price_as": "openai/gpt-4o-mini"},
}
BUILT_IN_MODELS: Mapping[str, str] = {
    "local": "local/smollm2",
    "embed": "local/minilm",
    "sim": "sim/gpt-4o-mini",
}


def load_policy(path: Path | None, environ: Mapping[str, str]) -> PolicyFile:
    """Read the policy file, and add what is there without any: the built-in providers and models.

    Args:
        path: ``None`` means ``./backstay.toml`` if there is one, else only the built-in policy.

    Raises:
        ConfigError: The file cannot be read, is not TOML or not a policy; with its line where one is to blame.
    """
    file = path or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
    source = "" if file is None else _read(file)
    try:
        written = PolicyFile.model_validate(tomllib.loads(source))
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        raise ConfigError(f"not TOML: {error}.", file=str(file), line=int(line[1]) if line else None) from None
    except ValidationError as error:
        raise _explain(error, source, str(file)) from None
    policy = _with_defaults(written, environ)
    _check_targets(policy, source, str(file))
    return policy


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError("there is no such file. Name another with --config.", file=str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"it cannot be read: {error}.", file=str(path)) from None


def _with_defaults(written: PolicyFile, environ: Mapping[str, str]) -> PolicyFile:
    built_in = {name: ProviderConfig.model_validate(config) for name, config in BUILT_IN_PROVIDERS.items()}
    models = {name: ModelConfig(targets=[target]) for name, target in BUILT_IN_MODELS.items()}
    return PolicyFile(
        providers={**built_in, **implicit_providers(environ), **written.providers},
        models={**models, **written.models},
        prices=written.prices,
    )


def _check_targets(policy: PolicyFile, source: str, file: str) -> None:
    for name, model in policy.models.items():
        for target in model.targets:
            provider = target.partition("/")[0]
            if provider not in policy.providers:
                known = ", ".join(sorted(policy.providers))
                message = f"models.{name}.targets: there is no provider {provider!r}. There are: {known}."
                raise ConfigError(message, file=file, line=_line_of(source, ("models", name, "targets")))


def _explain(error: ValidationError, source: str, file: str) -> ConfigError:
    """Say the first thing that is wrong, where it stands, and how many more there are."""
    problems = error.errors(include_url=False, include_input=False)
    # A misspelt name makes two problems, itself and the name that is missing for it: the first is the one to mend.
    first = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
    path = tuple(str(step) for step in first["loc"])
    reason = "there is no such setting" if first["type"] == "extra_forbidden" else first["msg"]
    message = f"{'.'.join(path)}: {reason}."
    if len(problems) > 1:
        message += f" ({len(problems) - 1} more after it.)"
    return ConfigError(message, file=file, line=_line_of(source, path))


def _line_of(source: str, path: tuple[str, ...]) -> int | None:
    """Find the line that a path of names is written on; ``None`` where it cannot be told.

    A TOML reader gives no positions: the deepest table header on the path is looked for, then the key below it.
    """
    lines = source.splitlines()
    start: int | None = None
    keys = path
    for depth in range(len(path), 0, -1):
        names = r"\s*\.\s*".join(rf"[\"']?{re.escape(name)}[\"']?" for name in path[:depth])
        header = re.compile(rf"^\s*\[\s*{names}\s*[.\]]")
        found = next((number for number, line in enumerate(lines, 1) if header.match(line)), None)
        if found is not None:
            start, keys = found, path[depth:]
            break
    if start is None and path:
        keys = path
    for number, line in enumerate(lines[start or 0 :], (start or 0) + 1):
        if start is not None and line.lstrip().startswith("["):
            break
        if keys and re.match(rf"^\s*[\"']?{re.escape(keys[0])}[\"']?\s*[=.]", line):
            return number
    return start


def policy_schema() -> dict[str, Any]:
    """Return the JSON schema of ``backstay.toml``, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **PolicyFile.model_json_schema()}
