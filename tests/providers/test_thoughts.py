"""Tests of thoughts of other vendors' models, which a vendor must not get."""

import json
from typing import Any

import pytest
from dialect_checks import fields_of

from backstay.core.chat import Finished, ReasoningDelta, Started, TextDelta
from backstay.core.errors import Untranslatable
from backstay.providers import ANTHROPIC
from backstay.providers.accumulate import accumulate
from backstay.providers.responses.wire import OWN_REASONING
from backstay.providers.sse import FrameSplitter
from backstay.providers.thoughts import without_foreign_thoughts

TEXT = {"type": "text", "text": "Looking."}
OWN = {"type": "thinking", "thinking": "Hm.", "signature": "EqQB"}
USE = {"type": "tool_use", "id": "t1", "name": "f", "input": {"signature": "x:y"}}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "20"}]}


def foreign(signature: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": "Hm.", "signature": signature}


def kept(name: str, dialect: str, **fields: Any) -> Any:
    return json.loads(bytes(without_foreign_thoughts(fields_of(fields), dialect)[name]))


@pytest.mark.parametrize("signature", ["gemini:CpcB", "rs_9:gAAA", "unsigned:"])
def test_anthropic_gets_no_thoughts_of_others(signature: str) -> None:
    """They are left out wherever they stand; its own, and all else, stay."""
    said = {"role": "assistant", "content": [foreign(signature), OWN, TEXT, USE]}
    alone = {"role": "assistant", "content": [foreign(signature)]}
    asked = {"role": "user", "content": "Hi."}
    messages = [asked, alone, asked, said, RESULT]
    assert kept("messages", "anthropic", messages=messages) == [
        asked, asked, {"role": "assistant", "content": [OWN, TEXT, USE]}, RESULT
    ]  # fmt: skip


@pytest.mark.parametrize("block", [OWN, foreign(""), USE, {"type": "text", "text": '"signature": "a:b"'}])
def test_what_is_anthropics_own_stays_byte_for_byte(block: dict[str, Any]) -> None:
    """Signed by it, unsigned as compatible servers have it, or no thought at all."""
    fields = fields_of({"messages": [{"role": "assistant", "content": [block, TEXT]}]})
    assert json.loads(bytes(without_foreign_thoughts(fields, "anthropic")["messages"])) == json.loads(
        bytes(fields["messages"])
    )


def test_anthropic_does_not_think_on_from_anothers_tool_calls() -> None:
    """Within a turn whose tools another vendor's model called, thinking is for that model; after it, for both."""
    turn = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": [foreign("gemini:Cp"), USE]}, RESULT]
    thinking = {"type": "enabled", "budget_tokens": 1024}
    with pytest.raises(Untranslatable) as refused:
        kept("messages", "anthropic", messages=turn, thinking=thinking)
    assert refused.value.param == "thinking"
    assert len(kept("messages", "anthropic", messages=turn, thinking=None)) == 3
    over = [*turn, {"role": "assistant", "content": [OWN, TEXT]}, {"role": "user", "content": "And?"}]
    assert len(kept("messages", "anthropic", messages=over, thinking=thinking)) == 5


def test_openai_gets_no_reasoning_that_was_written_here() -> None:
    """Items of its own reasoning go back; those that stand for another vendor's thoughts do not."""
    own: dict[str, Any] = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gA"}
    other: dict[str, Any] = {"type": "reasoning", "id": f"{OWN_REASONING}1", "summary": [], "encrypted_content": "EqQB"}
    asked = {"role": "user", "content": "Hi."}
    assert kept("input", "responses", input=[asked, own, other, asked]) == [asked, own, asked]
    assert kept("input", "responses", input=f'"id": "{OWN_REASONING}"') == f'"id": "{OWN_REASONING}"'


@pytest.mark.parametrize("messages", ["x", [1], [{"role": "assistant", "content": [1, {"signature": "a:b"}]}], None])
def test_what_is_no_request_is_left_to_its_vendor(messages: Any) -> None:
    """It says what is wrong with it."""
    assert kept("messages", "anthropic", messages=messages) == messages


def test_unsigned_thoughts_are_marked_on_anthropics_wire() -> None:
    """Whole and streamed; read again, they are unsigned as before."""
    events = [
        Started(id="c", model="m", created_s=0),
        ReasoningDelta(text="Hm."),
        TextDelta(text="Hi."),
        Finished(reason="stop"),
    ]
    writer, reader = ANTHROPIC.stream_writer(ANTHROPIC.read_request(fields_of(ASK))), ANTHROPIC.stream_reader()
    stream = b"".join([*map(writer.write, events), writer.end()])
    whole = ANTHROPIC.write_response(accumulate(events))
    assert b'"signature":"unsigned:"' in stream
    assert b'"signature":"unsigned:"' in whole
    read = accumulate([event for frame in FrameSplitter().feed(stream) for event in reader.read(frame)])
    assert (
        read.choices[0].parts == ANTHROPIC.read_response(whole).choices[0].parts == accumulate(events).choices[0].parts
    )


ASK = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi."}]}
