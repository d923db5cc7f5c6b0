"""What was said, as blocks: bounded, in order, and findable again."""

import base64

from backstay.console.messages import LONGEST_TEXT, answered, asked, find_picture
from backstay.console.trace import curl_text
from backstay.core.chat import (
    ChatRequest,
    ChatResponse,
    Choice,
    Image,
    Message,
    Reasoning,
    Text,
    ToolResult,
    ToolUse,
)

PIXEL = base64.b64encode(b"\x89PNG pixel").decode()


def request(*messages: Message) -> ChatRequest:
    return ChatRequest(model="m", messages=messages)


def test_a_long_text_is_cut_and_says_by_how_much() -> None:
    """The page stays small; the rest is a link."""
    (shown,) = asked(request(Message(role="user", parts=(Text(text="x" * (LONGEST_TEXT + 17)),))))
    (block,) = shown.blocks
    assert (len(block.text), block.left_out) == (LONGEST_TEXT, 17)


def test_a_long_talk_shows_its_beginning_and_end() -> None:
    """Of 10,000 messages the first two and the last twenty are shown, with the number of those between."""
    talk = request(*(Message(role="user", parts=(Text(text=str(number)),)) for number in range(10_000)))
    shown = asked(talk)
    assert [one.left_out for one in shown if one.left_out] == [9_978]
    assert [shown[0].blocks[0].text, shown[1].blocks[0].text, shown[3].blocks[0].text] == ["0", "1", "9980"]
    assert len(asked(talk, whole=True)) == 10_000


def test_one_message_too_many_is_simply_shown() -> None:
    """A gap of one message would save nothing."""
    talk = request(*(Message(role="user", parts=(Text(text="hi"),)) for _ in range(23)))
    assert [one.left_out for one in asked(talk)] == [0] * 23


def test_inline_pictures_are_found_by_their_place() -> None:
    """In a message, and within a tool's result; only in formats that browsers draw and cannot run."""
    picture = Image(data=PIXEL, media_type="image/png")
    drawing = Image(data=PIXEL, media_type="image/svg+xml")
    talk = request(
        Message(role="user", parts=(Text(text="look"), picture, drawing)),
        Message(role="tool", parts=(ToolResult(tool_use_id="t", parts=(picture,)),)),
    )
    places = [block.place for shown in asked(talk) for block in shown.blocks]
    assert places == ["", "0.1", "", ""]
    assert asked(talk)[1].blocks[0].blocks[0].place == "1.0.0"
    assert find_picture(talk, "0.1") == find_picture(talk, "1.0.0") == ("image/png", b"\x89PNG pixel")
    assert find_picture(talk, "0.2") is None
    assert find_picture(talk, "9.9") is None


def test_damaged_pictures_are_no_pictures() -> None:
    """Base64 that is none gives nothing, not an error."""
    assert find_picture(request(Message(role="user", parts=(Image(data="%%", media_type="image/png"),))), "0.0") is None


def test_tool_calls_and_reasoning_keep_their_kind() -> None:
    """Arguments are indented where they are JSON, and shown as written where they are not."""
    parts = (
        Reasoning(text="hm"),
        ToolUse(id="1", name="find", arguments='{"a":1}'),
        ToolUse(id="2", name="find", arguments='{"a":'),
    )
    (shown,) = answered(
        ChatResponse(
            id="r", model="m", created_s=0, choices=(Choice(index=0, parts=parts, finish_reason="tool_calls"),)
        )
    )
    assert [block.kind for block in shown.blocks] == ["reasoning", "tool_use", "tool_use"]
    assert [block.text for block in shown.blocks] == ["hm", '{\n  "a": 1\n}', '{"a":']
    assert shown.note == "tool_calls"


def test_curl_survives_quotes() -> None:
    """A body with quotes stays one word for the shell, and no key stands in it."""
    text = curl_text("http://localhost:8400/v1/messages", '{"a": "it\'s $HOME `x`"}', "anthropic")
    assert """-d '{"a": "it'"'"'s $HOME `x`"}'""" in text
    assert "$BACKSTAY_KEY" in text
