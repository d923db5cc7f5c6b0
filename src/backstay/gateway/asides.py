"""Owns what is asked of a target besides chats, embeddings and token counts, where it speaks another dialect."""

from backstay.core.errors import Untranslatable
from backstay.gateway.types import Incoming, Target
from backstay.providers import Dialect, Fields, ReplySummary, spoken
from backstay.providers.rerank_wire import read_rerank_summary


def write_request(incoming: Incoming, fields: Fields, target: Target) -> bytes:
    """Write the caller's request in the target's dialect.

    Raises:
        Untranslatable: The target's dialect has no such operation, or no form for a field.
    """
    wanted, theirs, model_id = incoming.dialect, spoken(target.provider, incoming.dialect), target.model_id
    if incoming.operation == "embeddings" and wanted.embeddings and theirs.embeddings:
        return theirs.embeddings.write_request(wanted.embeddings.read_request(fields), model_id)
    if incoming.operation == "count_tokens" and wanted.counter and theirs.counter:
        return theirs.counter.write_request(wanted.counter.read_request(fields), model_id)
    raise Untranslatable(f"{target.name} cannot answer {incoming.path}.", param="model")


def write_answer(incoming: Incoming, fields: Fields, target: Target, body: bytes) -> bytes:
    """Write the target's answer in the caller's dialect. Raises ``ProviderError`` if it is none."""
    wanted, theirs = incoming.dialect, spoken(target.provider, incoming.dialect)
    if incoming.operation == "embeddings" and wanted.embeddings and theirs.embeddings:
        return wanted.embeddings.write_response(
            theirs.embeddings.read_response(body), wanted.embeddings.read_request(fields)
        )
    assert wanted.counter and theirs.counter, "its request could be written"
    return wanted.counter.write_count(theirs.counter.read_count(body))


def read_summary(incoming: Incoming, dialect: Dialect, body: bytes) -> ReplySummary:
    """Read what the books need of an answer in a target's dialect. Raises ``ProviderError`` if it is none."""
    if incoming.operation == "embeddings" and dialect.embeddings:
        return dialect.embeddings.read_summary(body)
    if incoming.operation == "rerank":
        return read_rerank_summary(body)
    return ReplySummary()
