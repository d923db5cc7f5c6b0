"""Owns the order in which a call's targets are tried: who can take it, and who is the best of these."""

import hashlib
import math
import random
from collections.abc import Callable, Sequence

from backstay.core.errors import NoCapableTarget
from backstay.core.usage import Usage
from backstay.gateway.needs import read_needs, why_not
from backstay.gateway.resolve import Resolved
from backstay.gateway.types import Incoming, Target
from backstay.health import Fleet
from backstay.ledger import PriceBook

_EXPLORED = 0.05
"""Share of the calls in which ``least_latency`` tries another order: a target that is never asked is never measured."""
_MEASURED = 5
"""Observations from which on a target's latency is known: the first ones include the making of connections."""
_BYTES_PER_TOKEN = 4
_SUPPOSED_OUTPUT_TOKENS = 500
"""For comparing prices, where nobody knows yet how long the answer will be."""


def order_targets(
    request: Resolved, incoming: Incoming, *, fleet: Fleet, prices: PriceBook, at_ns: int, chance: random.Random
) -> tuple[Target, ...]:
    """List the targets that can take a call, the best first.

    Raises:
        NoCapableTarget: None can; the message says why for each.
    """
    model = request.model
    targets = model.targets
    if model.route.is_conditional:
        targets = _capable(request, incoming)
    if len(targets) == 1:
        return targets
    if model.route.sticky:
        return _sorted(targets, lambda target: _sticky_rank(target, request.user or incoming.caller.id))
    match model.route.strategy:
        case "priority":
            return targets
        case "weighted":
            return _sorted(targets, lambda target: _weighted_rank(target, 1.0 - chance.random()))
        case "least_latency":
            if chance.random() < _EXPLORED:
                return _sorted(targets, lambda target: chance.random())
            return _sorted(targets, lambda target: _latency_rank(target, request, fleet))
        case "least_busy":
            return _sorted(targets, lambda target: fleet.of(target.name).in_flight / max(target.weight, 1e-9))
        case "least_cost":
            usage = Usage(input_tokens=len(incoming.body) // _BYTES_PER_TOKEN, output_tokens=_SUPPOSED_OUTPUT_TOKENS)
            return _sorted(targets, lambda target: _cost_rank(target, usage, prices, at_ns))


def _capable(request: Resolved, incoming: Incoming) -> tuple[Target, ...]:
    needs = read_needs(request.fields, len(incoming.body))
    reasons = [(target, why_not(target, needs, incoming)) for target in request.model.targets]
    able = tuple(target for target, reason in reasons if reason is None)
    if not able:
        each = "; ".join(f"{target.name}: {reason}" for target, reason in reasons)
        raise NoCapableTarget(f"No target of {request.model.name!r} can take this request. {each}.", param="model")
    return able


def _sorted(targets: Sequence[Target], rank: Callable[[Target], float]) -> tuple[Target, ...]:
    return tuple(sorted(targets, key=lambda target: (target.stage, rank(target))))


def _weighted_rank(target: Target, drawn: float) -> float:
    """Rank by an exponential variate of the weight's rate: the smallest is first with the weight's share.

    Source: P. S. Efraimidis, P. G. Spirakis, "Weighted random sampling with a reservoir" (2006).
    """
    return -math.log(drawn) / target.weight if target.weight > 0 else math.inf


def _sticky_rank(target: Target, user: str) -> float:
    """Draw by the user instead of by chance (rendezvous hashing): a target that leaves moves only its own users."""
    digest = hashlib.blake2b(f"{user}\0{target.name}".encode(), digest_size=8).digest()
    return _weighted_rank(target, (int.from_bytes(digest) + 1) / 2**64)


def _latency_rank(target: Target, request: Resolved, fleet: Fleet) -> float:
    """Rank by the usual time to answer; who was hardly measured yet goes first."""
    health = fleet.of(target.name)
    latencies = health.first_token if request.stream else health.whole
    return latencies.quantile(0.5) or 0.0 if latencies.seen >= _MEASURED else 0.0


def _cost_rank(target: Target, usage: Usage, prices: PriceBook, at_ns: int) -> float:
    """Rank by price; an unknown one goes last."""
    cost = prices.cost(
        provider=target.price_provider,
        model_id=target.price_model,
        usage=usage,
        at_ns=at_ns,
        target=target.name,
        is_free=target.is_free,
    )
    return math.inf if cost.amount_nanousd is None else float(cost.amount_nanousd)
