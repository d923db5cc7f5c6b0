"""When calls are a loop: which are nearly the same, and how many within which time."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backstay.core.caller import Caller
from backstay.loops import Detector, LoopConfig, LoopRule, Loops, likeness

_SYSTEM = {"role": "system", "content": "You are an agent that mends files. " * 40}
_S = 1_000_000_000


def _dump(messages: list[dict[str, Any]], *, spaced: bool = False) -> bytes:
    return json.dumps(messages, separators=None if spaced else (",", ":")).encode()


def _openai_turn(number: int, said: str) -> list[dict[str, Any]]:
    """One turn of an agent that calls the same tool and gets the same error."""
    call = {"id": f"call_{number:06}x", "type": "function", "function": {"name": "read", "arguments": '{"path":"a"}'}}
    return [
        {"role": "assistant", "content": said, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": f"2026-11-01T10:{number % 60:02}:07 no such file: a"},
    ]


def _anthropic_turn(number: int, said: str) -> list[dict[str, Any]]:
    use = {"type": "tool_use", "id": f"toolu_{number}", "name": "read", "input": {"path": "a"}}
    result = {"type": "tool_result", "tool_use_id": use["id"], "content": "no such file: a", "is_error": True}
    return [
        {"role": "assistant", "content": [{"type": "text", "text": said}, use]},
        {"role": "user", "content": [result]},
    ]


def _responses_turn(number: int, said: str) -> list[dict[str, Any]]:
    return [
        {"type": "message", "role": "assistant", "content": said},
        {"type": "function_call", "call_id": f"call_{number}", "name": "read", "arguments": '{"path":"a"}'},
        {"type": "function_call_output", "call_id": f"call_{number}", "output": "no such file: a"},
    ]


Turn = Callable[[int, str], list[dict[str, Any]]]


@pytest.mark.parametrize("turn", [_openai_turn, _anthropic_turn, _responses_turn])
@pytest.mark.parametrize("spaced", [False, True])
def test_an_agent_that_turns_in_a_circle_is_found(turn: Turn, spaced: bool) -> None:
    """Its conversation grows, its words, ids and times differ: what it asks is the same each time."""
    rule, detector, messages = LoopRule(repeats=10), Detector(), [_SYSTEM, {"role": "user", "content": "Mend a."}]
    found: list[int] = []
    for number in range(30):
        messages += turn(number, f"Let me try that {'again ' * (number % 7)}now.")
        body = _dump(messages, spaced=spaced)
        found.append(detector.see(likeness(body), len(body), number * _S, rule))
    assert max(found[:9]) == 0
    assert found[14:] == sorted(found[14:]) and found[14] > 0, "but for where its beginning doubled at first"


def test_an_agent_that_gets_on_is_none() -> None:
    """Another result each time."""
    rule, detector, messages = LoopRule(repeats=5), Detector(), [_SYSTEM]
    for number in range(60):
        messages += [{"role": "assistant", "content": "Go on."}, {"role": "user", "content": f"line {number} is right"}]
        body = _dump(messages)
        assert detector.see(likeness(body), len(body), number * _S, rule) == 0


def test_conversations_that_end_alike_are_none() -> None:
    """A hundred users who say yes, each to something else, after the same system prompt and greeting."""
    rule, detector = LoopRule(repeats=8), Detector()
    for number in range(100):
        middle = {"role": "assistant", "content": "word " * (number * 7919 % 501)}
        body = _dump([_SYSTEM, middle, {"role": "user", "content": "Yes, please do that for me."}])
        assert detector.see(likeness(body), len(body), number * _S, rule) == 0


def test_a_template_around_other_texts_is_none() -> None:
    """Documents that are classified, each between the same instructions."""
    rule, detector = LoopRule(repeats=8), Detector()
    for number in range(100):
        text = f"Invoice {number}: " + "item " * (number * 7919 % 211)
        body = _dump([_SYSTEM, {"role": "user", "content": f"{text}\n{'Say which kind of document this is. ' * 9}"}])
        assert detector.see(likeness(body), len(body), number * _S, rule) == 0


def test_numbers_in_a_question_make_it_another() -> None:
    """Ids and times of day are of the call; other numbers are what is asked."""

    def ask(number: int) -> int:
        return likeness(_dump([{"role": "user", "content": f"Is {number} a prime number? Answer yes or no."}]))

    assert ask(7919) != ask(7907)


@pytest.mark.parametrize("body", [b"", b"[]", b'"x"', b'[{"content":"hello","role":"user"}]', b"\xff" * 600])
def test_any_bytes_have_a_likeness(body: bytes) -> None:
    """The same for the same bytes, whatever they are."""
    assert likeness(body) == likeness(memoryview(body))


_CALLS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 400), st.integers(0, 40)), max_size=60)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(_CALLS, st.integers(2, 8), st.integers(1, 60))
def test_a_loop_is_what_its_definition_says(calls: list[tuple[int, int, int]], repeats: int, window_s: int) -> None:
    """Compared with all calls looked at anew each time: since one was much shorter, within the window."""
    rule, detector, at = LoopRule(repeats=repeats, window_s=window_s), Detector(), 0
    seen: dict[int, list[tuple[int, int]]] = {}
    for print_, size, pause_s in calls:
        at += pause_s * _S
        past = seen.setdefault(print_, [])
        past.append((size, at))
        run = [past[-1]]
        for earlier, later in zip(past[-2::-1], past[:0:-1], strict=True):
            if later[0] < earlier[0] - 64 or at - earlier[1] > window_s * _S:
                break
            run.append(earlier)
        found = detector.see(print_, size, at, rule)
        assert (found > 0) == (len(run) >= repeats)
        assert found == 0 or found >= len(run) if len(run) <= repeats else found >= repeats


@given(st.lists(st.integers(0, 10_000), max_size=300))
def test_memory_is_bounded(prints: list[int]) -> None:
    """However many different calls come, the last ones are remembered."""
    detector = Detector(most_runs=50)
    for at, print_ in enumerate(prints):
        detector.see(print_, 100, at, LoopRule())
    assert len(detector) <= 50


def test_a_loop_ends() -> None:
    """After a quiet window a repeat is a first call again, and what was counted is forgotten."""
    rule, detector = LoopRule(repeats=3, window_s=10), Detector()
    assert [detector.see(1, 100, at * _S, rule) for at in (0, 1, 2, 3)] == [0, 0, 3, 4]
    assert [detector.see(1, 100, at * _S, rule) for at in (20, 21, 22)] == [0, 0, 3]


def _caller(key: str = "key_1", name: str = "agent") -> Caller:
    return Caller(tenant_id="acme", kind="key", id=key, name=name, rights=frozenset({"call"}))


def _see(loops: Loops, times: int, *, model: str = "fast", caller: Caller | None = None) -> list[int]:
    found = [
        loops.see(caller or _caller(), b'[{"role":"user","content":"hi"}]', model=model, feature=None, user=None,
                  at_ns=number, trace_id=f"{number:032x}")
        for number in range(times)
    ]  # fmt: skip
    return [0 if loop is None else loop.count for loop in found]


def test_a_keys_own_terms_go_before_its_models() -> None:
    """And what they leave out is as the wider ones say."""
    loops = Loops()
    loops.adopt(
        LoopConfig.model_validate({
            "repeats": 6,
            "models": {"slow": {"repeats": 4, "on_loop": "slow"}, "free": {"on_loop": "off"}},
            "keys": {"agent": {"repeats": 2}, "key_9": {"on_loop": "refuse"}},
        })
    )  # fmt: skip
    assert _see(loops, 7, caller=_caller("key_2", "other")) == [0, 0, 0, 0, 0, 6, 7]
    assert _see(loops, 5, model="slow", caller=_caller("key_2", "other")) == [0, 0, 0, 4, 5]
    assert _see(loops, 3, model="slow") == [0, 2, 3]
    assert _see(loops, 9, model="free", caller=_caller("key_2", "other")) == [0] * 9
    assert loops.counts == {"off": 0, "alert": 2, "slow": 4, "refuse": 0}
    loops.adopt(LoopConfig())
    assert _see(loops, 20, model="new")[-1] == 20


def test_news_of_a_loop_are_given_once() -> None:
    """Each loop as it is now; what could not be told comes again, and newer takes its place."""
    loops = Loops()
    _see(loops, 25)
    (news,) = loops.take_news()
    assert (news.count, news.key_name, loops.take_news()) == (25, "agent", [])
    loops.give_back([news])
    _see(loops, 1)
    assert [loop.count for loop in loops.take_news()] == [26]


def test_pauses_grow_up_to_a_bound() -> None:
    """A second more for each call, and never more than thirty."""
    rule = LoopRule(on_loop="slow", repeats=5, slow_s=2)
    assert [rule.pause_s(count) for count in (5, 6, 7, 100)] == [2, 4, 6, 30]
