"""Owns what becomes of the sentences of an answer that no passage supports, as the collection's setting says."""

from collections.abc import Mapping
from typing import Any

import msgspec

from backstay.core.money import NanoUSD, from_usd, usd
from backstay.retrieval.types import Answer

_AGAIN = (
    "The passages do not say this:\n{sentences}\nWrite the answer again, with nothing but what the passages say, and "
    "with their numbers and names."
)


def without_unsupported(answer: Answer) -> Answer:
    """Leave out of the text what no passage supports; among the sentences it stays, marked."""
    if answer.abstained or all(sentence.supported for sentence in answer.sentences):
        return answer
    return msgspec.structs.replace(answer, answer=" ".join(each.text for each in answer.sentences if each.supported))


def asked_again(request: Mapping[str, Any], answer: Answer) -> dict[str, Any] | None:
    """Return the request by which a model is told what of its answer is not supported; ``None``: there is no need."""
    wrong = [sentence.text for sentence in answer.sentences if not sentence.supported]
    if not wrong:
        return None
    said = " ".join(sentence.text for sentence in answer.sentences)
    told = [
        {"role": "assistant", "content": said},
        {"role": "user", "content": _AGAIN.format(sentences="\n".join(f"- {text}" for text in wrong))},
    ]
    return {**request, "messages": [*request["messages"], *told]}


def better(first: Answer, second: Answer) -> Answer:
    """Return the answer with the larger share of supported sentences, the second where they are alike.

    What both calls cost is what the answer cost.
    """
    chosen = second if _share(second) >= _share(first) else first
    costs = [each.cost_usd for each in (first, second)]
    both = None if None in costs else usd(NanoUSD(sum(from_usd(cost) for cost in costs if cost is not None)))
    return msgspec.structs.replace(chosen, cost_usd=both)


def _share(answer: Answer) -> float:
    return sum(sentence.supported for sentence in answer.sentences) / max(len(answer.sentences), 1)
