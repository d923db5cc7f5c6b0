"""Owns what the dialect tests share: bodies as fields, a fixed clock, OpenAI's schemas, and the paths of refusals."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import google.genai.types
import jsonschema
import msgspec

from backstay.core.chat import ChatEvent
from backstay.providers import Fields, StreamReader
from backstay.providers.anthropic import AnthropicDialect
from backstay.providers.gemini import GeminiDialect
from backstay.providers.sse import FrameSplitter

NOW_S = 1_790_000_000


class StoppedClock:
    """A clock that always says the same."""

    def now_ns(self) -> int:
        return NOW_S * 1_000_000_000

    def monotonic_ns(self) -> int:
        return 0


ANTHROPIC_NOW = AnthropicDialect(StoppedClock())
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


def read_stream(reader: StreamReader, stream: bytes, *, chunk: int = 0) -> list[ChatEvent]:
    """Read a whole stream, cut into pieces of ``chunk`` bytes (0: in one piece)."""
    splitter = FrameSplitter()
    step = chunk or len(stream) or 1
    events: list[ChatEvent] = []
    for start in range(0, len(stream), step):
        for frame in splitter.feed(stream[start : start + step]):
            events += reader.read(frame)
    assert splitter.finish() == b""
    return events
