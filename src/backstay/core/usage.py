"""Owns token counts: what a provider says that one call used."""

import msgspec


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens of one attempt. Totals include their parts; ``None`` of a total means that the provider said nothing.

    ``input_tokens`` includes cached (read and written) and audio input; ``output_tokens`` includes reasoning and audio.
    (Anthropic's wire reports input without the cached parts: its dialect adds them.)
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    """All tokens written to the provider's prompt cache, those for one hour included."""
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    cache_audio_read_tokens: int = 0
    web_searches: int = 0
    estimated: bool = False
    """True when no usage came from the provider and the counts are our own."""

    @property
    def is_known(self) -> bool:
        """Whether there is enough to price the attempt."""
        return self.input_tokens is not None or self.output_tokens is not None


NO_USAGE = Usage()
