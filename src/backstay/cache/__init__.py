"""Answers that are given again: which requests are the same, who may share an answer, and one call for many.

Owns the answers that are kept. Must never fail a call, nor answer across tenants.
"""

from backstay.cache.cache import Cache, Lead
from backstay.cache.config import CacheConfig
from backstay.cache.directives import read_directives
from backstay.cache.replay import replay
from backstay.cache.request_key import build_ask
from backstay.cache.types import CachePolicy, Directives, Hit, Purge

__all__ = [
    "Cache",
    "CacheConfig",
    "CachePolicy",
    "Directives",
    "Hit",
    "Lead",
    "Purge",
    "build_ask",
    "read_directives",
    "replay",
]
