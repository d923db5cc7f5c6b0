"""Tests of OpenAI's responses wire with OpenAI's own SDK, towards targets of every dialect."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import openai
import pytest
from openai.types.responses import FunctionToolParam, ResponseInputParam
from pydantic import BaseModel
from responses_server import responses_server

from responses_schema import check_responses_schema, responses_event_schema
from serving import Server, eventually

WAYS = pytest.mark.parametrize("model", ["openai-way", "anthropic-way", "native-way"])
QUESTION = "What is the capital of France?"
ARGUMENTS: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
WEATHER: FunctionToolParam = {
    "type": "function",
    "name": "get_weather",
    "description": "Tell the weather.",
    "strict": True,
    "parameters": ARGUMENTS,
}


class Capital(BaseModel):
    city: str
    population: int


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    with responses_server(tmp_path_factory.mktemp("responses")) as running:
        yield running


@pytest.fixture
def client(server: tuple[Server, str]) -> Iterator[openai.OpenAI]:
    running, key = server
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key=key, max_retries=0) as client:
        yield client


@WAYS
def test_a_response(client: openai.OpenAI, model: str):
    """A response is valid against OpenAI's document, repeats its request, and comes with usage and headers."""
    raw = client.responses.with_raw_response.create(
        model=model, input=QUESTION, instructions="Be brief.", max_output_tokens=100, metadata={"team": "blue"},
        temperature=0.5, user="u-1",
    )  # fmt: skip
    document = json.loads(raw.content)
    check_responses_schema("Response", document)
    response = raw.parse()
    assert "capital of France" in response.output_text
    assert (response.status, response.instructions, response.metadata) == ("completed", "Be brief.", {"team": "blue"})
    assert (response.temperature, response.max_output_tokens) == (0.5, 100)
    assert response.id.startswith("resp_") and response.usage and response.usage.total_tokens > 0
    assert len(raw.headers["x-backstay-trace-id"]) == 32
    assert float(raw.headers["x-backstay-cost-usd"]) > 0


@WAYS
def test_a_stream(client: openai.OpenAI, model: str):
    """Each event of a stream is valid and numbered; the deltas join to the text of the response at the end."""
    with client.responses.create(model=model, input=QUESTION, stream=True) as stream:
        events: list[Any] = list(stream)
    kinds = {event.type: event for event in events}
    for kind, event in kinds.items():
        document = event.model_dump(mode="json", exclude_unset=True)
        check_responses_schema(responses_event_schema(kind), document)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert "capital of France" in text
    assert events[-1].type == "response.completed" and events[-1].response.output_text == text
    assert kinds["response.output_text.done"].text == text
    assert events[-1].response.usage.output_tokens > 0


@WAYS
def test_the_streaming_helper(client: openai.OpenAI, model: str):
    """The SDK's own helper follows a stream of structured output and of tool calls to the end."""
    with client.responses.stream(model=model, input=QUESTION, text_format=Capital) as stream:
        assert isinstance(stream.get_final_response().output_parsed, Capital)
    with client.responses.stream(model=model, input=QUESTION, tools=[WEATHER], tool_choice="required") as stream:
        (call,) = stream.get_final_response().output
    assert call.type == "function_call"
    jsonschema.validate(json.loads(call.arguments), ARGUMENTS)


@WAYS
def test_structured_output(client: openai.OpenAI, model: str):
    """Structured output is parsed by the SDK into the caller's own class."""
    response = client.responses.parse(model=model, input=QUESTION, text_format=Capital)
    assert isinstance(response.output_parsed, Capital)


@WAYS
@pytest.mark.parametrize("by_id", [True, False])
def test_tools(client: openai.OpenAI, model: str, by_id: bool):
    """Results of tools are sent back by the id of the response, or with the whole conversation."""
    asked: ResponseInputParam = [{"role": "user", "content": QUESTION}]
    first = client.responses.create(model=model, input=asked, tools=[WEATHER], tool_choice="required")
    (call,) = first.output
    assert call.type == "function_call" and call.status == "completed"
    jsonschema.validate(json.loads(call.arguments), ARGUMENTS)
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny."}
    if by_id:
        after = client.responses.create(model=model, input=[result], previous_response_id=first.id, tools=[WEATHER])
        assert after.previous_response_id == first.id
    else:
        said: Any = [*asked, *(item.model_dump(mode="json", exclude_none=True) for item in first.output), result]
        after = client.responses.create(model=model, input=said, tools=[WEATHER])
    assert "Sunny." in after.output_text


@WAYS
@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_goes_on_by_id(client: openai.OpenAI, server: tuple[Server, str], model: str, stream: bool):
    """Each next call, at whatever worker, goes on from the one before: the model is told of it all."""
    previous: Any = None
    sizes: list[int] = []
    for number in range(4):
        more: Any = {} if previous is None else {"previous_response_id": previous}
        with openai.OpenAI(base_url=f"{server[0].url}/v1", api_key=server[1], max_retries=0) as fresh:
            if stream:
                with fresh.responses.stream(model=model, input=f"Remember {number}.", **more) as events:
                    response: Any = events.get_final_response()
            else:
                create: Any = fresh.responses.create
                response = create(model=model, input=f"Remember {number}.", **more)
        assert response.previous_response_id == previous
        previous = response.id
        assert response.usage
        sizes.append(response.usage.input_tokens)
    assert sizes == sorted(set(sizes)) and sizes[3] > 3 * sizes[0]


@WAYS
def test_a_response_is_shown_and_deleted(client: openai.OpenAI, model: str):
    """A response can be had again as it was; once deleted, it is gone, and nothing goes on from it."""
    made = client.responses.with_raw_response.create(model=model, input=QUESTION)
    name = made.parse().id
    again = client.responses.with_raw_response.retrieve(name)
    assert json.loads(again.content) == json.loads(made.content)
    deleted = client.responses.with_raw_response.delete(name)
    assert json.loads(deleted.content) == {"id": name, "object": "response", "deleted": True}
    with pytest.raises(openai.NotFoundError, match="not found"):
        client.responses.retrieve(name)
    with pytest.raises(openai.NotFoundError):
        client.responses.delete(name)
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model=model, input="Go on.", previous_response_id=name)
    assert (caught.value.code, caught.value.param) == ("previous_response_not_found", "previous_response_id")


@WAYS
def test_what_is_not_to_be_stored_is_not(client: openai.OpenAI, model: str):
    """With ``store: false`` there is nothing to show or to go on from."""
    made = client.responses.create(model=model, input=QUESTION, store=False)
    assert made.to_dict()["store"] is False
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


@WAYS
def test_nobody_elses_conversation(server: tuple[Server, str], client: openai.OpenAI, model: str):
    """A response of another tenant, or of another key, is not found, whoever keeps it; a rotated key goes on."""
    running, _ = server
    made = client.responses.create(model=model, input="Our recipe.")
    keys = [
        running.ask("keys", "create", "--name", "rival", "--tenant", "rival", "--rights", "call,read,admin")["key"],
        running.ask("keys", "create", "--name", "other")["key"],
    ]
    for key in keys:
        with openai.OpenAI(base_url=f"{running.url}/v1", api_key=key, max_retries=0) as other:
            with pytest.raises(openai.BadRequestError, match="not found"):
                other.responses.create(model=model, input="And?", previous_response_id=made.id)
            with pytest.raises(openai.NotFoundError):
                other.responses.retrieve(made.id)
            with pytest.raises(openai.NotFoundError):
                other.responses.delete(made.id)
    old = running.ask("keys", "create", "--name", "old")
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key=old["key"], max_retries=0) as before:
        mine = before.responses.create(model=model, input="My recipe.")
    new = running.ask("keys", "rotate", old["id"])["key"]
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key=new, max_retries=0) as after:
        assert after.responses.retrieve(mine.id).id == mine.id


def test_a_conversation_moves_to_another_model(client: openai.OpenAI):
    """What is kept here can go on anywhere; what a provider keeps must go there again."""
    first = client.responses.create(model="anthropic-way", input="Remember 7.")
    second = client.responses.create(model="native-way", input="And 8.", previous_response_id=first.id)
    third = client.responses.create(model="native-way", input="And 9.", previous_response_id=second.id)
    assert first.usage and third.usage and third.usage.input_tokens > 2 * first.usage.input_tokens
    with pytest.raises(openai.BadRequestError, match="kept by native/gpt-4o-mini") as caught:
        client.responses.create(model="anthropic-way", input="And?", previous_response_id=third.id)
    assert caught.value.param == "previous_response_id"


@pytest.mark.parametrize("model", ["openai-way", "anthropic-way"])
def test_items_of_an_earlier_answer_are_referred_to(client: openai.OpenAI, server: tuple[Server, str], model: str):
    """A client may send an earlier answer as a reference to its items; nobody else may refer to them."""
    with client.responses.stream(model=model, input=QUESTION, tools=[WEATHER], tool_choice="required") as stream:
        (call,) = stream.get_final_response().output
    assert call.type == "function_call"
    said: Any = [
        {"role": "user", "content": QUESTION},
        {"type": "item_reference", "id": call.id},
        {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny."},
    ]
    after = client.responses.create(model=model, input=said, tools=[WEATHER])
    assert "Sunny." in after.output_text
    said[1]["id"] = f"{(call.id or '').rpartition('_')[0]}_7"
    with pytest.raises(openai.NotFoundError, match="_7"):
        client.responses.create(model=model, input=said)
    key = server[0].ask("keys", "create", "--name", "stranger")["key"]
    said[1]["id"] = call.id
    with openai.OpenAI(base_url=f"{server[0].url}/v1", api_key=key, max_retries=0) as other:
        with pytest.raises(openai.NotFoundError):
            other.responses.create(model=model, input=said)


def test_hosted_tools_go_to_openai_alone(client: openai.OpenAI):
    """A hosted tool passes untouched to who serves it, and is refused by name elsewhere."""
    tools: Any = [{"type": "web_search"}]
    assert client.responses.create(model="native-way", input=QUESTION, tools=tools).output_text
    for model in ("openai-way", "anthropic-way"):
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.create(model=model, input=QUESTION, tools=tools)
        assert (caught.value.code, caught.value.param) == ("untranslatable", "tools[0].type")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt.id"),
        ({"truncation": "auto"}, "truncation"),
        ({"include": ["file_search_call.results"]}, "include[0]"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}, {"role": "user", "content": "?"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1", "detail": "auto"}]}]},
         "input[0].content[0].file_id"),
        ({"context_management": [{"type": "compaction"}]}, "context_management"),
    ],
)  # fmt: skip
def test_what_has_no_form_is_refused_by_name(client: openai.OpenAI, fields: dict[str, Any], param: str):
    """Nothing is dropped silently on the way to another dialect."""
    with pytest.raises(openai.BadRequestError) as caught:
        create: Any = client.responses.create
        create(**{"model": "openai-way", "input": QUESTION, **fields})
    assert caught.value.code == "untranslatable"
    assert (caught.value.param or "").startswith(param.partition(".")[0])


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"background": True}, "background"),
        ({"input": 7}, "input"),
        ({"input": []}, "input"),
        ({"input": ["hello"]}, "input[0]"),
        ({"input": [{"type": "nonsense"}]}, "input[0].type"),
        ({"input": [{"role": "robot", "content": "?"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": [{"type": "output_text", "text": "?"}]}]}, "input[0].content[0].type"),
        ({"input": [{"type": "function_call_output", "call_id": "call_x", "output": "?"}]}, "input"),
        ({"input": [{"type": "function_call_output", "output": "?"}]}, "input[0].call_id"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"previous_response_id": "resp_unknown"}, "previous_response_id"),
        ({"previous_response_id": 7}, "previous_response_id"),
        ({"store": "yes"}, "store"),
    ],
)
def test_bad_input_is_named(client: openai.OpenAI, fields: dict[str, Any], param: str):
    """A field that is wrong is named by its path, before any provider is called."""
    with pytest.raises(openai.BadRequestError) as caught:
        create: Any = client.responses.create
        create(**{"model": "openai-way", "input": QUESTION, **fields})
    assert caught.value.param == param
    check_responses_schema("ErrorResponse", json.loads(caught.value.response.content))


@pytest.mark.parametrize("model", ["cut-way", "cut-native-way"])
def test_a_stream_that_breaks_raises(client: openai.OpenAI, model: str):
    """A stream that breaks ends with an event on which the SDK raises."""
    kinds: list[str] = []
    with pytest.raises(openai.APIError), client.responses.create(model=model, input=QUESTION, stream=True) as stream:
        for event in stream:
            kinds.append(event.type)
    assert "response.output_text.delta" in kinds
    assert kinds[-1] != "response.completed"


def test_a_providers_error_is_the_sdks_own(client: openai.OpenAI):
    """What a provider of another dialect answers becomes the exception class that the SDK has for it."""
    with pytest.raises(openai.RateLimitError, match="no good"):
        client.responses.create(model="busy", input=QUESTION)


def test_a_refusal(client: openai.OpenAI):
    """A refusal is a part of its own, streamed too."""
    (message,) = client.responses.create(model="refusing", input=QUESTION).output
    assert message.type == "message" and message.content[0].type == "refusal"
    with client.responses.stream(model="refusing", input=QUESTION) as stream:
        kinds = {event.type for event in stream}
        response = stream.get_final_response()
    assert {"response.refusal.delta", "response.refusal.done"} <= kinds
    assert response.output[0].type == "message" and response.output[0].content[0].type == "refusal"


def test_an_answer_that_is_cut_is_incomplete(client: openai.OpenAI):
    """An answer at its limit says so, and can be gone on from."""
    response = client.responses.create(model="openai-way", input=QUESTION, max_output_tokens=16, temperature=0)
    short = client.responses.create(model="anthropic-way", input="word " * 400, max_output_tokens=3)
    assert response.status in ("completed", "incomplete")
    assert short.status == "incomplete" and short.incomplete_details
    assert short.incomplete_details.reason == "max_output_tokens"
    assert client.responses.create(model="openai-way", input="Go on.", previous_response_id=short.id).output_text


@pytest.mark.parametrize("stream", [False, True])
def test_other_wires_reach_a_model_that_has_only_responses(client: openai.OpenAI, stream: bool):
    """A caller of chat completions is translated for a target that is called by the responses API alone."""
    messages: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]
    tool: Any = {"type": "function", "function": {"name": "get_weather", "parameters": ARGUMENTS}}
    with client.chat.completions.stream(model="only-way", messages=messages, tools=[tool]) as events:
        completion = events.get_final_completion()
    if not stream:
        completion = client.chat.completions.create(model="only-way", messages=messages, tools=[tool])
    (call,) = completion.choices[0].message.tool_calls or []
    assert call.type == "function" and call.function.name == "get_weather"
    assert completion.choices[0].finish_reason == "tool_calls"


async def test_the_async_client(server: tuple[Server, str]):
    """The asynchronous SDK works as the other one does, streamed too."""
    async with openai.AsyncOpenAI(base_url=f"{server[0].url}/v1", api_key=server[1], max_retries=0) as client:
        whole = await client.responses.create(model="anthropic-way", input=QUESTION)
        async with client.responses.stream(model="openai-way", input=QUESTION) as stream:
            final = await stream.get_final_response()
    assert "capital of France" in whole.output_text and "capital of France" in final.output_text


@pytest.mark.parametrize("model", ["anthropic-way", "native-way"])
def test_traces_and_costs(server: tuple[Server, str], client: openai.OpenAI, model: str):
    """A trace shows what was said, in neutral form; user and feature are in the costs."""
    running, _ = server
    raw = client.responses.with_raw_response.create(
        model=model, input="Tell me of traces.", user=f"u-{model}", extra_headers={"x-backstay-feature": "search"}
    )

    def booked() -> list[Any]:
        return [row for row in running.ask("costs", "--by", "user,feature")["rows"] if row["user"] == f"u-{model}"]

    (row,) = eventually(booked)
    assert (row["feature"], row["cost_usd"]) == ("search", raw.headers["x-backstay-cost-usd"])
    (call,) = running.ask("traces", "show", raw.headers["x-backstay-trace-id"])["spans"]
    assert "Tell me of traces." in json.dumps(call["input"]["messages"])
    assert "Tell me of traces." in json.dumps(call["output"]["choices"])


def test_a_key_is_limited_to_routes(server: tuple[Server, str]):
    """A key for other wires may neither make nor see responses."""
    running, _ = server
    key = running.ask("keys", "create", "--name", "chat only", "--routes", "/v1/chat/completions")["key"]
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key=key, max_retries=0) as client:
        with pytest.raises(openai.PermissionDeniedError, match="/v1/responses"):
            client.responses.create(model="openai-way", input=QUESTION)
        with pytest.raises(openai.PermissionDeniedError, match="/v1/responses"):
            client.responses.retrieve("resp_1")
