"""Owns what the model calls that are made for a request take over from its headers."""

from collections.abc import Mapping

import msgspec

from backstay.api.call_options import read_options
from backstay.core.caller import Allowance, Caller, CallTerms
from backstay.core.errors import InvalidRequest
from backstay.core.ids import new_trace_id


def on_behalf(caller: Caller, headers: Mapping[bytes, bytes]) -> Caller:
    """Return the caller as whom to make them: attributed as the request says, in one trace, within its bounds.

    Raises:
        InvalidRequest: A header cannot be used, or asks for what searches and answers do not have.
    """
    options = read_options(headers)
    if options.is_later:
        raise InvalidRequest("Answers from collections are not made later. Leave it out.", param="x-backstay-async")
    if options.idempotency_key is not None:
        raise InvalidRequest(
            "Answers from collections are not kept for repeats. Leave idempotency-key out.", param="idempotency-key"
        )
    return msgspec.structs.replace(
        caller,
        feature=options.feature or caller.feature,
        tags=options.tags or caller.tags,
        priority=options.priority or caller.priority,
        terms=CallTerms(
            trace_id=options.trace_id or new_trace_id(),
            parent_id=options.parent_id,
            deadline_s=options.deadline_s,
            allowance=None if options.max_cost_nanousd is None else Allowance(options.max_cost_nanousd),
        ),
    )
