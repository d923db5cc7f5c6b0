"""Owns the list of dialects."""

from collections.abc import Mapping

from backstay.providers.anthropic import ANTHROPIC
from backstay.providers.bedrock import BEDROCK
from backstay.providers.gemini import GEMINI
from backstay.providers.openai import OPENAI
from backstay.providers.responses import RESPONSES
from backstay.providers.types import Dialect

_ALL = (OPENAI, RESPONSES, ANTHROPIC, GEMINI, BEDROCK)

DIALECTS: Mapping[str, Dialect] = {dialect.name: dialect for dialect in _ALL}
"""Every dialect by its name."""
