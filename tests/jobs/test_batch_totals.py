"""What a batch's answers say together."""

import msgspec

from backstay.jobs.totals import Totals


def add(*answers: bytes) -> Totals:
    totals = Totals()
    for each in answers:
        totals.add(each)
    return totals


def test_tokens_of_every_wire_are_added_up() -> None:
    """Each in its own words, with its parts; Anthropic's cached input is beside its input."""
    totals = add(
        b'{"model":"m","usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,'
        b'"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":2}}}',
        b'{"model":"m","usage":{"input_tokens":20,"output_tokens":6,"input_tokens_details":{"cached_tokens":8},'
        b'"output_tokens_details":{"reasoning_tokens":3}}}',
        b'{"model":"m","usage":{"input_tokens":30,"output_tokens":7,"cache_read_input_tokens":16,'
        b'"cache_creation_input_tokens":100}}',
        b'{"model":"m","usage":{"prompt_tokens":40,"total_tokens":40}}',
    )
    assert totals.model == "m"
    assert msgspec.to_builtins(totals.usage) == {
        "input_tokens": 10 + 20 + 30 + 16 + 100 + 40,
        "input_tokens_details": {"cached_tokens": 4 + 8 + 16},
        "output_tokens": 5 + 6 + 7,
        "output_tokens_details": {"reasoning_tokens": 2 + 3},
        "total_tokens": 216 + 18,
    }


def test_what_is_not_known_is_no_sum() -> None:
    """One answer that does not say what it used leaves the sum unknown; two models are no model."""
    known = b'{"model":"m","usage":{"input_tokens":1,"output_tokens":1}}'
    for other in (b"{}", b"no json", b'{"usage":null}', b'{"model":"n","usage":{}}', b'{"usage":"much"}'):
        assert add(known, other).usage is None
        assert add(known, other).model is None
    assert (add().usage, add().model) == (None, None)
