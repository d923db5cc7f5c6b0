"""Owns token counts: what a provider says that one call used."""

import msgspec


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens of one attempt. Totals include their parts; ``None`` of a total means that the provider said nothing.

    ``input_tokens`` includes cached (read and written), audio and image input; ``output_tokens``
    includes reasoning, audio, images and citations.
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
    input_image_tokens: int = 0
    output_image_tokens: int = 0
    cache_image_read_tokens: int = 0
    citation_tokens: int = 0
    """What an answer quotes, where a vendor bills it beside the answer. Part of ``output_tokens``."""
    web_searches: int = 0
    storage_searches: int = 0
    """Searches of stores of files that the provider keeps."""
    price_percent: int = 100
    """What each token is billed at, of the list's price: more than 100 where the provider says that the call was served
    in a place that costs more."""
    stated_nanousd: int | None = None
    """What the provider itself says that it charges for the call, where it does: for models that no list has."""
    estimated: bool = False
    """True when no usage came from the provider and the counts are our own."""

    @property
    def is_known(self) -> bool:
        """Whether there is enough to price the attempt."""
        return self.input_tokens is not None or self.output_tokens is not None


NO_USAGE = Usage()
