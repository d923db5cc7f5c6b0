"""Owns simulated reranking: a text scores by the share of the query's words that it has. Pure."""

import random
import re

from backstay.core.chat import ChatRequest, Message, Text
from backstay.providers.rerank_wire import RerankRequest, write_rerank_answer
from backstay.providers.simulator.content import tokens_in
from backstay.providers.simulator.performance import Performance, perform_body_struck
from backstay.providers.simulator.plan import plan
from backstay.providers.simulator.script import Behaviour
from backstay.providers.types import Dialect

_WORD = re.compile(r"\w+")


def perform_rerank(asked: RerankRequest, behaviour: Behaviour, chance: random.Random, dialect: Dialect) -> Performance:
    """Answer a request to rerank, as late and with the faults that the script has for chats."""
    wanted = _words(asked.query)
    scores = [round(len(wanted & _words(text)) / max(len(wanted), 1), 4) for text in asked.documents]
    tokens = sum(tokens_in(asked.query) + tokens_in(text) for text in asked.documents)
    chat = ChatRequest(model=asked.model, messages=(Message(role="user", parts=(Text(text=asked.query),)),))
    planned = plan(behaviour, chat, chance, created_s=0)
    return perform_body_struck(planned, write_rerank_answer(scores, model=asked.model, tokens=tokens), dialect)


def _words(text: str) -> frozenset[str]:
    return frozenset(word.casefold() for word in _WORD.findall(text))
