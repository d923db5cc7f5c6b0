"""Answers as they are written, and a collection as a model: over the wire, with OpenAI's own SDK."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import openai
import pytest
from wires_house import OFFICE

from serving import Server, eventually

SCHEMAS = json.loads((Path(__file__).parents[1] / "providers" / "openai_schemas.json").read_text())
OPENS = "When does the office open?"
CLOSED = "When is the office closed?"


@pytest.fixture
def client(wires: Server, wires_key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{wires.url}/v1", api_key=wires_key, max_retries=0) as client:
        yield client


def valid(name: str, document: Any) -> None:
    """Assert that a document fits a schema of OpenAI's own OpenAPI document."""
    validator: Any = jsonschema.Draft202012Validator({**SCHEMAS, "$ref": f"#/$defs/{name}"})
    validator.validate(document)


def events(server: Server, key: str, collection: str, **body: Any) -> list[dict[str, Any]]:
    """Ask for an answer as server-sent events."""
    request = urllib.request.Request(
        f"{server.url}/v1/collections/{collection}/answer",
        json.dumps({**body, "stream": True}).encode(),
        {"authorization": f"Bearer {key}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        frames = answer.read().decode().strip().split("\n\n")
    return [json.loads(frame.partition("data: ")[2]) for frame in frames]


def test_a_streamed_answer_is_told_as_text_then_checked_sentences_then_the_whole(wires: Server, wires_key: str) -> None:
    """The pieces together are the answer, the sentences are those of the whole, and the model's marks are gone."""
    told = events(wires, wires_key, "handbook", question=OPENS)
    whole = told[-1]["result"]
    assert told[0]["type"] == "text" and told[-1]["type"] == "result"
    assert "".join(each["text"] for each in told if each["type"] == "text") == whole["answer"]
    assert [each["sentence"] for each in told if each["type"] == "sentence"] == whole["sentences"]
    assert [each["supported"] for each in whole["sentences"]] == [False, True, False]
    assert "[1]" not in whole["answer"]
    assert len(whole["trace_id"]) == 32 and float(whole["cost_usd"]) > 0


def test_an_abstention_is_streamed_as_nothing_else(wires: Server, wires_key: str) -> None:
    """What the model writes to say so is never shown."""
    (told,) = events(wires, wires_key, "handbook", question=CLOSED)
    assert (told["type"], told["result"]["abstained"]) == ("result", True)
    assert told["result"]["answer"] == "The documents do not say."


def test_a_stream_that_breaks_off_ends_with_the_error(wires: Server, wires_key: str) -> None:
    """What was told before stays told; the last event is a problem."""
    request = urllib.request.Request(
        f"{wires.url}/v1/collections/torn/answer",
        json.dumps({"question": OPENS, "stream": True}).encode(),
        {"authorization": f"Bearer {wires_key}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        last = answer.read().decode().strip().split("\n\n")[-1]
    assert last.startswith("event: error\ndata: ")
    assert json.loads(last.partition("data: ")[2])["status"] == 502


def test_a_collection_is_a_model(wires: Server, client: openai.OpenAI) -> None:
    """It is listed; its answer has what supports it as annotations, usage, and the cost of any call."""
    assert "docs" in [model.id for model in client.models.list()]
    raw = client.chat.completions.with_raw_response.create(
        model="docs", messages=[{"role": "user", "content": OPENS}], user="ada"
    )
    completion = raw.parse()
    valid("CreateChatCompletionResponse", json.loads(raw.content))
    message = completion.choices[0].message
    assert message.annotations is not None and message.content is not None
    (annotation,) = message.annotations
    place = annotation.url_citation
    assert message.content[place.start_index : place.end_index] == "The office in Berlin opens at 9:30."
    assert place.title == "office.txt" and place.url.startswith(f"{wires.url}/collections/handbook/document?id=office")
    own = (annotation.model_extra or {})["backstay"]
    assert OFFICE[own["start"] : own["end"]] == own["quote"]
    assert completion.usage is not None and completion.usage.prompt_tokens > 50
    assert (completion.model_extra or {})["backstay"]["abstained"] is False
    assert float(raw.headers["x-backstay-cost-usd"]) > 0
    shown = ("traces", "show", raw.headers["x-backstay-trace-id"])
    assert eventually(lambda: wires.run(*shown).returncode == 0)
    trace = wires.ask(*shown)
    assert "writer" in {span["model"] for span in trace["spans"]}


def test_the_catalog_says_which_models_are_collections(wires: Server) -> None:
    """For programs and for people."""
    models = {model["name"]: model for model in wires.ask("models")["models"]}
    assert (models["docs"]["collection"], models["docs"]["targets"]) == ("handbook", [])
    assert models["writer"]["collection"] is None
    assert "collection handbook" in wires.run("models").stdout


def test_a_streamed_completion_says_what_the_whole_one_says(client: openai.OpenAI) -> None:
    """By the sentence, each with its annotations; the first, unsupported, waits for one that is supported."""
    whole = client.chat.completions.create(model="docs", messages=[{"role": "user", "content": OPENS}])
    content, annotations, chunks = "", list[Any](), list[Any]()
    stream = client.chat.completions.create(
        model="docs", messages=[{"role": "user", "content": OPENS}], stream=True, stream_options={"include_usage": True}
    )
    for chunk in stream:
        valid("CreateChatCompletionStreamResponse", chunk.model_dump(mode="json", exclude_unset=True))
        chunks.append(chunk)
        for choice in chunk.choices:
            content += choice.delta.content or ""
            annotations += (choice.delta.model_extra or {}).get("annotations", [])
    assert content == whole.choices[0].message.content
    assert annotations == [each.model_dump() for each in whole.choices[0].message.annotations or []]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage == whole.usage


def test_what_is_cut_is_streamed_by_no_wire(wires: Server, wires_key: str, client: openai.OpenAI) -> None:
    """All comes once it is checked; annotations are at their places in the text that is left."""
    wires.ask("collections", "change", "handbook", "--unsupported", "cut")
    try:
        told = events(wires, wires_key, "handbook", question=OPENS)
        whole = client.chat.completions.create(model="docs", messages=[{"role": "user", "content": OPENS}])
        stream = client.chat.completions.create(
            model="docs", messages=[{"role": "user", "content": OPENS}], stream=True
        )
        content = "".join(choice.delta.content or "" for chunk in stream for choice in chunk.choices)
    finally:
        wires.ask("collections", "change", "handbook", "--unsupported", "mark")
    said = "The office in Berlin opens at 9:30."
    assert [each["type"] for each in told] == ["text", "sentence", "result"]
    assert (told[0]["text"], told[1]["sentence"]["text"], told[2]["result"]["answer"]) == (said, said, said)
    assert (whole.choices[0].message.content, content) == (said, said)
    (annotation,) = whole.choices[0].message.annotations or []
    assert (annotation.url_citation.start_index, annotation.url_citation.end_index) == (0, len(said))


@pytest.mark.parametrize("stream", [False, True])
def test_an_abstention_is_honest_on_the_wire(client: openai.OpenAI, stream: bool) -> None:
    """The content says so, nothing is cited, and a field tells programs."""
    asked: Any = {"model": "docs", "messages": [{"role": "user", "content": CLOSED}]}
    answer: Any = client.chat.completions.create(**asked, stream=stream)
    if stream:
        chunks: list[Any] = list(answer)
        content = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        own = chunks[-1].model_extra
    else:
        content, own = answer.choices[0].message.content, answer.model_extra
        assert answer.choices[0].message.annotations == []
    assert (content, own["backstay"]["abstained"]) == ("The documents do not say.", True)


def test_a_conversation_is_searched_as_a_whole(client: openai.OpenAI) -> None:
    """A question that means nothing by itself is answered, by what was asked before it."""
    completion = client.chat.completions.create(
        model="docs",
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": OPENS},
            {"role": "assistant", "content": "At 9:30."},
            {"role": "user", "content": [{"type": "text", "text": "And when does it close?"}]},
        ],
    )
    assert completion.choices[0].message.content == "The office in Berlin closes at 18:00."
    assert len(completion.choices[0].message.annotations or []) == 1


@pytest.mark.parametrize(
    ("asked", "status", "param"),
    [
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 400, "messages[0]"),
        ({"n": 2}, 400, "n"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, 400, "tools"),
        ({"response_format": {"type": "json_object"}}, 400, "response_format"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "messages[0].content[0]"),
        ({"backstay": {"filter": {"year": {"about": 1}}}}, 400, "filter.year.about"),
        ({"backstay": {"for": "ada"}}, 400, "backstay"),
        ({"model": "nowhere"}, 404, None),
    ],
)
def test_what_a_collection_cannot_do_is_told_in_the_wires_shape(
    wires: Server, wires_key: str, asked: dict[str, Any], status: int, param: str | None
) -> None:
    """By the field's name, before anything is searched."""
    body = {"model": "docs", "messages": [{"role": "user", "content": "x"}], **asked}
    request = urllib.request.Request(
        f"{wires.url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"authorization": f"Bearer {wires_key}", "content-type": "application/json"},
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=60)
    with caught.value as error:
        told = json.load(error)
    valid("ErrorResponse", told)
    assert (caught.value.code, told["error"]["param"]) == (status, param)


def test_a_stream_that_breaks_off_is_an_error_on_the_wire(client: openai.OpenAI) -> None:
    """Whole and streamed alike."""
    messages: Any = [{"role": "user", "content": OPENS}]
    with pytest.raises(openai.APIError):
        client.chat.completions.create(model="torn", messages=messages)
    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(model="torn", messages=messages, stream=True))


def test_other_wires_say_where_a_collection_answers(client: openai.OpenAI) -> None:
    """The model is known, and not a chat model there."""
    with pytest.raises(openai.NotFoundError, match="collection of documents"):
        client.responses.create(model="docs", input=OPENS)


def test_a_key_that_may_use_the_name_alone_may_ask(wires: Server) -> None:
    """It needs no right to the models behind it, and gets none."""
    made = wires.ask("keys", "create", "--name", "narrow", "--models", "docs", "--routes", "/v1/chat/completions")
    with openai.OpenAI(base_url=f"{wires.url}/v1", api_key=made["key"], max_retries=0) as client:
        completion = client.chat.completions.create(model="docs", messages=[{"role": "user", "content": OPENS}])
        assert "9:30" in (completion.choices[0].message.content or "")
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="writer", messages=[{"role": "user", "content": OPENS}])
    other = wires.ask("keys", "create", "--name", "other", "--models", "writer")
    with openai.OpenAI(base_url=f"{wires.url}/v1", api_key=other["key"], max_retries=0) as client:
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="docs", messages=[{"role": "user", "content": OPENS}])


@pytest.mark.parametrize("wire", ["own", "model"])
def test_who_goes_away_ends_the_models_call(wires: Server, wire: str) -> None:
    """It is recorded as cancelled, and costs what was received."""
    made = wires.ask("keys", "create", "--name", f"leaving {wire}", "--rights", "call,read")
    question = "When does the office close?"
    body: dict[str, Any] = {"question": question, "stream": True}
    path = "/v1/collections/slow/answer"
    if wire == "model":
        body = {"model": "slow", "messages": [{"role": "user", "content": question}], "stream": True}
        path = "/v1/chat/completions"
    request = urllib.request.Request(
        f"{wires.url}{path}",
        json.dumps(body).encode(),
        {"authorization": f"Bearer {made['key']}", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.readline()
    calls = eventually(
        lambda: [
            call
            for call in wires.ask("traces", "list", "--key", made["id"])["traces"]
            if call["model"] == "slow-writer"
        ]
    )
    assert [call["status"] for call in calls] == ["cancelled"]
