"""Where answers come from: dialects (pure), providers (I/O), and what is known about vendors.

The names below are what the rooms above use; the nouns are described in ``types``.
"""

from backstay.providers.accumulate import accumulate, summarize
from backstay.providers.anthropic import ANTHROPIC
from backstay.providers.config import ProviderConfig, TimeoutsConfig, implicit_providers
from backstay.providers.dialects import DIALECTS
from backstay.providers.embedding_client import ProviderEmbedder
from backstay.providers.openai import OPENAI, read_embeddings_summary
from backstay.providers.rate_limits import read_rate_limits
from backstay.providers.registry import Providers
from backstay.providers.responses import RESPONSES
from backstay.providers.types import (
    Body,
    Dialect,
    Exchange,
    Fields,
    Operation,
    Provider,
    ProviderRequest,
    ReplySummary,
    StreamReader,
    StreamWriter,
    Timeouts,
    spoken,
)

__all__ = [
    "ANTHROPIC",
    "DIALECTS",
    "OPENAI",
    "RESPONSES",
    "Body",
    "Dialect",
    "Exchange",
    "Fields",
    "Operation",
    "Provider",
    "ProviderConfig",
    "ProviderEmbedder",
    "ProviderRequest",
    "Providers",
    "ReplySummary",
    "StreamReader",
    "StreamWriter",
    "Timeouts",
    "TimeoutsConfig",
    "accumulate",
    "implicit_providers",
    "read_embeddings_summary",
    "read_rate_limits",
    "spoken",
    "summarize",
]
