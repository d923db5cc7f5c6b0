"""Owns what a batch's answers say together: the tokens that they used, and the model that gave them. Pure."""

import msgspec


class _Parts(msgspec.Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    """The usage of an answer on any of the wires: OpenAI's chat and embeddings, its responses, Anthropic's messages."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Parts | None = None
    completion_tokens_details: _Parts | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _Parts | None = None
    output_tokens_details: _Parts | None = None
    cache_read_input_tokens: int | None = None
    """Anthropic's, and beside its ``input_tokens``; as is the next."""
    cache_creation_input_tokens: int | None = None


class _Answer(msgspec.Struct):
    model: str | None = None
    usage: _Usage | None = None


_read = msgspec.json.Decoder(_Answer)


class Details(msgspec.Struct, frozen=True, kw_only=True):
    """Of input."""

    cached_tokens: int = 0


class OutputDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Of output."""

    reasoning_tokens: int = 0


class BatchUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of all answers, the parts included. Source: OpenAI's OpenAPI document, Batch.usage (2025-11)."""

    input_tokens: int
    input_tokens_details: Details
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class Totals:
    """Adds answers up, one at a time."""

    def __init__(self) -> None:
        self._input = self._cached = self._output = self._reasoning = 0
        self._answers = 0
        self._is_known = True
        self._models: set[str | None] = set()

    def add(self, answer: bytes) -> None:
        """Take the whole answer of one line in."""
        self._answers += 1
        try:
            said = _read.decode(answer)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            said = _Answer()
        self._models.add(said.model)
        if said.usage is None:
            self._is_known = False
        else:
            self._count(said.usage)

    @property
    def model(self) -> str | None:
        """The model that gave the answers; ``None`` where there are several, or none that is named."""
        return next(iter(self._models)) if len(self._models) == 1 else None

    @property
    def usage(self) -> BatchUsage | None:
        """What the answers used together; ``None`` where there is none, or one of them does not say."""
        if not self._answers or not self._is_known:
            return None
        return BatchUsage(
            input_tokens=self._input,
            input_tokens_details=Details(cached_tokens=self._cached),
            output_tokens=self._output,
            output_tokens_details=OutputDetails(reasoning_tokens=self._reasoning),
            total_tokens=self._input + self._output,
        )

    def _count(self, usage: _Usage) -> None:
        beside = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
        read = usage.prompt_tokens if usage.prompt_tokens is not None else usage.input_tokens
        if read is None:
            self._is_known = False
            return
        into = usage.prompt_tokens_details or usage.input_tokens_details or _Parts()
        out = usage.completion_tokens_details or usage.output_tokens_details or _Parts()
        self._input += read + beside
        self._cached += (into.cached_tokens or 0) + (usage.cache_read_input_tokens or 0)
        self._output += usage.completion_tokens or usage.output_tokens or 0
        self._reasoning += out.reasoning_tokens or 0
