"""Responses that search a vector store, with OpenAI's own SDK: whole, as events, and as those may who ask."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.responses import FileSearchToolParam
from wires_house import OFFICE, SECRET

from responses_schema import check_responses_schema, responses_event_schema
from serving import Server

OPENS = "When does the office open?"
TOOL: FileSearchToolParam = {"type": "file_search", "vector_store_ids": ["handbook"]}
TEXT = "It is lovely there. The office in Berlin opens at 9:30. It opens at 7:15 on Sundays."


@pytest.fixture
def client(wires: Server, wires_key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{wires.url}/v1", api_key=wires_key, max_retries=0) as client:
        yield client


def test_a_response_cites_the_files_that_support_it(client: openai.OpenAI) -> None:
    """After a search call with its results, where they are asked for; the model is the one that was named."""
    response = client.responses.create(
        model="writer", input=OPENS, tools=[TOOL], include=["file_search_call.results"], instructions="Be brief."
    )
    check_responses_schema("Response", response.model_dump(mode="json", exclude_unset=True))
    search, message = response.output
    assert search.type == "file_search_call" and search.queries == [OPENS] and search.results
    assert (search.results[0].file_id, search.results[0].text) == ("office.txt", OFFICE)
    assert response.output_text == TEXT and message.type == "message"
    (content,) = message.content
    assert content.type == "output_text"
    (citation,) = content.annotations
    assert citation.type == "file_citation"
    assert (citation.file_id, citation.filename) == ("office.txt", "office.txt")
    assert TEXT[: citation.index].endswith("opens at 9:30.")
    assert response.usage is not None and response.usage.input_tokens > 50
    assert response.model == "writer" and (response.model_extra or {})["store"] is False


def test_its_events_say_what_the_whole_says(client: openai.OpenAI) -> None:
    """In the order of OpenAI's own, each as its document has it."""
    whole = client.responses.create(model="writer", input=OPENS, tools=[TOOL])
    events: list[Any] = list(client.responses.create(model="writer", input=OPENS, tools=[TOOL], stream=True))
    for number, event in enumerate(events):
        assert event.sequence_number == number
        check_responses_schema(responses_event_schema(event.type), event.model_dump(mode="json", exclude_unset=True))
    kinds = [event.type.removeprefix("response.") for event in events]
    assert [kind for kind in kinds if "delta" not in kind and "annotation" not in kind] == [
        "created",
        "in_progress",
        "output_item.added",
        "file_search_call.in_progress",
        "file_search_call.searching",
        "file_search_call.completed",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert "".join(event.delta for event in events if event.type.endswith("text.delta")) == TEXT
    last = events[-1].response
    assert last.output_text == whole.output_text
    cited = last.output[1].content[0].annotations
    added = [event.annotation for event in events if event.type.endswith("annotation.added")]
    assert [each.file_id for each in added] == [each.file_id for each in cited] == ["office.txt"]


def test_a_search_finds_what_those_may_read_who_ask(client: openai.OpenAI) -> None:
    """Its results, its answer and its citations."""
    asked: Any = {"model": "writer", "input": "Where is the secret door?", "tools": [TOOL]}
    asked["include"] = ["file_search_call.results"]
    create: Any = client.responses.create
    told: Any = create(**asked)
    assert "secret.txt" not in told.model_dump_json()
    told = create(**asked, extra_headers={"x-backstay-principals": "user:ada"})
    assert told.output_text == SECRET and "secret.txt" in told.model_dump_json()


def test_a_conversation_goes_on_with_the_whole_input(client: openai.OpenAI) -> None:
    """What was asked before weighs in the search; an answer that is not there is said to be so."""
    said: Any = [
        {"role": "user", "content": OPENS},
        {"role": "assistant", "content": "At 9:30."},
        {"role": "user", "content": [{"type": "input_text", "text": "And when does it close?"}]},
    ]
    told = client.responses.create(model="writer", input=said, tools=[TOOL])
    assert told.output_text == "The office in Berlin closes at 18:00."
    told = client.responses.create(model="writer", input="When is the office closed?", tools=[TOOL])
    assert told.output_text == "The documents do not say."


def test_a_stream_that_breaks_off_fails(client: openai.OpenAI) -> None:
    """With the events that say so."""
    with pytest.raises(openai.APIError):
        list(client.responses.create(model="broken", input=OPENS, tools=[TOOL], stream=True))


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"tools": [TOOL, {"type": "web_search"}]}, "tools"),
        ({"tools": [{**TOOL, "vector_store_ids": ["handbook", "torn"]}]}, "tools[0].vector_store_ids"),
        ({"tools": [{**TOOL, "filters": {"type": "about", "key": "a", "value": 1}}]}, "tools[0].filters.type"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"include": ["reasoning.encrypted_content"]}, "include"),
        ({"input": [{"role": "assistant", "content": "x"}]}, "input"),
    ],
)
def test_what_a_file_search_cannot_do_is_told_by_its_field(client: openai.OpenAI, more: Any, param: str) -> None:
    """In OpenAI's shape."""
    asked: Any = {"model": "writer", "input": OPENS, "tools": [TOOL], **more}
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(**asked)
    assert caught.value.param == param


def test_a_store_that_is_not_here_is_its_providers_matter(client: openai.OpenAI) -> None:
    """Which refuses it, where it has none."""
    tool: Any = {"type": "file_search", "vector_store_ids": ["vs_of_openai"]}
    with pytest.raises(openai.BadRequestError, match=r"tools\[0\]\.type"):
        client.responses.create(model="writer", input=OPENS, tools=[tool])
