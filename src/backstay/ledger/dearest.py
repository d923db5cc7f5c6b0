"""Owns the corners of what a token can be billed as: the usages among which a call's dearest is found. Pure."""

from collections.abc import Iterator

from backstay.core.usage import Usage


def input_corners() -> Iterator[Usage]:
    """Give every kind that one token of input can be.

    A cost is convex in the counts, and within one tier of length in proportion to them: it is dearest at a corner of
    what the counts may be. They may be anything with read + written ≤ input, one hour ≤ written, audio ≤ input and
    cached audio ≤ read and ≤ audio. The matrix of these is totally unimodular, so that at each corner all tokens are of
    one kind: of those below. Guarded by test_no_call_costs_more_than_the_most.
    """
    for read, written, one_hour in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 1, 1)):
        for audio in (0, 1):
            for cached_audio in range(1 + min(read, audio)):
                yield Usage(
                    input_tokens=1,
                    cache_read_tokens=read,
                    cache_write_tokens=written,
                    cache_write_1h_tokens=one_hour,
                    input_audio_tokens=audio,
                    cache_audio_read_tokens=cached_audio,
                )


def output_corners() -> Iterator[Usage]:
    """Give every kind that one token of output can be; a provider may report one token as two of them."""
    for reasoning in (0, 1):
        for audio in (0, 1):
            yield Usage(output_tokens=1, reasoning_tokens=reasoning, output_audio_tokens=audio)
