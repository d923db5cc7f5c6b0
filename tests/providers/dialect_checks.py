"""Owns what the dialect tests share: bodies as fields, a fixed clock, OpenAI's schemas, and the paths of refusals."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import aws_sdk
import google.genai.types
import jsonschema
import msgspec

from backstay.core.chat import ChatEvent
from backstay.providers import Fields, StreamReader
from backstay.providers.anthropic import AnthropicDialect
from backstay.providers.bedrock import BedrockDialect
from backstay.providers.gemini import GeminiDialect
from backstay.providers.sse import SSE
from backstay.providers.types import Framing

NOW_S = 1_790_000_000


class StoppedClock:
    """A clock that always says the same."""

    def now_ns(self) -> int:
        return NOW_S * 1_000_000_000

    def monotonic_ns(self) -> int:
        return 0


ANTHROPIC_NOW = AnthropicDialect(StoppedClock())
BEDROCK_NOW = BedrockDialect(StoppedClock())
GEMINI_NOW = GeminiDialect(StoppedClock())


def fields_of(body: Any) -> Fields:
    """Split a body (bytes, or a value to encode) into its top-level fields."""
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return msgspec.json.decode(raw, type=Fields)


@cache
def _schemas() -> Any:
    return json.loads((Path(__file__).parent / "openai_schemas.json").read_text())


def check_openai_schema(name: str, value: Any) -> None:
    """Raise ``jsonschema.ValidationError`` if a value is not as OpenAI's own document says."""
    validator: Any = jsonschema.Draft202012Validator({**_schemas(), "$ref": f"#/$defs/{name}"})
    validator.validate(value)


@cache
def converse_model() -> Any:
    """Return AWS's own description of ``Converse``, as botocore has it."""
    return aws_sdk.service_model().operation_model("Converse")


def check_bedrock_answer(body: bytes) -> None:
    """Raise ``AssertionError`` if an answer is not as AWS's own description of it says."""
    check_bedrock_shape(converse_model().output_shape, json.loads(body), "")


def check_bedrock_shape(shape: Any, value: Any, path: str) -> None:
    """Check a JSON value against a shape: names, types, what is required, enumerations, one member of a union."""
    match shape.type_name:
        case "structure" if not getattr(shape, "is_document_type", False):
            fields = msgspec.convert(value, dict[str, Any])
            assert set(fields) <= set(shape.members), f"{path}: {set(fields) - set(shape.members)}"
            assert set(shape.required_members) - {"modelId"} <= set(fields), path
            assert not shape.is_tagged_union or len(fields) == 1, path
            for name, inner in fields.items():
                check_bedrock_shape(shape.members[name], inner, f"{path}.{name}")
        case "list":
            for index, inner in enumerate(value):
                check_bedrock_shape(shape.member, inner, f"{path}[{index}]")
        case "string":
            assert isinstance(value, str), path
            assert not shape.enum or value in shape.enum, f"{path}: {value}"
            assert len(value) >= shape.metadata.get("min", 0), path
        case "integer" | "long":
            assert type(value) is int, path
        case _:
            pass


def check_gemini_answer(body: bytes) -> None:
    """Raise ``pydantic.ValidationError`` if an answer is not as Google's SDK has it, which forbids unknown fields."""
    google.genai.types.GenerateContentResponse.model_validate(msgspec.json.decode(body))


def is_path_in(path: str, body: Any) -> bool:
    """Whether a path such as ``messages[2].content[0].source`` leads somewhere in a body."""
    value = body
    for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
        try:
            value = value[int(index)] if index else value[name]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def read_stream(reader: StreamReader, stream: bytes, *, chunk: int = 0, framing: Framing = SSE) -> list[ChatEvent]:
    """Read a whole stream, cut into pieces of ``chunk`` bytes (0: in one piece)."""
    splitter = framing.splitter()
    step = chunk or len(stream) or 1
    events: list[ChatEvent] = []
    for start in range(0, len(stream), step):
        for frame in splitter.feed(stream[start : start + step]):
            events += reader.read(frame)
    assert splitter.end() == b""
    return events
