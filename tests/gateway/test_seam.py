"""Tests of the joint between a text that broke off and what another target goes on with."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.core.chat import ChatRequest, Reasoning, ReasoningDelta, Started, TextDelta
from backstay.gateway import Model, Route, Target
from backstay.gateway.body import read_fields
from backstay.gateway.resolve import Resolved
from backstay.gateway.seam import Interrupted, Joint, Resumed, go_on
from backstay.providers import ANTHROPIC, Timeouts
from backstay.providers.accumulate import accumulate
from backstay.providers.signatures import UNSIGNED
from backstay.providers.simulator import Simulator

BEFORE = "The capital of France is Paris. It lies on the Seine, and has about two million inhabit"


def join(before: str, pieces: list[str], *, anew: bool = False) -> str:
    """Feed pieces, and return all that is shown."""
    joint = Joint(before, anew=anew)
    return before + "".join(map(joint.feed, pieces)) + joint.flush()


def cut(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


@given(st.integers(1, 40))
def test_a_plain_continuation_passes(size: int) -> None:
    """What goes on where the text stopped is joined as it is, however it is cut."""
    assert join(BEFORE, cut("ants and many museums.", size)) == BEFORE + "ants and many museums."


@given(st.integers(1, 40), st.integers(12, len(BEFORE)))
def test_words_said_again_are_left_out(size: int, repeated: int) -> None:
    """A model that repeats the end of the text, or all of it, is heard once."""
    whole = BEFORE + "ants and many museums."
    assert join(BEFORE, cut(BEFORE[-repeated:] + "ants and many museums.", size)) == whole


@given(st.integers(1, 40))
def test_a_new_beginning_that_is_the_same_is_one_text(size: int) -> None:
    """After a restart, a target that answers the same is joined without a seam; another answer begins after a line."""
    whole = BEFORE + "ants."
    assert join(BEFORE, cut(whole, size), anew=True) == whole
    assert join(BEFORE, cut("Paris.", size), anew=True) == BEFORE + "\n\nParis."


def test_white_space_at_the_seam_is_there_once() -> None:
    """The target was shown the text without the white space at its end, and may write it again."""
    assert join("It is ", [" big"]) == "It is big"
    assert join("It is ", ["big"]) == "It is big"
    assert join("It is", [" big"]) == "It is big"


@given(st.text(max_size=60), st.lists(st.text(max_size=10), max_size=12))
def test_nothing_new_is_lost(before: str, pieces: list[str]) -> None:
    """Whatever comes, the shown text ends with what came, or all of it was a repetition."""
    shown, new = join(before, pieces), "".join(pieces)
    assert shown.startswith(before)
    added = shown[len(before) :]
    assert new.endswith(added) and (added == new or new[: len(new) - len(added)].strip() in before)


CLAUDE = Target(
    name="acme/claude-sonnet-4-5-20250929",
    provider=Simulator("acme", speaks="anthropic"),
    model_id="claude-sonnet-4-5-20250929",
    price_provider="anthropic",
    price_model="claude-sonnet-4-5-20250929",
    timeouts=Timeouts(),
)


def asked_on(**fields: Any) -> dict[str, Any]:
    """Break a message of Claude's after its first words, and return the body of the request that asks for the rest."""
    body = {"messages": [{"role": "user", "content": "A story."}], "stream": True, **fields}
    model = Model(name="m", targets=(CLAUDE,), route=Route(on_broken_stream="continue"))
    request = Resolved(fields=read_fields(json.dumps(body).encode()), model=model, stream=True, user=None)
    broken = Interrupted.after([TextDelta(text="Once upon ")], request, ANTHROPIC)
    assert broken is not None
    return {name: json.loads(bytes(text)) for name, text in go_on(request.fields, broken, CLAUDE).items()}


@pytest.mark.parametrize(
    ("fields", "is_prefilled"),
    [
        ({}, True),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, False),
        ({"thinking": {"type": "adaptive"}}, False),
        ({"thinking": {"type": "disabled"}}, False),
    ],
)
def test_a_model_that_thinks_first_is_told_to_go_on(fields: dict[str, Any], is_prefilled: bool) -> None:
    """Anthropic takes no beginning of an answer where the model may think first: it is asked in words instead."""
    last = asked_on(max_tokens=1000, **fields)["messages"][1:]
    assert last[0] == {"role": "assistant", "content": "Once upon"}
    assert [each["role"] for each in last[1:]] == [] if is_prefilled else ["user"]


@pytest.mark.parametrize(("asked", "left"), [(1000, 997), (1000.0, 997), (2, 1), (None, None), ("9", "9")])
def test_the_callers_limit_holds_for_both_parts(asked: object, left: object) -> None:
    """What was said counts against it; what is no number is left for the provider to refuse."""
    assert asked_on(max_tokens=asked)["max_tokens"] == left


def test_thoughts_on_both_sides_of_a_seam_stay_two() -> None:
    """The first was cut off before it was signed; the second one's signature is for what the second one thought."""
    said = [Started(id="a", model="m", created_s=0), ReasoningDelta(text="Let me")]
    request = Resolved(fields={}, model=Model(name="m", targets=(CLAUDE,)), stream=True, user=None)
    broken = Interrupted.after(said, request, ANTHROPIC)
    assert broken is not None
    asked = ChatRequest(model="m", messages=())
    resumed = Resumed(ANTHROPIC.resumed_writer(asked, broken.said), broken)
    events = [ReasoningDelta(text="Let us "), ReasoningDelta(text="see."), ReasoningDelta(signature="EqQB")]
    sent = b"".join([*map(ANTHROPIC.stream_writer(asked).write, said), resumed.carry(b"", list(events)), resumed.end()])
    assert sent.count(b'"content_block":{"type":"thinking"') == 2
    assert re.findall(rb'"type":"signature_delta","signature":"([^"]*)"', sent) == [UNSIGNED.encode(), b"EqQB"]
    assert accumulate(resumed.said).choices[0].parts == (
        Reasoning(text="Let me", signature=UNSIGNED),
        Reasoning(text="Let us see.", signature="EqQB"),
    )
