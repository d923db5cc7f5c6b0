"""Conversations that callers go on with by the id of an earlier response: kept, followed back, shown, deleted."""

from backstay.conversations.keeper import Conversations
from backstay.conversations.store import MERGE_RESPONSES
from backstay.conversations.types import Turn

__all__ = ["MERGE_RESPONSES", "Conversations", "Turn"]
